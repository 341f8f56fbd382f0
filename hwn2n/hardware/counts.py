"""What is known about a network before it is trained or run for time: parameters, FLOPs, bytes.

FLOPs follow fvcore's convention, one fused multiply-add = one FLOP, so published figures of "MACs"
are comparable with these, and torch's FlopCounterMode says twice as much.

fvcore is wrapped here once, because used directly it
- leaks its hooks into the model, and leaves it in the middle of a trace, if the forward raises;
- runs the forward, so a model in training mode has its batch-norm statistics moved;
- counts zero for each operator it does not know, and tells only the log.
So it sees a deep copy in eval mode, and an uncounted contraction (anything that multiplies and
sums: attention, recurrent layers, matrix-vector products, custom kernels) is an error.
"""

from __future__ import annotations

import copy
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from fvcore.nn import FlopCountAnalysis
from fvcore.nn.jit_handles import conv_flop_count, get_shape
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from hwn2n.errors import MeasurementError, one_line
from hwn2n.hardware.attention import attention_flops

# Words in the name of an aten operator that multiplies and sums. They stand between "_", so that
# upsample_bilinear2d (interpolation, counted by fvcore) is not taken for the layer `bilinear`.
_CONTRACTION = re.compile(
    r"(^|_)("
    r"addbmm|addmm|addmv|addr|attention|baddbmm|bilinear|bmm|cdist|conv1d|conv2d|conv3d|"
    r"convolution|dot|einsum|encoder|ger|gru|inner|kron|linear|lstm|matmul|mm|mv|outer|rnn|"
    r"tensordot|trilinear|vdot|vecdot"
    r")(_|$)"
)


@dataclass(frozen=True, kw_only=True)
class Counts:
    """The exact columns of one network.

    `params` counts unique parameters without buffers, `flops` those of one image, `weight_bytes`
    the bytes of unique parameters and persistent buffers. `uncounted` holds the operators that
    fvcore took for free and how often each stands in the graph (activations, pooling, additions).
    """

    params: int
    flops: int
    weight_bytes: int
    uncounted: dict[str, int]


def count(model: nn.Module, example_input: Tensor) -> Counts:
    """Count `model` on `example_input` (batch, channels, height, width), on any device.

    FLOPs are divided by the batch, so they are those of one image. The model is left as it was,
    to the last bit, hooks and modes included, even where its forward raises. Raises
    MeasurementError where the model cannot be copied or traced, has parameters without a shape,
    or contains contractions that would be counted as zero.
    """
    if example_input.dim() < 1 or example_input.shape[0] < 1:
        raise MeasurementError(
            f"counting needs at least one image; found the shape {tuple(example_input.shape)}"
        )
    lazy = [n for n, p in model.named_parameters() if is_lazy(p)]
    if lazy:
        raise MeasurementError(
            f"parameters must have a shape before counting; found {lazy[0]} lazy"
        )
    total, uncounted = _trace(model, example_input)
    return Counts(
        params=sum(parameter.numel() for parameter in model.parameters()),
        flops=round(total / example_input.shape[0]),
        weight_bytes=sum(t.numel() * t.element_size() for t in _stored_tensors(model)),
        uncounted=uncounted,
    )


def _stored_tensors(model: nn.Module) -> Iterator[Tensor]:
    """Unique parameters, then unique buffers that are part of the state dict."""
    yield from model.parameters()
    persistent = model.state_dict(keep_vars=True).keys()
    seen: set[int] = set()
    for name, buffer in model.named_buffers(remove_duplicate=False):
        if name in persistent and id(buffer) not in seen:
            seen.add(id(buffer))
            yield buffer


def _trace(model: nn.Module, example_input: Tensor) -> tuple[int, dict[str, int]]:
    """Total FLOPs of the whole batch and the operators that were not counted."""
    try:
        subject = copy.deepcopy(model)
    except Exception as error:
        raise MeasurementError(
            "the model must be copyable to be counted; found "
            f"{type(error).__name__}: {one_line(error)}"
        ) from error
    for module in subject.modules():
        # Set directly: modules from torch.export refuse .eval(), and have no modes to change.
        module.training = False
    analysis = FlopCountAnalysis(subject, (example_input,))
    analysis.set_op_handle("aten::_convolution_mode", _convolution_mode_flops)
    analysis.set_op_handle("aten::scaled_dot_product_attention", _attention_flops)
    analysis.unsupported_ops_warnings(False)
    analysis.uncalled_modules_warnings(False)
    analysis.tracer_warnings("none")
    devices = [example_input.device] if example_input.device.type == "cuda" else []
    try:
        # fork_rng: a forward that draws random numbers must not shift the caller's.
        with torch.no_grad(), torch.random.fork_rng(devices), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            total = int(analysis.total())
    except Exception as error:
        raise MeasurementError(
            "the model must be traceable to be counted, on an input of shape "
            f"{tuple(example_input.shape)}; found {type(error).__name__}: {one_line(error)}"
        ) from error
    uncounted = dict(sorted(analysis.unsupported_ops().items()))
    contractions = [name for name in uncounted if _is_contraction(name)]
    if contractions:
        raise MeasurementError(
            "every contraction must be counted in the FLOPs; fvcore has no rule for "
            + ", ".join(f"{name} ({uncounted[name]}x)" for name in contractions)
        )
    return total, uncounted


def _is_contraction(operator: str) -> bool:
    """Whether `operator` ("aten::lstm") multiplies and sums, or hides what it does.

    Operators outside aten are kernels of an extension, and prim::PythonOp and prim::CallFunction
    are functions that the trace does not look into: nobody can say that they are free.
    """
    namespace, _, name = operator.partition("::")
    return namespace != "aten" or _CONTRACTION.search(name) is not None


def _attention_flops(inputs: list[Any], outputs: list[Any]) -> int:
    """The two products of attention, which fvcore counts where a model writes them itself."""
    query, key, value = (get_shape(given) for given in inputs[:3])
    return attention_flops(tuple(query), tuple(key), tuple(value))


def _convolution_mode_flops(inputs: list[Any], outputs: list[Any]) -> int:
    """FLOPs of a convolution with padding="same" or "valid", which fvcore does not know."""
    x, weight, output = get_shape(inputs[0]), get_shape(inputs[1]), get_shape(outputs[0])
    return int(conv_flop_count(x, weight, output, transposed=False))
