"""Which operators a `.pt2` may call.

The file names each operator as a dotted path, and torch resolves it with `getattr` from the
`torch`, `operator` and `math` modules: `torch.os.system` is such a path. So only aten operators
are let through, and of those neither the ones that touch files nor the internal ones whose
arguments nobody checks.
"""

from __future__ import annotations

import re

import torch

_ATEN = re.compile(r"torch\.ops\.aten\.([A-Za-z0-9_]+)\.([A-Za-z0-9_]+)")

# Read or write files, print, or exchange the memory under a tensor.
_FORBIDDEN = re.compile(r"from_file|save|warn|set_?|set_data|resize_?|resize_as_?")

# Internal operators that exporting or decomposing an image classifier produces.
_INTERNAL = re.compile(
    r"_adaptive_avg_pool[23]d|_assert_scalar|_assert_tensor_metadata|_convolution|_convolution_mode"
    r"|_log_softmax|_softmax|_safe_softmax|_native_batch_norm_legit_no_training|_prelu_kernel"
    r"|_reshape_alias|_to_copy|_unsafe_view|_unsafe_index|_weight_norm"
    r"|_upsample_bilinear2d_aa|_upsample_bicubic2d_aa|_upsample_nearest_exact2d"
    r"|_scaled_dot_product_(attention_math|efficient_attention|flash_attention(_for_cpu)?)"
    r"|_native_multi_head_attention|_transformer_encoder_layer_fwd"
    r"|__(and|or|xor|lshift|rshift)__"
)

# Arithmetic on sizes. Powers and shifts are missing on purpose: on Python's integers they can
# fill the memory.
_ON_SIZES = re.compile(
    r"_operator\.(add|sub|mul|floordiv|truediv|mod|neg|pos|eq|ne|le|ge|lt|gt|and_|or_)"
    r"|torch\.sym_(int|float|max|min|not|ite|sqrt)|math\.trunc"
)


def check_operator(target: str) -> None:
    """Raise ValueError unless `target` is an operator that only computes."""
    if _ON_SIZES.fullmatch(target):
        return
    if (match := _ATEN.fullmatch(target)) is None:
        raise ValueError(f"operators must be aten's own, found {target[:80]!r}")
    name, overload = match.groups()
    if _FORBIDDEN.fullmatch(name) or (name.startswith("_") and not _INTERNAL.fullmatch(name)):
        raise ValueError(f"operators must only compute on tensors, found {target[:80]!r}")
    # Attributes of the namespace object, such as `aten.__init__`, have the same form.
    packet = getattr(torch.ops.aten, name, None)
    if not isinstance(packet, torch._ops.OpOverloadPacket) or not isinstance(
        getattr(packet, overload, None), torch._ops.OpOverload
    ):
        raise ValueError(
            f"operators must exist in torch {torch.__version__}, found {target[:80]!r}"
        )
