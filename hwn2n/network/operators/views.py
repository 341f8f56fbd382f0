"""Rules of views: a tensor's values in the same order, in another shape."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import nn

from hwn2n.network.architecture import IllegalArchitectureError, Operation
from hwn2n.network.layout import Layout
from hwn2n.network.operators.base import Operator, Shape, freeze_all, shaped
from hwn2n.network.variables import ChannelVariables


class Flatten(Operator):
    """All but the batch into one dimension, channel after channel."""

    def relate(
        self,
        op: Operation,
        inputs: list[Layout | None],
        shapes: list[Shape],
        variables: ChannelVariables,
    ) -> Layout | None:
        layout = inputs[0]
        if layout is None or layout.axis == 1:
            return layout and replace(layout, flat=True)
        reason = f"{op.name} flattens channels that are not the first dimension"
        freeze_all(inputs, variables, reason)
        return None  # how many places there are follows the image, which a removal may change

    def resize(self, op: Operation, inputs: list[Shape], width: int | None) -> Operation:
        return shaped(op, (inputs[0][0], math.prod(inputs[0][1:])))

    def build(self, op: Operation) -> nn.Module:
        return nn.Flatten(1)


class Reshape(Operator):
    """A view of another shape: `config["from"]` is read as `config["to"]`, batch negative.

    Channels pass where they are one dimension before and behind it. Where they are divided (into
    the branches of a split attention, say), all sections shrink together, and the last dimension
    that they are divided into holds the channels; where such dimensions are joined, the channels
    are multiplied. Where they are joined with the batch they stay as they are.
    """

    def relate(
        self,
        op: Operation,
        inputs: list[Layout | None],
        shapes: list[Shape],
        variables: ChannelVariables,
    ) -> Layout | None:
        layout = inputs[0]
        if layout is None:
            return None
        before, after = op.config["from"], op.config["to"]
        move = move_of(before, after, layout.axis)
        if move is not None and move.passes:
            return replace(layout, axis=move.axis)
        single = len(layout.parts) == 1 and layout.order is None and not layout.flat
        if move is not None and single and move.divided > 1:
            piece = variables.cut(layout.parts[0], 0, 1, move.divided)
            if piece is not None:
                return Layout(move.axis, (piece,))
        if move is not None and single and move.divided == 1:
            return Layout(move.axis, (variables.joined(layout.parts[0], move.ahead, move.behind),))
        reason = f"{op.name} divides its channels, or joins them with others"
        freeze_all([layout], variables, reason)
        return None

    def resize(self, op: Operation, inputs: list[Shape], width: int | None) -> Operation:
        before, after = list(op.config["from"]), list(op.config["to"])
        shape = list(inputs[0])
        changed = [i for i, (a, b) in enumerate(zip(before, shape, strict=False)) if a != b]
        if not changed and len(before) == len(shape):
            return op
        move = move_of(before, after, changed[0]) if len(changed) == 1 else None
        length = shape[changed[0]] if changed else 0
        # A dimension that grew is not one of channels: whether its pieces become more, or longer,
        # nobody has said.
        grew = move is not None and move.divided > 1 and length > before[changed[0]]
        if move is None or len(before) != len(shape) or length % move.divided or grew:
            raise IllegalArchitectureError(
                f"{op.name} ({op.kind}) must read shape {before[1:]}, but would read {shape[1:]}"
            )
        after[move.axis] = length // move.divided * move.ahead * move.behind
        return shaped(op.with_config(**{"from": shape, "to": after}), tuple(after))

    def build(self, op: Operation) -> nn.Module:
        return View([-1 if d < 0 else d for d in op.config["to"]])


@dataclass(frozen=True)
class Move:
    """Where a dimension is after a view: at `axis`, `divided` by the dimensions split off it.

    Or joined with others: `ahead` places of those before it, `behind` of those behind it.
    """

    axis: int
    divided: int = 1
    ahead: int = 1
    behind: int = 1

    @property
    def passes(self) -> bool:
        """Is it a dimension of its own, of the same length?"""
        return self.divided == self.ahead == self.behind == 1


def move_of(before: list[int], after: list[int], axis: int) -> Move | None:
    """What a view does to dimension `axis`; None where it mixes it with the batch, or with more."""
    low, high, start, stop = _segment(before, after, axis)
    old, new = before[low:high], after[start:stop]
    if len(old) == len(new) == 1:
        return Move(start)
    if any(length < 0 for length in (*old, *new)):
        return None
    if len(old) == 1 and new:
        last = max((i for i, length in enumerate(new) if length > 1), default=0)
        return Move(start + last, divided=old[0] // new[last])
    if len(new) == 1:
        ahead, behind = math.prod(before[low:axis]), math.prod(before[axis + 1 : high])
        return Move(start, ahead=ahead, behind=behind)
    return None


def _segment(before: list[int], after: list[int], axis: int) -> tuple[int, int, int, int]:
    """The fewest dimensions around `axis`, and those of the view that hold the same values."""
    low = high = start = stop = 0
    while True:
        low, start = high, stop
        high, stop = high + 1, stop + 1
        old, new = before[low], after[start] if start < len(after) else 1
        while old != new:
            if abs(old) < abs(new) and high < len(before):
                old, high = old * before[high], high + 1
            elif stop < len(after):
                new, stop = new * after[stop], stop + 1
            else:
                break
        if axis < high:
            return low, high, start, min(stop, len(after))


class View(nn.Module):
    """A tensor's values in order, with another shape; -1 is the batch, or a multiple of it."""

    def __init__(self, shape: list[int]) -> None:
        super().__init__()
        self.shape = tuple(shape)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Any shape with as many values for each image."""
        return x.reshape(self.shape)

    def extra_repr(self) -> str:
        return str(self.shape)
