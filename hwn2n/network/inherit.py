"""Inherited weights: the teacher's most important channels, the same ones for all that share them.

For each channel group of the teacher one ranking of its channels (importance.py) decides which are
kept, so that producers and readers agree. Kernels are cropped around their centre.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import replace

import torch

from hwn2n.network.architecture import Architecture, Operation
from hwn2n.network.capture import Captured
from hwn2n.network.decision import Decision
from hwn2n.network.importance import Ranking, by_contribution
from hwn2n.network.kept import NEW, Grid, KeptChannels
from hwn2n.network.module import instantiate
from hwn2n.network.operators.held import held_axis
from hwn2n.network.picking import PICKERS, inherited
from hwn2n.network.planner import Planner


class Inheritance:
    """Gives students of one teacher the weights that they can inherit; `rank` says which channels
    matter."""

    def __init__(
        self, teacher: Captured, planner: Planner, rank: Ranking = by_contribution
    ) -> None:
        self.teacher = teacher
        self.planner = planner
        self._operations = teacher.architecture.by_name()
        self._ranking = rank(teacher, planner.channels)

    def keep(self, group: str, count: int) -> list[int]:
        """The teacher's `count` most important units of a group, in ascending order.

        Units are channels, but for groups of several channels each. Where the readers mix their
        order, the most important of each of `count` equal stretches, so that halves stay halves.
        Asked for more units than there are, the rest is `NEW`.
        """
        ranking = self._ranking[group]
        if self.planner.channels.groups[group].spread and count < len(ranking):
            place = {unit: i for i, unit in enumerate(ranking)}
            ends = [i * len(ranking) // count for i in range(count + 1)]
            return [
                min(range(low, high), key=place.__getitem__)
                for low, high in itertools.pairwise(ends)
            ]
        kept = sorted(ranking[:count])
        return kept + [NEW] * (count - len(kept))

    def kept(self, decision: Decision) -> KeptChannels:
        """Which channels the students of a decision keep."""
        _, channels = self.planner.left(decision.removed)
        return KeptChannels(self.planner.channels, channels, decision, self.keep)

    def weights(
        self, student: Architecture, decision: Decision, *, seed: int
    ) -> dict[str, torch.Tensor]:
        """A state dict for `student` (the plan of `decision`).

        What the teacher has no weights for (a channel that a bypass brought to a layer) starts
        fresh, from `seed`; the global generator is left as it is.
        """
        kept, operations = self.kept(decision), student.by_name()
        state: dict[str, torch.Tensor] = {}
        for i, op in enumerate(student):
            if "of" in op.config:
                continue
            if op.kind == "constant":
                state[f"{op.name}.weight"] = self._held(op, kept)
            elif op.kind in PICKERS and "tied_to" not in op.config:
                parts = kept.of(op, self._operations[op.name])
                if op.kind == "linear":
                    before = _flattened(op, self._operations)
                    after = _flattened(op, operations)
                    if before is not None and after is not None:
                        parts = replace(parts, grids=(before, after))
                state |= inherited(op, self.teacher.weights, parts, seed + i)
        return state

    def fixed(self, student: Architecture, decision: Decision) -> dict[str, torch.Tensor]:
        """The tensors of `student` that nobody learns, such as the means that images are normalised
        by: they belong to what the network computes, and fresh weights begin with them too."""
        kept = self.kept(decision)
        return {
            f"{op.name}.weight": self._held(op, kept)
            for op in student
            if op.kind == "constant" and not op.config["trainable"] and "of" not in op.config
        }

    def _held(self, op: Operation, kept: KeptChannels) -> torch.Tensor:
        """A tensor that the forward pass uses directly, cut to the channels that are kept."""
        weight = self.teacher.weights[f"{op.name}.weight"]
        axis = held_axis(self._operations[op.name].config["shape"])
        if list(weight.shape) == op.config["shape"] or axis is None:
            return weight.clone()
        layout = self.planner.channels.layouts[op.name]
        assert layout is not None
        made = kept.made(layout.parts[0], op.config["shape"][axis])
        return weight.index_select(axis, made.index)


def _flattened(op: Operation, operations: Mapping[str, Operation]) -> Grid | None:
    """Height and width of the images of which an operation of this name reads every place."""
    before = operations[op.name]
    while len(before.inputs) == 1 and before.inputs[0] in operations:
        before = operations[before.inputs[0]]
        if before.kind == "flatten":
            shape = operations[before.inputs[0]].shape if before.inputs[0] in operations else None
            return (shape[2], shape[3]) if shape is not None and len(shape) == 4 else None
        if len(before.shape or ()) != 2:
            return None
    return None


def fresh_weights(architecture: Architecture, *, seed: int) -> dict[str, torch.Tensor]:
    """A state dict with torch's own initialisation from `seed`; the global generator is left."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # and not those of a GPU
        return {key: value.clone() for key, value in instantiate(architecture).state_dict().items()}
