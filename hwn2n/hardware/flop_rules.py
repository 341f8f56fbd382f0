"""What operators of a traced forward pass cost: one small rule each, and the table.

One multiply-add is one FLOP, as in fvcore. Its own rules stay for convolutions, normalisation and
pooling. Those for products are replaced here where they leave out a broadcast batch, fail on
vectors, or round (einsum, which fvcore takes from a text of numpy's), and what it has no rule for
is added: attention, recurrent layers, matrix-vector products, distances.

A rule gets the inputs and outputs of one node of a torch.jit trace, as `torch._C.Value`, and
returns FLOPs. Shapes are those of the example that was traced. A rule raises ValueError where the
trace does not know a shape, which makes the whole count fail: nothing is guessed.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from fvcore.nn.jit_handles import (
    conv_flop_count,
    conv_flop_jit,
    elementwise_flop_counter,
    get_shape,
    norm_flop_counter,
)

from hwn2n.hardware.einsum_flops import einsum_flops

Values = list[Any]
Rule = Callable[[Values, Values], int | Counter[str]]


def _shape(value: Any) -> list[int]:
    shape: list[int] | None = get_shape(value)
    if shape is None:
        name = value.debugName()
        raise ValueError(f"the trace must know the shape of every operand; %{name} has none")
    return shape


def _items(value: Any) -> list[Any]:
    """The elements of a list in the trace, as values."""
    return list(value.node().inputs())


def _numbers(value: Any) -> list[int]:
    """The elements of a list of constants in the trace; none where there is no list."""
    if value.node().kind() == "prim::ListConstruct":
        return [int(item.toIValue()) for item in _items(value)]
    return [int(number) for number in value.toIValue() or ()]


def _product(first: int) -> Rule:
    """A product of vectors, matrices or batches of them: one multiply-add for each element of the
    output and of the summed dimension, which is the last of input number `first`.
    """

    def flops(inputs: Values, outputs: Values) -> int:
        summed = _shape(inputs[first])
        return math.prod(_shape(outputs[0])) * (summed[-1] if summed else 1)

    return flops


def _addbmm(inputs: Values, outputs: Values) -> int:
    # (b, n, k) with (b, k, m), summed over b as well.
    return math.prod(_shape(inputs[1])) * _shape(inputs[2])[-1]


def _outer(inputs: Values, outputs: Values) -> int:
    """A product that sums nothing (outer, kron): one FLOP for each element of the output."""
    return math.prod(_shape(outputs[0]))


def _linear(inputs: Values, outputs: Values) -> int:
    x, weight = _shape(inputs[0]), _shape(inputs[1])
    return math.prod(x) * (weight[0] if len(weight) == 2 else 1)


def _tensordot(inputs: Values, outputs: Values) -> int:
    shape = _shape(inputs[0])
    return math.prod(_shape(outputs[0])) * math.prod(shape[dim] for dim in _numbers(inputs[2]))


def _along_a_dimension(inputs: Values, outputs: Values) -> int:
    """Vectors of two tensors that broadcast, pair by pair (vecdot, cosine similarity)."""
    return torch.broadcast_shapes(*(_shape(operand) for operand in inputs[:2])).numel()


def _einsum(inputs: Values, outputs: Values) -> int:
    shapes = [_shape(operand) for operand in _items(inputs[1])]
    path = _numbers(inputs[2]) if len(inputs) > 2 else []
    return einsum_flops(inputs[0].toIValue(), shapes, path)


def _bilinear(inputs: Values, outputs: Values) -> int:
    # x (..., I), weight (O, I, J), y (..., J): x with the weight, then the (O, J) of it with y.
    weight = _shape(inputs[2])
    positions = math.prod(_shape(outputs[0])[:-1])
    return positions * (math.prod(weight) + weight[0] * weight[2])


def _cdist(inputs: Values, outputs: Values) -> int:
    # (..., P, M) and (..., R, M): M for each of the pairs, in any norm.
    return math.prod(_shape(outputs[0])) * _shape(inputs[0])[-1]


def _affine_grid(inputs: Values, outputs: Values) -> int:
    # theta (N, d, d + 1) at each point of a grid (N, ..., d).
    return math.prod(_shape(outputs[0])) * _shape(inputs[0])[-1]


def _attention(inputs: Values, outputs: Values) -> int:
    """softmax(q k^T) v with q (..., L, E), k (..., S, E), v (..., S, F), output (..., L, F).

    The two products are counted in full for every head of the query: causal and other masks save
    nothing, and heads that share keys and values (grouped queries) each use them.
    """
    query, key, value = (_shape(operand) for operand in inputs[:3])
    return math.prod(_shape(outputs[0])[:-1]) * key[-2] * (query[-1] + value[-1])


def _multi_head_attention(inputs: Values, outputs: Values) -> int:
    """torch's fused layer on query (N, L, E), key and value (N, S, E): projections included."""
    query, key, value = (_shape(operand) for operand in inputs[:3])
    width = query[-1]
    projections = (2 * math.prod(query) + math.prod(key) + math.prod(value)) * width
    return projections + 2 * math.prod(query) * key[-2]


def _encoder_layer(inputs: Values, outputs: Values) -> Counter[str]:
    """torch's fused transformer layer on (N, L, E): attention, two linear layers, two norms."""
    x, hidden = _shape(inputs[0]), _shape(inputs[14])[0]
    elements, width = math.prod(x), x[-1]
    attention = 4 * elements * width + 2 * elements * x[-2]
    return Counter(
        {
            "_transformer_encoder_layer_fwd": attention + 2 * elements * hidden,
            "layer_norm": 2 * 5 * elements,
        }
    )


def _recurrent(inputs: Values, outputs: Values) -> int:
    """LSTM, GRU and plain recurrent layers, in all layers and directions, projections included.

    Every matrix of weights is applied once at each step of each sequence, to the input or to the
    hidden state. The input is (steps, batch, features) in either order, or packed (all steps of
    all sequences, features). Gates and activations are free, as they are elsewhere.
    """
    steps = math.prod(_shape(inputs[0])[:-1])
    lists = [value for value in inputs if value.node().kind() == "prim::ListConstruct"]
    # An LSTM's first list is its state; the weights are the last of tensors.
    weights = next(shapes for value in reversed(lists) if (shapes := _matrices(value)))
    return steps * sum(math.prod(shape) for shape in weights)


def _matrices(value: Any) -> list[list[int]]:
    return [shape for item in _items(value) if len(shape := _shape(item)) == 2]


def _convolution_mode(inputs: Values, outputs: Values) -> int:
    """A convolution with padding="same" or "valid"."""
    x, weight, output = _shape(inputs[0]), _shape(inputs[1]), _shape(outputs[0])
    return int(conv_flop_count(x, weight, output, transposed=False))


def _convolution_tbc(inputs: Values, outputs: Values) -> int:
    # x (time, batch, C), weight (kernel, C, D), output (time, batch, D)
    return math.prod(_shape(outputs[0])) * math.prod(_shape(inputs[1])[:2])


CONTRACTIONS: dict[str, Rule] = {
    "aten::_convolution": conv_flop_jit,
    "aten::_convolution_mode": _convolution_mode,
    "aten::conv_tbc": _convolution_tbc,
    "aten::linear": _linear,
    **{f"aten::{name}": _product(0) for name in ("matmul", "mm", "bmm", "mv", "dot", "vdot")},
    "aten::inner": _product(0),
    **{f"aten::{name}": _product(1) for name in ("addmm", "addmv", "baddbmm")},
    **{f"aten::{name}_": _product(1) for name in ("addmm", "addmv", "baddbmm")},
    "aten::addbmm": _addbmm,
    "aten::addbmm_": _addbmm,
    **{f"aten::{name}": _outer for name in ("outer", "ger", "kron", "addr", "addr_")},
    "aten::tensordot": _tensordot,
    "aten::einsum": _einsum,
    "aten::linalg_vecdot": _along_a_dimension,
    "aten::cosine_similarity": _along_a_dimension,
    "aten::bilinear": _bilinear,
    "aten::cdist": _cdist,
    "aten::affine_grid_generator": _affine_grid,
    "aten::scaled_dot_product_attention": _attention,
    "aten::_scaled_dot_product_attention_math": _attention,
    "aten::_scaled_dot_product_flash_attention": _attention,
    "aten::_scaled_dot_product_flash_attention_for_cpu": _attention,
    "aten::_scaled_dot_product_efficient_attention": _attention,
    "aten::_scaled_dot_product_cudnn_attention": _attention,
    "aten::_native_multi_head_attention": _multi_head_attention,
    "aten::_transformer_encoder_layer_fwd": _encoder_layer,
    **{f"aten::{name}": _recurrent for name in ("lstm", "gru", "rnn_tanh", "rnn_relu")},
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
