"""Which aten operators a file may name: those that only compute on tensors.

The `.pt2` of a teacher and the `architecture.json` of a student both name operators, and
neither may reach a file, a shell or the memory behind a tensor through one.
"""

from __future__ import annotations

import re

import torch

# Read or write files, print, or exchange the memory under a tensor.
_FORBIDDEN = re.compile(r"from_file|save|warn|set_?|set_data|resize_?|resize_as_?")

# Internal operators that exporting or decomposing an image classifier produces; nobody checks
# the arguments of the others.
_INTERNAL = re.compile(
    r"_adaptive_avg_pool[23]d|_assert_scalar|_assert_tensor_metadata|_convolution|_convolution_mode"
    r"|_log_softmax|_softmax|_safe_softmax|_native_batch_norm_legit_no_training|_prelu_kernel"
    r"|_reshape_alias|_to_copy|_unsafe_view|_unsafe_index|_weight_norm"
    r"|_upsample_bilinear2d_aa|_upsample_bicubic2d_aa|_upsample_nearest_exact2d"
    r"|_scaled_dot_product_(attention_math|efficient_attention|flash_attention(_for_cpu)?)"
    r"|_native_multi_head_attention|_transformer_encoder_layer_fwd"
    r"|__(and|or|xor|lshift|rshift)__"
)


def find_operator(name: str, overload: str) -> torch._ops.OpOverload:
    """The operator `aten.name.overload`.

    Raises PermissionError if it may do more than compute, LookupError if torch has none.
    """
    if _FORBIDDEN.fullmatch(name) or (name.startswith("_") and not _INTERNAL.fullmatch(name)):
        raise PermissionError(name)
    # Attributes of the namespace object, such as `aten.__init__`, have the same form.
    packet = getattr(torch.ops.aten, name, None)
    found = getattr(packet, overload, None)
    if not isinstance(packet, torch._ops.OpOverloadPacket) or not isinstance(
        found, torch._ops.OpOverload
    ):
        raise LookupError(name)
    return found
