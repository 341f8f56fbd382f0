"""Inherited weights: the teacher's most important channels, the same ones for all that share them.

For each channel group of the teacher one ranking of its channels decides which are kept, so that
producers and readers agree: the summed L1 norm of the filters that make a channel (Li et al.
2017), each layer's norms divided by their mean so that layers of different fan-in count alike.
Kernels are cropped around their centre.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from hwn2n.network.architecture import Architecture, Operation
from hwn2n.network.capture import Captured
from hwn2n.network.channels import ChannelMap
from hwn2n.network.decision import Decision
from hwn2n.network.module import instantiate
from hwn2n.network.planner import Planner
from hwn2n.network.variables import Layout

NEW = -1
"""In a list of the teacher's channels to take: one that the teacher does not have."""


class Inheritance:
    """Gives students of one teacher the weights that they can inherit."""

    def __init__(self, teacher: Captured, planner: Planner) -> None:
        self.teacher = teacher
        self.planner = planner
        self._operations = teacher.architecture.by_name()
        self._ranking = {
            name: _rank([teacher.weights[f"{p}.weight"] for p in group.producers])
            for name, group in planner.channels.groups.items()
        }

    def keep(self, group: str, count: int) -> list[int]:
        """The teacher's `count` most important channels of a group, in ascending order.

        Asked for more channels than there are, the rest is `NEW`.
        """
        ranking = self._ranking[group]
        kept = sorted(ranking[:count])
        return kept + [NEW] * (count - len(kept))

    def weights(
        self, student: Architecture, decision: Decision, *, seed: int
    ) -> dict[str, torch.Tensor]:
        """A state dict for `student` (the plan of `decision`).

        What the teacher has no weights for (a channel that a bypass brought to a layer) starts
        fresh, from `seed`.
        """
        _, channels = self.planner.left(decision.removed)
        state = fresh_weights(student, seed=seed)
        for op in student:
            if op.source is None and "tied_to" not in op.config:
                self._fill(op, state, channels, decision)
        return state

    def _fill(
        self,
        op: Operation,
        state: dict[str, torch.Tensor],
        channels: ChannelMap,
        decision: Decision,
    ) -> None:
        old = self._operations[op.name]
        for key in [k for k in state if k.rpartition(".")[0] == op.name]:
            if op.kind == "constant":
                state[key] = self.teacher.weights[key].clone()
        if op.kind not in ("conv2d", "linear", "batch_norm"):
            return
        old_layout = self.planner.channels.layouts[old.inputs[0]]
        read = self._taken(old_layout, channels.layouts[op.inputs[0]], channels, decision)
        group = self.planner.channels.own_group(op.name)
        made = read if group is None else self.keep(group.name, _width(op))
        if op.kind == "conv2d" and (op.config["depthwise"] or op.config["groups"] > 1):
            # depthwise: one filter for each channel read; otherwise grouped, and frozen
            made = read if op.config["depthwise"] else None
            read = None
        for key in ("bias", "running_mean", "running_var"):
            if f"{op.name}.{key}" in state:
                _take(state[f"{op.name}.{key}"], self.teacher.weights[f"{op.name}.{key}"], made)
        weight, theirs = state[f"{op.name}.weight"], self.teacher.weights[f"{op.name}.weight"]
        if op.kind == "batch_norm":
            _take(weight, theirs, made)
        elif op.kind == "conv2d":
            _take(weight, _crop(theirs, tuple(weight.shape[2:])), made, read)
        else:
            old_channels = _channels(old_layout, self.planner.channels)
            _take_linear(weight, theirs, made, read, old_channels)

    def _taken(
        self,
        old: Layout | None,
        new: Layout | None,
        channels: ChannelMap,
        decision: Decision,
    ) -> list[int] | None:
        """Which of the teacher's channels the student's are, along one layout; None = all."""
        if old is None or new is None:
            return None
        taken: list[int] = []
        offset = 0
        for i, part in enumerate(new.parts):
            group = channels.group_of(part)
            width = channels.width(part)
            if group is not None:
                width = decision.widths.get(group.name, width)
            if i >= len(old.parts):
                taken += [NEW] * width
                continue
            old_group = self.planner.channels.group_of(old.parts[i])
            old_width = self.planner.channels.width(old.parts[i])
            if old_group is None:
                kept = [*range(min(width, old_width)), *[NEW] * (width - old_width)]
            else:
                kept = self.keep(old_group.name, width)
            taken += [NEW if k == NEW else offset + k for k in kept]
            offset += old_width
        return taken


def fresh_weights(architecture: Architecture, *, seed: int) -> dict[str, torch.Tensor]:
    """A state dict with torch's own initialisation from `seed`; the global generator is left."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return {key: value.clone() for key, value in instantiate(architecture).state_dict().items()}


def _rank(filters: list[torch.Tensor]) -> list[int]:
    """Channels from the most to the least important; ties in the teacher's own order."""
    width = min(weight.shape[0] for weight in filters)
    score = torch.zeros(width, dtype=torch.float64)
    for weight in filters:
        norms = weight[:width].double().abs().flatten(1).sum(1)
        score += norms / norms.mean().clamp_min(1e-12)
    return torch.argsort(score, descending=True, stable=True).tolist()


def _width(op: Operation) -> int:
    return op.config["out_channels"] if op.kind == "conv2d" else op.config["out_features"]


def _crop(weight: torch.Tensor, kernel: tuple[int, ...]) -> torch.Tensor:
    top, left = ((weight.shape[2 + i] - kernel[i]) // 2 for i in range(2))
    return weight[:, :, top : top + kernel[0], left : left + kernel[1]]


def _channels(layout: Layout | None, channels: ChannelMap) -> int | None:
    return sum(channels.width(part) for part in layout.parts) if layout else None


def _take(
    value: torch.Tensor,
    old: torch.Tensor,
    rows: list[int] | None,
    columns: list[int] | None = None,
) -> None:
    """Overwrite `value` (rows, columns, ...) with the teacher's; what is NEW stays fresh."""
    for dim, index in ((0, rows), (1, columns)):
        if index is not None:
            old = old.index_select(dim, torch.tensor([max(i, 0) for i in index]))
    known = torch.ones(value.shape[:1] if columns is None else value.shape[:2], dtype=torch.bool)
    if rows is not None:
        known[[i for i, row in enumerate(rows) if row == NEW]] = False
    if columns is not None:
        known[:, [i for i, column in enumerate(columns) if column == NEW]] = False
    if old.shape != value.shape:
        return  # an operator of another shape altogether: it starts fresh
    value[known] = old[known]


def _take_linear(
    value: torch.Tensor,
    old: torch.Tensor,
    rows: list[int] | None,
    columns: list[int] | None,
    old_channels: int | None,
) -> None:
    """The same for (out, channels * positions): a channel may take many places once flattened."""
    if columns is None or old_channels is None:
        _take(value, old, rows)
        return
    shaped = value.reshape(value.shape[0], len(columns), -1)
    old = _resample(old.reshape(old.shape[0], old_channels, -1), shaped.shape[2])
    _take(shaped, old, rows, columns)
    value.copy_(shaped.reshape(value.shape))


def _resample(weight: torch.Tensor, positions: int) -> torch.Tensor:
    """(out, C, positions of the teacher) on the student's grid, each channel's sum unchanged.

    A removed pooling layer leaves a larger image to the classifier. Square grids only; what is
    not square is left as it is, and its reader starts fresh.
    """
    before, after = round(weight.shape[2] ** 0.5), round(positions**0.5)
    if weight.shape[2] == positions or before**2 != weight.shape[2] or after**2 != positions:
        return weight
    grid = weight.reshape(*weight.shape[:2], before, before)
    grid = F.interpolate(grid, size=(after, after), mode="nearest")
    return grid.flatten(2) * (weight.shape[2] / positions)
