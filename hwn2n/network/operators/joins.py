"""Rules of what joins several tensors: sums, products, concatenations."""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from hwn2n.network.architecture import IllegalArchitectureError, Operation
from hwn2n.network.layout import Layout
from hwn2n.network.operators.base import (
    Operator,
    Shape,
    broadcast,
    freeze_all,
    merge_parts,
    shaped,
)
from hwn2n.network.order import Row
from hwn2n.network.variables import ChannelVariables


class Binary(Operator):
    """Sum, difference, product or quotient of two tensors.

    Channels that meet are the same ones from then on. A tensor that has only one place along the
    other's channels (`config["broadcast"]` says that shapes differ) is no constraint to them, as
    in spatial attention; nor are other dimensions, as in squeeze and excitation.
    """

    def relate(
        self,
        op: Operation,
        inputs: list[Layout | None],
        shapes: list[Shape],
        variables: ChannelVariables,
    ) -> Layout | None:
        rank = max(len(shape) for shape in shapes)
        aligned = [
            layout and replace(layout, axis=layout.axis + rank - len(shape))
            for layout, shape in zip(inputs, shapes, strict=True)
        ]
        full = [(1,) * (rank - len(shape)) + tuple(shape) for shape in shapes]
        wide = [x for x, shape in zip(aligned, full, strict=True) if x and shape[x.axis] != 1]
        if not wide:
            # of one place along its channels; no channels to follow where another makes them many
            known = [layout for layout in aligned if layout is not None]
            return next((x for x in known if all(s[x.axis] == 1 for s in full)), None)
        axis = wide[0].axis
        meeting = [x for x, shape in zip(aligned, full, strict=True) if shape[axis] != 1]
        if None in meeting:
            reason = f"{op.name} ({op.kind}) reads a tensor of fixed size"
            freeze_all(meeting, variables, reason)
        known = [layout for layout in meeting if layout is not None]
        reason = f"{op.name} ({op.kind}) combines channels of different origin"
        merge_parts(known, variables, reason)
        for other in wide:
            if other not in known:
                freeze_all([wide[0], other], variables, reason)
        return known[0]

    def resize(self, op: Operation, inputs: list[Shape], width: int | None) -> Operation:
        shape = broadcast(inputs) if op.config.get("broadcast") else inputs[0]
        if shape is None or (not op.config.get("broadcast") and len(set(inputs)) > 1):
            raise IllegalArchitectureError(
                f"{op.name} ({op.kind}) would combine shapes {[list(s[1:]) for s in inputs]}"
            )
        return shaped(op, shape)

    def build(self, op: Operation) -> Callable[..., Any]:
        return _BINARY[op.kind]


_BINARY: dict[str, Callable[..., Any]] = {
    "add": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
    "div": operator.truediv,
}


class Concat(Operator):
    """Several tensors one after the other, along their channels or along another dimension."""

    def relate(
        self,
        op: Operation,
        inputs: list[Layout | None],
        shapes: list[Shape],
        variables: ChannelVariables,
    ) -> Layout | None:
        dim = op.config["dim"]
        known = [layout for layout in inputs if layout is not None]
        if len(known) < len(inputs):
            freeze_all(known, variables, f"{op.name} concatenates with a tensor of fixed size")
            return None
        if len({layout.axis for layout in known}) > 1 or (
            known[0].axis == dim and any(layout.flat for layout in known)
        ):
            freeze_all(known, variables, f"{op.name} concatenates along another dimension")
            return None
        if known[0].axis != dim:
            reason = f"{op.name} concatenates channels of different origin"
            merge_parts(known, variables, reason)
            return known[0]
        parts = tuple(part for layout in known for part in layout.parts)
        if all(layout.order is None for layout in known):
            return Layout(dim, parts)
        return Layout(dim, parts, order=Row(tuple(layout.channels for layout in known)))

    def resize(self, op: Operation, inputs: list[Shape], width: int | None) -> Operation:
        dim = op.config["dim"]
        rests = {s[:dim] + s[dim + 1 :] for s in inputs}
        if len(rests) > 1:
            raise IllegalArchitectureError(
                f"{op.name} would concatenate shapes {[list(s[1:]) for s in inputs]}"
            )
        shape = list(inputs[0])
        shape[dim] = sum(s[dim] for s in inputs)
        return shaped(op, tuple(shape))

    def build(self, op: Operation) -> Callable[..., Any]:
        return Cat(op.config["dim"])


class Cat(nn.Module):
    """Concatenation of its arguments along `dim`, as a module so that a student prints well."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, *tensors: torch.Tensor) -> torch.Tensor:
        """Tensors that agree in all dimensions but `dim`."""
        return torch.cat(tensors, self.dim)

    def extra_repr(self) -> str:
        return f"dim={self.dim}"
