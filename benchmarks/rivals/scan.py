"""The largest network inside a budget, in a family of networks that get smaller one by one.

A tool that prunes by a ratio does not know the budget, so the ratio is scanned: upwards in coarse
steps until a network is inside what can be counted, then by halving between that step and the one
before. Halving alone would be wrong: Torch-Pruning leaves a layer whole once it should lose all of
its channels, so from some ratio on networks grow again. The first one inside lies before that.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field

from torch import nn

from benchmarks.rivals.problem import Problem
from hwn2n.budget.cost import Cost
from hwn2n.budget.judgement import Verdict
from hwn2n.budget.verdict import verdict_of
from hwn2n.errors import BudgetNotMetError

COARSE = 64
"""Steps of the first scan; most families have more members than that."""


class Family(ABC):
    """Networks 0 ... n - 1, the first the largest, each a little smaller than the one before."""

    @abstractmethod
    def __len__(self) -> int:
        """How many networks there are."""

    @abstractmethod
    def label(self, index: int) -> float:
        """What makes network `index`, such as its pruning ratio, for the result."""

    @abstractmethod
    def member(self, index: int) -> nn.Module:
        """Network `index`, a new module each time, on the CPU in eval mode."""

    @abstractmethod
    def counted(self, index: int) -> Cost:
        """Its parameters, FLOPs and bytes."""


@dataclass(frozen=True)
class Scan:
    """What a scan found: the index, and the counts of all networks that it looked at.

    `readings`: how many of them were measured.
    """

    index: int
    counted: dict[int, Cost] = field(repr=False)
    readings: int = 0


def largest_inside(family: Family, problem: Problem, *, coarse: int = COARSE) -> Scan:
    """The largest network of `family` inside all rows of the budget but those over accuracies.

    Where rows are measured, sizes at which they hold are found by halving with short readings,
    the teacher read beside each network; then the network must be surely inside by a full one, or
    gives way to a smaller one. Raises `BudgetNotMetError` if no network is inside, naming the row
    that binds for the nearest one.
    """
    counted: dict[int, Cost] = {}
    step = max(1, len(family) // coarse)

    def inside(index: int) -> bool:
        counted[index] = counted.get(index) or family.counted(index)
        return problem.countable.satisfied(counted[index])

    outside, found = -1, None
    for index in _coarsely(len(family), step):
        if inside(index):
            found = index
            break
        outside = index
    if found is None:
        raise _none(problem, counted)
    while found - outside > 1:
        middle = (outside + found) // 2
        outside, found = (outside, middle) if inside(middle) else (middle, found)
    if not problem.measured:
        return Scan(found, counted)
    return _measured(family, problem, found, step, counted)


def _measured(
    family: Family, problem: Problem, first: int, step: int, counted: dict[int, Cost]
) -> Scan:
    """From network `first` on, the first that is inside the measured rows too."""
    last = first
    for index in _coarsely(len(family), step):
        if index > last:
            counted[index] = counted.get(index) or family.counted(index)
            if not _no_larger(counted[index], counted[last]):
                break
            last = index
    readings = 0

    def verdict(index: int, *, surely: bool) -> bool:
        nonlocal readings
        readings += 1
        counted[index] = counted.get(index) or family.counted(index)
        found = problem.measure(family.member(index), "full" if surely else "quick")
        cost = {**counted[index], **found.cost}
        if surely:
            return verdict_of(problem.searched.judge(cost, found)) is Verdict.PASS
        return problem.searched.given(found.teacher).satisfied(cost)

    found = first
    if not verdict(first, surely=False):
        outside, found = first, last
        while found - outside > max(1, step // 8):
            middle = (outside + found) // 2
            inside = verdict(middle, surely=False)
            outside, found = (outside, middle) if inside else (middle, found)
    while not verdict(found, surely=True):
        if found >= last:
            row = ", ".join(row.source for row in problem.searched.budget.rows)
            raise BudgetNotMetError(
                f"no network of the scan is surely inside the budget, not even the smallest one: "
                f"{row}"
            )
        found = min(found + max(1, step // 2), last)
    return Scan(found, counted, readings)


def _coarsely(count: int, step: int) -> list[int]:
    """Every `step`-th index, and the last."""
    return sorted({*range(0, count, step), count - 1})


def _no_larger(cost: Cost, than: Cost) -> bool:
    return all(cost[name].value <= than[name].value for name in ("params", "flops"))


def _none(problem: Problem, counted: dict[int, Cost]) -> BudgetNotMetError:
    nearest = min(counted.values(), key=lambda cost: problem.countable.residuals(cost).max())
    row = problem.countable.binding(nearest)
    return BudgetNotMetError(
        f"none of {len(counted)} networks of the scan is inside the budget; binding: {row.source}; "
        f"the nearest has {row.describe(nearest)['value_text']}"
    )
