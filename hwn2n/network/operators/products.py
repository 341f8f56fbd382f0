"""What aten operators that multiply and sum cost, from the shapes of what they read and give.

One formula for each operator, for a network that is traced (`hwn2n.hardware.flop_rules`) and for
one that is planned (`work`): both count the same, or a search would steer by other FLOPs than a
budget is judged by. One multiply-add is one FLOP, as in fvcore.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from itertools import zip_longest
from typing import Any

from hwn2n.network.operators.einsum_flops import einsum_flops

Shape = Sequence[int]


class Call(ABC):
    """A call of an operator: its arguments by number, in the order of the operator's schema."""

    @abstractmethod
    def __len__(self) -> int:
        """How many arguments there are."""

    @abstractmethod
    def shape(self, i: int) -> Shape:
        """Of a tensor."""

    @abstractmethod
    def shapes(self, i: int) -> list[Shape]:
        """Of the tensors in a list; none where there is no list."""

    @abstractmethod
    def value(self, i: int) -> Any:
        """A text, or a list of numbers; None where it is left out."""

    @property
    @abstractmethod
    def output(self) -> Shape:
        """Of the only, or the first, tensor that it gives."""


Formula = Callable[[Call], int]


def _product(first: int) -> Formula:
    """A product of vectors, matrices or batches of them: one multiply-add for each element of the
    output and of the summed dimension, which is the last of argument number `first`.
    """

    def flops(call: Call) -> int:
        summed = call.shape(first)
        return math.prod(call.output) * (summed[-1] if summed else 1)

    return flops


def _addbmm(call: Call) -> int:
    # (b, n, k) with (b, k, m), summed over b as well.
    return math.prod(call.shape(1)) * call.shape(2)[-1]


def _outer(call: Call) -> int:
    """A product that sums nothing (outer, kron): one FLOP for each element of the output."""
    return math.prod(call.output)


def _linear(call: Call) -> int:
    x, weight = call.shape(0), call.shape(1)
    return math.prod(x) * (weight[0] if len(weight) == 2 else 1)


def _tensordot(call: Call) -> int:
    shape = call.shape(0)
    return math.prod(call.output) * math.prod(shape[dim] for dim in call.value(2))


def _along_a_dimension(call: Call) -> int:
    """Vectors of two tensors that broadcast, pair by pair (vecdot, cosine similarity)."""
    first, second = (reversed(call.shape(i)) for i in range(2))
    return math.prod(max(lengths) for lengths in zip_longest(first, second, fillvalue=1))


def _einsum(call: Call) -> int:
    return einsum_flops(call.value(0), call.shapes(1), call.value(2) or [])


def _bilinear(call: Call) -> int:
    # x (..., I), weight (O, I, J), y (..., J): x with the weight, then the (O, J) of it with y.
    weight = call.shape(2)
    positions = math.prod(call.output[:-1])
    return positions * (math.prod(weight) + weight[0] * weight[2])


def _cdist(call: Call) -> int:
    # (..., P, M) and (..., R, M): M for each of the pairs, in any norm.
    return math.prod(call.output) * call.shape(0)[-1]


def _affine_grid(call: Call) -> int:
    # theta (N, d, d + 1) at each point of a grid (N, ..., d).
    return math.prod(call.output) * call.shape(0)[-1]


def _convolution_tbc(call: Call) -> int:
    # x (time, batch, C), weight (kernel, C, D), output (time, batch, D)
    return math.prod(call.output) * math.prod(call.shape(1)[:2])


def _attention(call: Call) -> int:
    """softmax(q k^T) v with q (..., L, E), k (..., S, E), v (..., S, F), output (..., L, F).

    The two products are counted in full for every head of the query: causal and other masks save
    nothing, and heads that share keys and values (grouped queries) each use them.
    """
    query, key, value = (call.shape(i) for i in range(3))
    return math.prod(call.output[:-1]) * key[-2] * (query[-1] + value[-1])


def _multi_head_attention(call: Call) -> int:
    """torch's fused layer on query (N, L, E), key and value (N, S, E): projections included."""
    query, key, value = (call.shape(i) for i in range(3))
    projections = (2 * math.prod(query) + math.prod(key) + math.prod(value)) * query[-1]
    return projections + 2 * math.prod(query) * key[-2]


def _encoder_layer(call: Call) -> int:
    """torch's fused transformer layer on (N, L, E): attention and two linear layers."""
    x, hidden = call.shape(0), call.shape(14)[0]
    elements = math.prod(x)
    return 4 * elements * x[-1] + 2 * elements * x[-2] + 2 * elements * hidden


def norms_of_encoder_layer(call: Call) -> int:
    """Two norms, of fvcore's five FLOPs for each element."""
    return 2 * 5 * math.prod(call.shape(0))


def _recurrent(call: Call) -> int:
    """LSTM, GRU and plain recurrent layers, in all layers and directions, projections included.

    Every matrix of weights is applied once at each step of each sequence, to the input or to the
    hidden state. The input is (steps, batch, features) in either order, or packed (all steps of
    all sequences, features). Gates and activations are free, as they are elsewhere.
    """
    steps = math.prod(call.shape(0)[:-1])
    # An LSTM's first list is its state; the weights are the last of tensors.
    lists = (call.shapes(i) for i in reversed(range(len(call))))
    weights = next(found for shapes in lists if (found := [s for s in shapes if len(s) == 2]))
    return steps * sum(math.prod(shape) for shape in weights)


PRODUCTS: dict[str, Formula] = {
    "linear": _linear,
    **{name: _product(0) for name in ("matmul", "mm", "bmm", "mv", "dot", "vdot", "inner")},
    **{name: _product(1) for name in ("addmm", "addmv", "baddbmm")},
    "addbmm": _addbmm,
    **dict.fromkeys(("outer", "ger", "kron", "addr"), _outer),
    "tensordot": _tensordot,
    "einsum": _einsum,
    "linalg_vecdot": _along_a_dimension,
    "cosine_similarity": _along_a_dimension,
    "bilinear": _bilinear,
    "cdist": _cdist,
    "conv_tbc": _convolution_tbc,
    "affine_grid_generator": _affine_grid,
    "scaled_dot_product_attention": _attention,
    "_scaled_dot_product_attention_math": _attention,
    "_scaled_dot_product_flash_attention": _attention,
    "_scaled_dot_product_flash_attention_for_cpu": _attention,
    "_scaled_dot_product_efficient_attention": _attention,
    "_scaled_dot_product_cudnn_attention": _attention,
    "_native_multi_head_attention": _multi_head_attention,
    "_transformer_encoder_layer_fwd": _encoder_layer,
    **dict.fromkeys(("lstm", "gru", "rnn_tanh", "rnn_relu"), _recurrent),
}
"""By the operator's name in aten. Convolutions are not among them: fvcore has their formula."""
