"""How evolution and local search change a decision, and where they begin.

Where widths are proportions (`evolution.py`) a decision is scaled up until one of its widths is the
teacher's; projection then scales it down to the budget.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

from hwn2n.network.architecture import IllegalArchitectureError
from hwn2n.network.channels import ChannelGroup
from hwn2n.network.decision import Decision
from hwn2n.network.layers import Layer, find_layers
from hwn2n.network.planner import Planner
from hwn2n.search.choices.actions import smaller_kernel
from hwn2n.search.fitting.projection import filled
from hwn2n.search.settings import Settings

_MOST_GONE = 0.6
"""The odds of a layer to be missing in the last founder."""
_KINDS, _SHARES = ("width", "layer", "branch", "kernel"), (0.55, 0.15, 0.15, 0.15)
_SCALED = 0.2
"""Where widths are no proportions: the share of children of which all widths change alike."""
_NARROWEST = 0.1
"""There: the least share of the teacher's widths that founders begin with."""


class Mutations:
    """Small changes of a decision: a few widths, a layer or a whole residual branch taken out or
    put back, a kernel. `proportions`: whether only the ratios of widths count.
    """

    def __init__(
        self,
        planner: Planner,
        settings: Settings,
        generator: random.Random,
        *,
        proportions: bool = True,
    ) -> None:
        self.proportions = proportions
        self.planner = planner
        self.allowed = settings.widths
        self.random = generator
        self.layers = [x for x in find_layers(planner, settings.granularity) if x.removable]
        # layer by layer a branch would have to lose accuracy before it no longer costs time
        known = {layer.operations for layer in self.layers}
        whole = [x for x in find_layers(planner, "block") if x.removable]
        self.branches = [x for x in whole if x.operations not in known]

    def mutated(self, parent: Decision) -> Decision:
        """One or two changes, or all widths by one factor."""
        if not self.proportions and self.random.random() < _SCALED:
            return self._scaled(parent)
        child = parent
        for _ in range(1 + (self.random.random() < 0.3)):
            kind = self.random.choices(_KINDS, _SHARES)[0]
            if kind == "branch" and self.branches:
                child = self._toggled(child, self.branches)
            elif kind in ("layer", "branch") and self.layers:
                child = self._toggled(child, self.layers)
            elif kind == "kernel":
                child = self._kernel(child)
            else:
                child = self._widths(child)
        return self._whole(child)

    def founder(self, share: float) -> Decision:
        """Each layer goes with the odds `share`, or each residual branch as a whole; widths are
        uniform, or each one's share is drawn.
        """
        odds = _MOST_GONE * share
        kinds = [kind for kind in (self.layers, self.branches) if kind]
        layers = self.random.choice(kinds) if kinds else []
        gone = [layer for layer in layers if self.random.random() < odds]
        removed = frozenset(name for layer in gone for name in layer.operations)
        widest = 1.0 if self.proportions else self.random.uniform(_NARROWEST, 1.0)
        alike = self.random.random() < 0.5
        widths = {
            name: self.allowed.nearest(
                group, widest * (1.0 if alike else self.random.uniform(0.4, 1.0))
            )
            for name, group in self._free(removed).items()
        }
        return self._whole(Decision(removed, widths))

    def _scaled(self, decision: Decision) -> Decision:
        """All widths by one log-normal factor."""
        whole, factor = self._whole(decision), math.exp(self.random.gauss(0.0, 0.4))
        groups = self._free(decision.removed)
        widths = {
            name: self.allowed.nearest(
                group, min(1.0, factor * whole.widths.get(name, group.width) / group.width)
            )
            for name, group in groups.items()
        }
        return replace(whole, widths=widths)

    def _toggled(self, decision: Decision, layers: Sequence[Layer]) -> Decision:
        layer = self.random.choice(layers)
        there = decision.removed.issuperset(layer.operations)
        operations = set(layer.operations)
        removed = decision.removed - operations if there else decision.removed | operations
        return replace(decision, removed=frozenset(removed))

    def _kernel(self, decision: Decision) -> Decision:
        try:
            free = sorted(self.planner.free_kernels(decision.removed))
        except IllegalArchitectureError:
            return decision
        if not free:
            return decision
        name = self.random.choice(free)
        kernels = dict(decision.kernels)
        if name in kernels:
            del kernels[name]
        else:
            height, width = self.planner.teacher.by_name()[name].config["kernel_size"]
            share = self.random.uniform(0.1, 0.9)
            kernels[name] = (smaller_kernel(height, share), smaller_kernel(width, share))
        return replace(decision, kernels=kernels)

    def _widths(self, decision: Decision) -> Decision:
        """One to three widths, by a log-normal factor, or to the next one that is allowed."""
        groups = self._free(decision.removed)
        widths = {name: decision.widths.get(name, group.width) for name, group in groups.items()}
        for name in self.random.sample(sorted(widths), min(len(widths), self.random.randint(1, 3))):
            group, before = groups[name], widths[name]
            factor = math.exp(self.random.gauss(0.0, 0.4))
            changed = self.allowed.nearest(group, min(1.0, before * factor / group.width))
            if changed == before:
                changed = self._next(group, before, up=factor > 1)
            widths[name] = changed
        return replace(decision, widths=widths)

    def _next(self, group: ChannelGroup, width: int, *, up: bool) -> int:
        """The next allowed width in a direction; the same one at the end."""
        steps = range(width + 1, group.width + 1) if up else range(width - 1, 0, -1)
        return next((w for w in steps if self.allowed.at_most(group, w) == w), width)

    def _free(self, removed: frozenset[str]) -> dict[str, ChannelGroup]:
        """The groups whose widths can be chosen in what is left; {} where that is no network."""
        try:
            _, channels = self.planner.left(removed)
        except IllegalArchitectureError:
            return {}
        return channels.free

    def _whole(self, decision: Decision) -> Decision:
        """All widths named, and where they are proportions scaled up together until one of them
        is the teacher's; kernels of what is left only.

        Groups that the decision does not name, such as those of a layer that was put back, take
        the mean share of the others: their whole width would dwarf what the budget left of those.
        """
        groups = self._free(decision.removed)
        shares = {
            name: Fraction(decision.widths[name], group.width)
            for name, group in groups.items()
            if name in decision.widths
        }
        left = self._kernels_left(decision)
        if not shares:
            return replace(decision, widths={}, kernels=left)
        usual = sum(shares.values(), Fraction(0)) / len(shares)
        shares = {name: shares.get(name, usual) for name in groups}
        if self.proportions:
            widths = filled(groups, shares, self.allowed)
        else:
            widths = {
                name: self.allowed.nearest(group, float(shares[name]))
                for name, group in groups.items()
            }
        return replace(decision, widths=widths, kernels=left)

    def _kernels_left(self, decision: Decision) -> dict[str, tuple[int, int]]:
        try:
            free = self.planner.free_kernels(decision.removed)
        except IllegalArchitectureError:
            return {}
        return {name: size for name, size in decision.kernels.items() if name in free}
