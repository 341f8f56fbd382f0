"""Rules of what puts values in another order, or takes a part: permutations, shuffles, cuts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from hwn2n.network.architecture import IllegalArchitectureError, Operation
from hwn2n.network.layout import Layout
from hwn2n.network.operators.base import Operator, Shape, freeze_all, on_axis, shaped
from hwn2n.network.order import Piece, Shuffled
from hwn2n.network.variables import ChannelVariables


class Permute(Operator):
    """Dimensions in another order."""

    def relate(
        self,
        op: Operation,
        inputs: list[Layout | None],
        shapes: list[Shape],
        variables: ChannelVariables,
    ) -> Layout | None:
        layout = inputs[0]
        return layout and replace(layout, axis=op.config["dims"].index(layout.axis))

    def resize(self, op: Operation, inputs: list[Shape], width: int | None) -> Operation:
        return shaped(op, tuple(inputs[0][i] for i in op.config["dims"]))

    def build(self, op: Operation) -> Callable[..., Any]:
        return Permuted(op.config["dims"])


class Permuted(nn.Module):
    """A tensor's dimensions in another order."""

    def __init__(self, dims: list[int]) -> None:
        super().__init__()
        self.dims = tuple(dims)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """A tensor of as many dimensions as `dims`."""
        return x.permute(self.dims)

    def extra_repr(self) -> str:
        return str(self.dims)


class ChannelShuffle(Operator):
    """ShuffleNet's: the first channel of each of the groups, then the second of each ...

    The groups must keep equal widths; which of their channels they keep is up to each.
    """

    def relate(
        self,
        op: Operation,
        inputs: list[Layout | None],
        shapes: list[Shape],
        variables: ChannelVariables,
    ) -> Layout | None:
        layout, groups = on_axis(op, inputs[0], 1, variables), op.config["groups"]
        if layout is None:
            return None
        reason = f"{op.name} shuffles {groups} groups of channels that are not alike"
        parts = layout.parts
        if layout.flat:
            freeze_all([layout], variables, reason)
            return None
        if len(parts) == 1:
            if not variables.in_sections(parts[0], groups):
                variables.freeze(parts[0], reason)
        elif len(parts) % groups == 0:
            for part in parts[1:]:
                if variables.width(part) == variables.width(parts[0]):
                    variables.merge(parts[0], part, reason)
        if len(parts) > 1 and (len(parts) % groups or not variables.same(parts)):
            freeze_all([layout], variables, reason)
        for part in parts:
            variables.spread(part)
        return Layout(1, parts, order=Shuffled(groups, layout.channels))

    def resize(self, op: Operation, inputs: list[Shape], width: int | None) -> Operation:
        if inputs[0][1] % op.config["groups"]:
            raise IllegalArchitectureError(
                f"{op.name} needs a multiple of {op.config['groups']} channels, but would get "
                f"{inputs[0][1]}"
            )
        return shaped(op, inputs[0])

    def build(self, op: Operation) -> nn.Module:
        return Shuffle(op.config["groups"])


class Shuffle(nn.Module):
    """Channel i of group g becomes channel i * groups + g."""

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.groups = groups

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, ...) of the same shape; C is a multiple of the groups."""
        split = (self.groups, x.shape[1] // self.groups, *x.shape[2:])
        return x.unflatten(1, split[:2]).transpose(1, 2).flatten(1, 2)

    def extra_repr(self) -> str:
        return f"groups={self.groups}"


class Cut(Operator):
    """A piece of a tensor along `config["dim"]`: one of a chunk's, a split's, or a slice.

    From section `start` to section `stop` of `sections` equal ones. Of channels, all sections
    shrink together; along another dimension the length must stay what it is.
    """

    def relate(
        self,
        op: Operation,
        inputs: list[Layout | None],
        shapes: list[Shape],
        variables: ChannelVariables,
    ) -> Layout | None:
        layout, cfg = inputs[0], op.config
        if layout is None or layout.axis != cfg["dim"]:
            return layout
        start, stop, sections = cfg["start"], cfg["stop"], cfg["sections"]
        reason = f"{op.name} cuts channels of different origin into {sections} sections"
        count, same = len(layout.parts), variables.same(layout.parts)
        order = Piece(start, stop, sections, layout.channels)
        if not layout.flat and same and count * start % sections == count * stop % sections == 0:
            # whole parts of equal widths
            low, high = count * start // sections, count * stop // sections
            parts = layout.parts[low:high]
            if layout.order is None:
                return Layout(layout.axis, parts)
            for part in parts:
                variables.spread(part)
            return Layout(layout.axis, parts, order=order)
        if not layout.flat and count == 1:
            piece = variables.cut(layout.parts[0], start, stop, sections)
            if piece is not None and layout.order is None:
                return Layout(layout.axis, (piece,))  # of all sections the same units are kept
            if piece is not None:
                variables.spread(piece)
                return Layout(layout.axis, (piece,), order=order)
        freeze_all([layout], variables, reason)
        return None

    def resize(self, op: Operation, inputs: list[Shape], width: int | None) -> Operation:
        cfg, shape = op.config, list(inputs[0])
        length, sections = shape[cfg["dim"]], cfg["sections"]
        if length % sections:
            raise IllegalArchitectureError(
                f"{op.name} cuts {sections} equal sections, but would read {length} places"
            )
        start, stop = (length * cfg[end] // sections for end in ("start", "stop"))
        if length > cfg["length"]:
            # Only images grow, where a stride was removed, and of them a section is no border.
            raise IllegalArchitectureError(
                f"{op.name} must read {cfg['length']} places, but would read {length}"
            )
        shape[cfg["dim"]] = stop - start
        return shaped(op.with_config(length=length), tuple(shape))

    def build(self, op: Operation) -> nn.Module:
        cfg = op.config
        start, stop = (cfg["length"] * cfg[end] // cfg["sections"] for end in ("start", "stop"))
        return Narrow(cfg["dim"], start, stop)


class Narrow(nn.Module):
    """Places `start` to `stop` of dimension `dim`."""

    def __init__(self, dim: int, start: int, stop: int) -> None:
        super().__init__()
        self.dim, self.start, self.stop = dim, start, stop

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """A tensor with at least `stop` places in dimension `dim`."""
        return x.narrow(self.dim, self.start, self.stop - self.start)

    def extra_repr(self) -> str:
        return f"dim={self.dim}, start={self.start}, stop={self.stop}"
