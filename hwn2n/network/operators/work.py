"""FLOPs of aten operators without a rule, as fvcore counts them, for one image.

The same numbers as `hwn2n.hardware.flop_rules` has for a traced network, by the same formulas.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from hwn2n.network.architecture import Operation
from hwn2n.network.operators.base import Shape, size
from hwn2n.network.operators.products import PRODUCTS, Call, Formula, norms_of_encoder_layer

Count = Callable[[Operation, list[Shape]], int]


class _Planned(Call):
    """An operation that calls an aten operator, for one image."""

    def __init__(self, op: Operation, shapes: list[Shape]) -> None:
        self._op, self._shapes = op, shapes
        # What must be given by name stands behind the others in an operator's schema.
        self._given = [*op.config["args"], *op.config["kwargs"].values()]

    def __len__(self) -> int:
        return len(self._given)

    def shape(self, i: int) -> list[int]:
        return [abs(length) for length in self._shapes[self._given[i]["ref"]]]

    def shapes(self, i: int) -> list[Sequence[int]]:
        found = self._given[i] if isinstance(self._given[i], list) else []
        refs = [item["ref"] for item in found if isinstance(item, dict) and "ref" in item]
        return [[abs(length) for length in self._shapes[ref]] for ref in refs]

    def value(self, i: int) -> Any:
        return self._given[i] if i < len(self) else None

    @property
    def output(self) -> list[int]:
        return [abs(length) for length in self._op.shape or ()]


def _product(formula: Formula) -> Count:
    return lambda op, shapes: formula(_Planned(op, shapes))


def _encoder_layer(op: Operation, shapes: list[Shape]) -> int:
    call = _Planned(op, shapes)
    return PRODUCTS["_transformer_encoder_layer_fwd"](call) + norms_of_encoder_layer(call)


def _conv(op: Operation, shapes: list[Shape]) -> int:
    weight = shapes[op.config["args"][1]["ref"]]
    return size(op.shape or ()) * math.prod(weight[1:])


def _transposed(op: Operation, shapes: list[Shape]) -> int:
    """Each input is used in every place of its filters, whatever of that is cropped afterwards."""
    weight = shapes[op.config["args"][1]["ref"]]
    return size(shapes[op.config["args"][0]["ref"]]) * math.prod(weight[1:])


def _convolution(op: Operation, shapes: list[Shape]) -> int:
    return (_transposed if op.config["args"][6] else _conv)(op, shapes)


def _each(input_factor: int, output_factor: int) -> Count:
    def flops(op: Operation, shapes: list[Shape]) -> int:
        return input_factor * size(shapes[0]) + output_factor * size(op.shape or ())

    return flops


def _norm(weight: int) -> Count:
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


_OVERLOADS = dict.fromkeys(("lstm", "gru", "rnn_tanh", "rnn_relu"), ("input", "data"))

FLOPS: dict[str, Count] = {
    **{
        f"aten.{name}.{overload}": _product(formula)
        for name, formula in PRODUCTS.items()
        for overload in _OVERLOADS.get(name, ("default",))
    },
    "aten._transformer_encoder_layer_fwd.default": _encoder_layer,
    **{
        f"aten.conv{dims}d.{overload}": _conv
        for dims in (1, 2, 3)
        for overload in ("default", "padding")
    },
    "aten.conv_transpose1d.default": _transposed,
    "aten.conv_transpose2d.input": _transposed,
    "aten.conv_transpose3d.input": _transposed,
    "aten.convolution.default": _convolution,
    "aten.layer_norm.default": _norm(2),
    "aten.native_layer_norm.default": _norm(2),
    "aten.group_norm.default": _norm(2),
    "aten.native_group_norm.default": _norm(1),
    "aten.instance_norm.default": _norm(1),
    "aten.batch_norm.default": _batch_norm,
    "aten._native_batch_norm_legit_no_training.default": _each(2, 0),
    **{f"aten.upsample_nearest2d.{overload}": _each(0, 1) for overload in ("default", "vec")},
    **{f"aten.upsample_bilinear2d.{overload}": _each(0, 4) for overload in ("default", "vec")},
    "aten.adaptive_avg_pool2d.default": _each(1, 0),
    "aten._adaptive_avg_pool2d.default": _each(1, 0),
    "aten.grid_sampler.default": _each(0, 4),
}
"""Operators that fvcore and `flop_rules` count; all others are taken for free."""
