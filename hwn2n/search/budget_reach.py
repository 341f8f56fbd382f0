"""Is what can be counted of a budget within reach? Asked of the smallest student, untrained."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from hwn2n.budget.matrix import Budget
from hwn2n.network.planner import Planner
from hwn2n.search.fitting.projection import counted_cost, upper_rows
from hwn2n.search.inspection import Smallest
from hwn2n.search.reach import smallest_student
from hwn2n.search.settings import Settings


@dataclass(frozen=True, kw_only=True)
class BudgetReach:
    """Whether the smallest student is inside what can be counted of a budget.

    `rows` describe it row by row (`Constraints.describe`), `skipped` are the ids of the rows that
    this says nothing about: lower limits, and what only measuring or training can judge.
    """

    name: str
    inside: bool
    smallest: Smallest
    rows: list[dict[str, Any]]
    skipped: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """JSON-able form."""
        return {
            "name": self.name,
            "inside": self.inside,
            "smallest": self.smallest.to_json(),
            "rows": self.rows,
            "skipped": list(self.skipped),
        }


def budget_reach(planner: Planner, settings: Settings, loaded: Budget) -> BudgetReach:
    """The answer for a search with these settings. A lower limit says nothing about it."""
    cost = counted_cost(planner.teacher)
    counted = tuple(row for row in loaded.rows if set(row.columns) <= cost.keys() and not row.lower)
    constraints = upper_rows(replace(loaded, rows=counted).resolve(cost))
    judged = {row.id for row in (*constraints.rows, *constraints.warnings)}
    decision, least = smallest_student(planner, settings, constraints)
    return BudgetReach(
        name=loaded.name,
        inside=constraints.satisfied(least),
        smallest=Smallest(decision=decision, cost=least),
        rows=constraints.describe(least),
        skipped=tuple(row.id for row in loaded.rows if row.id not in judged),
    )
