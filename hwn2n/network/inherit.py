"""Inherited weights: the teacher's most important channels, the same ones for all that share them.

For each channel group of the teacher one ranking of its channels decides which are kept, so that
producers and readers agree: the summed L1 norm of the filters that make a channel (Li et al.
2017), each layer's norms divided by their mean so that layers of different fan-in count alike.
Kernels are cropped around their centre.
"""

from __future__ import annotations

import torch

from hwn2n.network.architecture import Architecture, Operation
from hwn2n.network.capture import Captured
from hwn2n.network.channels import ChannelMap
from hwn2n.network.decision import Decision
from hwn2n.network.module import instantiate
from hwn2n.network.picking import NEW, PICKERS, Kept, inherited
from hwn2n.network.planner import Planner
from hwn2n.network.variables import Layout


class Inheritance:
    """Gives students of one teacher the weights that they can inherit."""

    def __init__(self, teacher: Captured, planner: Planner) -> None:
        self.teacher = teacher
        self.planner = planner
        self._operations = teacher.architecture.by_name()
        weights = teacher.weights  # those of tied layers under their owner's name only
        self._ranking = {
            name: _rank(
                [weights[key] for p in group.producers if (key := f"{p}.weight") in weights]
            )
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
        fresh, from `seed`; the global generator is left as it is.
        """
        _, channels = self.planner.left(decision.removed)
        state: dict[str, torch.Tensor] = {}
        for i, op in enumerate(student):
            if op.kind == "constant":
                key = f"{op.name}.weight"
                state[key] = self.teacher.weights[key].clone()
            elif op.kind in PICKERS and "tied_to" not in op.config:
                kept = self._kept(op, channels, decision)
                state |= inherited(op, self.teacher.weights, kept, seed + i)
        return state

    def _kept(self, op: Operation, channels: ChannelMap, decision: Decision) -> Kept:
        """Which of the teacher's channels an operation makes and reads."""
        old_layout = self.planner.channels.layouts[self._operations[op.name].inputs[0]]
        read = self._taken(old_layout, channels.layouts[op.inputs[0]], channels, decision)
        group = self.planner.channels.own_group(op.name)
        made = None if group is None else self.keep(group.name, _width(op))
        total = None
        if old_layout is not None:
            total = sum(self.planner.channels.width(part) for part in old_layout.parts)
        return Kept(made=made, read=read, readable=total)

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
        torch.default_generator.manual_seed(seed)  # and not those of a GPU
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
