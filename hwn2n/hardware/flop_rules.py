"""What operators of a traced forward pass cost: one small rule each, and the table.

One multiply-add is one FLOP, as in fvcore. Its own rules stay for convolutions, normalisation and
pooling. Those for products are replaced by `products`, where they leave out a broadcast batch,
fail on vectors, or round (einsum, which fvcore takes from a text of numpy's), and what it has no
rule for is added: attention, recurrent layers, matrix-vector products, distances.

A rule gets the inputs and outputs of one node of a torch.jit trace, as `torch._C.Value`, and
returns FLOPs. Shapes are those of the example that was traced. A rule raises ValueError where the
trace does not know a shape, which makes the whole count fail: nothing is guessed.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from fvcore.nn.jit_handles import (
    conv_flop_count,
    conv_flop_jit,
    elementwise_flop_counter,
    get_shape,
    norm_flop_counter,
)

from hwn2n.network.operators.products import PRODUCTS, Call, Formula, norms_of_encoder_layer

Values = list[Any]
Rule = Callable[[Values, Values], int | Counter[str]]


def _shape(value: Any) -> list[int]:
    shape: list[int] | None = get_shape(value)
    if shape is None:
        name = value.debugName()
        raise ValueError(f"the trace must know the shape of every operand; %{name} has none")
    return shape


class _Traced(Call):
    """A node of the trace."""

    def __init__(self, inputs: Values, outputs: Values) -> None:
        self._inputs, self._outputs = inputs, outputs

    def __len__(self) -> int:
        return len(self._inputs)

    def shape(self, i: int) -> list[int]:
        return _shape(self._inputs[i])

    def shapes(self, i: int) -> list[Sequence[int]]:
        node = self._inputs[i].node()
        return [_shape(v) for v in node.inputs()] if node.kind() == "prim::ListConstruct" else []

    def value(self, i: int) -> Any:
        if i >= len(self._inputs):
            return None
        node = self._inputs[i].node()
        if node.kind() == "prim::ListConstruct":
            return [item.toIValue() for item in node.inputs()]
        return self._inputs[i].toIValue()

    @property
    def output(self) -> list[int]:
        return _shape(self._outputs[0])


def _rule(formula: Formula) -> Rule:
    return lambda inputs, outputs: formula(_Traced(inputs, outputs))


def _encoder_layer(inputs: Values, outputs: Values) -> Counter[str]:
    call, name = _Traced(inputs, outputs), "_transformer_encoder_layer_fwd"
    return Counter({name: PRODUCTS[name](call), "layer_norm": norms_of_encoder_layer(call)})


def _convolution_mode(inputs: Values, outputs: Values) -> int:
    """A convolution with padding="same" or "valid"."""
    x, weight, output = _shape(inputs[0]), _shape(inputs[1]), _shape(outputs[0])
    return int(conv_flop_count(x, weight, output, transposed=False))


_RULES = {name: _rule(formula) for name, formula in PRODUCTS.items()}

CONTRACTIONS: dict[str, Rule] = {
    "aten::_convolution": conv_flop_jit,
    "aten::_convolution_mode": _convolution_mode,
    **{f"aten::{name}": rule for name, rule in _RULES.items()},
    **{f"aten::{name}_": _RULES[name] for name in ("addmm", "addmv", "addbmm", "baddbmm", "addr")},
    "aten::_transformer_encoder_layer_fwd": _encoder_layer,
}
"""What multiplies and sums, by the operator's name in a trace."""

SAME_AS_FVCORES: dict[str, Rule] = {
    "aten::_native_batch_norm_legit_no_training": elementwise_flop_counter(2, 0),
    "aten::native_layer_norm": norm_flop_counter(2),
    "aten::native_group_norm": norm_flop_counter(1),
    "aten::_adaptive_avg_pool2d": elementwise_flop_counter(1, 0),
}
"""The names that normalisation and pooling have in a decomposed program, such as a `.pt2` after
`run_decompositions`; fvcore knows the others, and the same network must cost the same."""

CONTRACTION_NAMES = frozenset({"conv", *(name.removeprefix("aten::") for name in CONTRACTIONS)})
"""How contractions are called in fvcore's `by_operator`, which calls `_convolution` "conv"."""

# Words in the name of an aten operator that multiplies and sums. They stand between "_", so that
# upsample_bilinear2d (interpolation, counted by fvcore) is not taken for the layer `bilinear`.
_WORDS = re.compile(
    r"(^|_)("
    r"addbmm|addmm|addmv|addr|attention|baddbmm|bilinear|bmm|cdist|cholesky|conv|conv1d|conv2d|"
    r"conv3d|convolution|corrcoef|cosine|cov|det|dot|eig|einsum|encoder|euclidean|fft|geqrf|ger|"
    r"gru|hspmm|inner|inverse|istft|kron|linalg|linear|logdet|lstm|lstsq|lu|matmul|matrix|mm|mv|"
    r"nuclear|orgqr|ormqr|outer|pdist|pinverse|qr|rnn|slogdet|smm|solve|spsolve|sspaddmm|stft|svd|"
    r"tensordot|trilinear|vdot|vecdot"
    r")(_|$)"
)
# Norms are reductions, as free as a mean; the others only move or name elements.
_FREE = re.compile(
    r"linalg_(norm|vector_norm|diagonal|cross)|slice_inverse|matrix_H|fft_r?fftfreq|fft_i?fftshift"
)


def is_contraction(operator: str) -> bool:
    """Whether `operator` ("aten::lstm") multiplies and sums, or hides what it does.

    Operators outside aten are kernels of an extension, and prim::PythonOp and prim::CallFunction
    are functions that the trace does not look into: nobody can say that they are free.
    """
    namespace, _, name = operator.partition("::")
    return namespace != "aten" or bool(_WORDS.search(name) and not _FREE.fullmatch(name))
