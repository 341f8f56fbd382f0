"""Which of the teacher's channels a student's operations make and read, for one decision.

Operations that share channels share the answer: it is worked out once for each layout, for a
student is built more often than anything else.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from hwn2n.network.architecture import Operation
from hwn2n.network.channels import ChannelMap
from hwn2n.network.decision import Decision
from hwn2n.network.layout import PLAIN, Layout
from hwn2n.network.order import arrange, leaves

NEW = -1
"""In a list of the teacher's channels to take: one that the teacher does not have."""


@dataclass(frozen=True)
class Channels:
    """Channels of the teacher to take, in order, of `whole` that it has there."""

    list: list[int]
    whole: int

    @cached_property
    def index(self) -> Tensor:
        """(len,) int64: the same as a tensor."""
        return torch.tensor(self.list, dtype=torch.int64)

    @cached_property
    def new(self) -> bool:
        """Is there one that the teacher does not have?"""
        return NEW in self.list

    @cached_property
    def all(self) -> bool:
        """Are they all, as they are?"""
        return len(self.list) == self.whole and self.list == [*range(self.whole)]

    def __len__(self) -> int:
        return len(self.list)


Grid = tuple[int, int]
"""Height and width of an image."""


@dataclass(frozen=True, kw_only=True)
class Kept:
    """Which of the teacher's channels a student's operation makes and reads.

    `None` stands for all of them as they are, where they cannot be followed. `read.whole` counts
    the channels that the operation reads in the teacher; after a flatten each of them has several
    places. `grids` are the images that were flattened, the teacher's and the student's, where they
    can be told.
    """

    made: Channels | None
    read: Channels | None
    grids: tuple[Grid, Grid] | None = None


class KeptChannels:
    """Follows the channels of one decision.

    `teacher` are the channels of the teacher, `left` those of what the decision's removals leave,
    at full width; `keep(group, units)` says which units of a group are kept.
    """

    def __init__(
        self,
        teacher: ChannelMap,
        left: ChannelMap,
        decision: Decision,
        keep: Callable[[str, int], list[int]],
    ) -> None:
        self.teacher = teacher
        self.left = left
        self.widths = decision.widths
        self._keep = keep
        self._made: dict[tuple[int, int], Channels] = {}
        self._read: dict[tuple[Layout, Layout], Channels] = {}

    def of(self, op: Operation, original: Operation) -> Kept:
        """What a student's operation keeps; `original` is the teacher's of that name."""
        made = self.teacher.layouts[op.name]
        own = made is not None and self.teacher.own_group(op.name) is not None
        return Kept(
            made=self.made(made.parts[0], _makes(op)) if made is not None and own else None,
            read=self._reads(original, op),
        )

    def made(self, variable: int, width: int) -> Channels:
        """Which of the channels that a variable has in the teacher are kept, `width` in all."""
        found = self._made.get((variable, width))
        if found is None:
            kept = self._find(variable, width)
            found = self._made[variable, width] = Channels(kept, self.teacher.width(variable))
        return found

    def _find(self, variable: int, width: int) -> list[int]:
        group, whole = self.teacher.group_of(variable), self.teacher.width(variable)
        if group is None:
            return [*range(min(width, whole)), *[NEW] * (width - whole)]
        structure = self.teacher.structure(variable)
        units, per_unit = whole // structure.per_unit, structure.per_unit
        kept = self._keep(group.name, -(-width // per_unit))
        if structure == PLAIN:
            return kept[:width]
        # where a removal left finer units than the teacher's, each section gives its own share
        ends = [width * s // structure.sections for s in range(structure.sections + 1)]
        places = [(unit, b) for unit in kept for b in range(structure.block)]
        return [
            NEW if unit == NEW else (s * units + unit) * structure.block + b
            for s in range(structure.sections)
            for unit, b in places[: ends[s + 1] - ends[s]]
        ]

    def _reads(self, original: Operation, op: Operation) -> Channels | None:
        """What is read on the dimension that the operation's weights belong to."""
        old = self.teacher.layouts[original.inputs[0]]
        new = self.left.layouts[op.inputs[0]]
        if old is None or new is None:
            return None
        if old.axis != _axis_read(original) or new.axis != _axis_read(op):
            return None
        found = self._read.get((old, new))
        if found is None:
            whole = sum(self.teacher.width(part) for part in old.parts)
            found = self._read[old, new] = Channels(self._taken(old, new), whole)
        return found

    def _taken(self, old: Layout, new: Layout) -> list[int]:
        """Which of the teacher's channels the student's are, along one layout.

        The i-th variable that is read there stands for the i-th that is read here: the same one,
        unless a removed layer brought another, of which the most important are taken.
        """
        before = leaves(old.channels)
        if len(before) == 1 and len(new.parts) == 1 and old.order is None and new.order is None:
            return self.made(before[0], self.left.width(new.parts[0], self.widths)).list

        def kept(i: int, variable: int) -> list[tuple[int, int]]:
            width = self.left.width(variable, self.widths)
            if i >= len(before):
                return [(i, NEW)] * width
            return [(i, channel) for channel in self.made(before[i], width).list]

        def all_of(i: int, variable: int) -> list[tuple[int, int]]:
            return [(i, channel) for channel in range(self.teacher.width(variable))]

        place = {channel: at for at, channel in enumerate(arrange(old.channels, all_of))}
        return [place.get(channel, NEW) for channel in arrange(new.channels, kept)]


def _makes(op: Operation) -> int:
    """How many channels an operation with channels of its own makes."""
    return op.config["out_features"] if op.kind == "linear" else op.config["out_channels"]


def _axis_read(op: Operation) -> int:
    """The dimension of the input that the weights of an operation belong to."""
    return len(op.shape or ()) - 1 if op.kind in ("linear", "layer_norm") else 1
