"""The uniformly shrunk teacher at the budget, from fresh weights or with inherited ones.

With fresh weights it asks what the architecture of uniform width is worth without any pruning,
under the same distillation and schedule; with inherited ones it is hwn2n's own `uniform width`.
Where the budget can be counted, the networks are those of `hwn2n compress` with `weights=fresh`,
`removal.updates=0` and `shrinkage.updates=0` to the last bit; a test holds them together. Here
they also meet measured rows, by the scan that the other rivals have.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import nn

from benchmarks.rivals.base import FINAL, Found, Rival
from benchmarks.rivals.problem import Problem
from benchmarks.rivals.scan import Family, largest_inside
from hwn2n.budget.cost import Cost, Reading
from hwn2n.network.counts import count
from hwn2n.network.decision import Decision
from hwn2n.search.seeds import derive_seed


@dataclass(frozen=True, kw_only=True)
class UniformWidth(Rival):
    """Every channel group shrunk by one factor; see `hwn2n.search.fitting.projection`."""

    weights: Literal["inherit", "fresh"] = "fresh"

    def find(self, problem: Problem, seed: int) -> Found:
        """The widest such network inside the budget; its fresh weights depend on the seed."""
        family = _Scaled(problem)
        scan = largest_inside(family, problem)
        decision = family.decision(scan.index)
        architecture = problem.planner.plan(decision)
        own = derive_seed(seed, FINAL, architecture.key())
        return Found(
            model=problem.school.student(architecture, decision, seed=own),
            architecture=architecture,
            details={"factor": family.label(scan.index), "networks_measured": scan.readings},
        )


class _Scaled(Family):
    """The factors at which some group loses a channel, from 1 down to one channel in each."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        _, channels = problem.planner.left(frozenset())
        self._whole = {n: g.width for n, g in channels.groups.items() if not g.frozen}
        widths = set(self._whole.values())
        self._factors = sorted(
            {(part, whole) for whole in widths for part in range(1, whole + 1)},
            key=lambda factor: -factor[0] / factor[1],
        )

    def __len__(self) -> int:
        return len(self._factors)

    def label(self, index: int) -> float:
        part, whole = self._factors[index]
        return part / whole

    def decision(self, index: int) -> Decision:
        part, whole = self._factors[index]
        return Decision(widths={n: max(1, w * part // whole) for n, w in self._whole.items()})

    def member(self, index: int) -> nn.Module:
        decision = self.decision(index)
        return self.problem.school.student(self.problem.planner.plan(decision), decision, seed=0)

    def counted(self, index: int) -> Cost:
        counts = count(self.problem.planner.plan(self.decision(index)))
        return {
            name: Reading(getattr(counts, name), "exact")
            for name in ("params", "flops", "weight_bytes")
        }


VARIANTS: dict[str, UniformWidth] = {
    "uniform from scratch": UniformWidth(weights="fresh"),
    "uniform inherited": UniformWidth(weights="inherit"),
}
