"""FLOPs of aten operators without a rule, as fvcore counts them, for one image.

The same numbers as `hwn2n.hardware.flop_rules` has for a traced network, from shapes alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from hwn2n.network.architecture import Operation
from hwn2n.network.operators.base import Shape, size


def _matmul(op: Operation, shapes: list[Shape]) -> int:
    """Every value of the product takes as many multiply-adds as the first operand has columns."""
    first = shapes[op.config["args"][0]["ref"]]
    return size(op.shape or ()) * abs(first[-1])


def _attention(op: Operation, shapes: list[Shape]) -> int:
    """Queries (..., L, E) times keys (..., S, E), and the result (..., L, S) times values."""
    query, key, value = (shapes[arg["ref"]] for arg in op.config["args"][:3])
    return abs(math.prod(query[:-1]) * key[-2]) * (query[-1] + value[-1])


def _einsum(op: Operation, shapes: list[Shape]) -> int:
    """Two operands: the product of all index lengths (what an optimal order comes to)."""
    equation, operands = op.config["args"][:2]
    given = equation.replace(" ", "").split("->")[0].split(",")
    lengths: dict[str, int] = {}
    for letters, arg in zip(given, operands, strict=True):
        lengths |= dict(zip(letters, shapes[arg["ref"]], strict=True))
    return abs(math.prod(lengths.values()))


def _linear(op: Operation, shapes: list[Shape]) -> int:
    return size(shapes[op.config["args"][0]["ref"]]) * shapes[op.config["args"][1]["ref"]][0]


def _conv(op: Operation, shapes: list[Shape]) -> int:
    weight = shapes[op.config["args"][1]["ref"]]
    return size(op.shape or ()) * math.prod(weight[1:])


def _each(input_factor: int, output_factor: int) -> Callable[[Operation, list[Shape]], int]:
    def flops(op: Operation, shapes: list[Shape]) -> int:
        return input_factor * size(shapes[0]) + output_factor * size(op.shape or ())

    return flops


def _norm(weight: int) -> Callable[[Operation, list[Shape]], int]:
    def flops(op: Operation, shapes: list[Shape]) -> int:
        args: list[Any] = op.config["args"]
        affine = len(args) > weight and args[weight] is not None
        return size(shapes[0]) * (5 if affine else 4)

    return flops


def _batch_norm(op: Operation, shapes: list[Shape]) -> int:
    args = op.config["args"]
    affine = args[1] is not None
    if args[5]:  # by the statistics of what it reads
        return size(shapes[0]) * (5 if affine else 4)
    return size(shapes[0]) * (2 if affine else 1)


FLOPS: dict[str, Callable[[Operation, list[Shape]], int]] = {
    "aten.matmul.default": _matmul,
    "aten.bmm.default": _matmul,
    "aten.mm.default": _matmul,
    "aten.einsum.default": _einsum,
    "aten.scaled_dot_product_attention.default": _attention,
    "aten.linear.default": _linear,
    "aten.conv1d.default": _conv,
    "aten.conv2d.default": _conv,
    "aten.conv2d.padding": _conv,
    "aten.conv3d.default": _conv,
    "aten.layer_norm.default": _norm(2),
    "aten.group_norm.default": _norm(2),
    "aten.instance_norm.default": _norm(1),
    "aten.batch_norm.default": _batch_norm,
    "aten.upsample_nearest2d.vec": _each(0, 1),
    "aten.upsample_bilinear2d.vec": _each(0, 4),
    "aten.adaptive_avg_pool2d.default": _each(1, 0),
    "aten.grid_sampler.default": _each(0, 4),
}
"""Operators that fvcore counts; all others it takes for free."""
