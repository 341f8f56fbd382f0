"""Candidates against the rows of a budget: which is nearest, and what each row costs.

All of it is about the candidates that a run evaluated. What a search under other limits would
have found, nobody knows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hwn2n.budget.cost import Cost, cost_from_json
from hwn2n.budget.matrix import Constraints
from hwn2n.budget.rows import Row
from hwn2n.run.candidate import Candidate


@dataclass(frozen=True, kw_only=True)
class Standing:
    """A candidate and its residual for each row: (A x - b) / scale, None where unavailable."""

    candidate: Candidate
    cost: Cost
    rows: tuple[Row, ...]
    residuals: tuple[float | None, ...]

    @property
    def worst(self) -> float | None:
        """The largest residual that is known."""
        known = [residual for residual in self.residuals if residual is not None]
        return max(known) if known else None

    def inside(self, leave_out: int | None = None) -> bool:
        """Whether it is inside all rows but one; a row that cannot be answered is not met."""
        return all(
            residual is not None and residual <= row.tolerance
            for i, (residual, row) in enumerate(zip(self.residuals, self.rows, strict=True))
            if i != leave_out
        )


@dataclass(frozen=True, kw_only=True)
class Relaxation:
    """What one row of the budget costs, the others left as they are.

    `row` is the budget's, in numbers for the first candidate. `inside` candidates would meet the
    budget without it; the most accurate of them is `best`. `least` is the one that needs the row to
    give way least: then the row's limit would be `limit`, as a person reads it, `share` of its
    scale above what it was, or below it where the row is a lower limit. A limit relative to the
    teacher is of the teacher beside `least`.
    """

    row: Row
    inside: int
    best: Candidate | None
    least: Candidate | None
    limit: float | None
    share: float | None


def standing(candidate: Candidate, constraints: Constraints) -> Standing:
    """Where a candidate stands; without a cost, as of an illegal one, nothing is known."""
    cost = cost_from_json(candidate.cost)
    rows = constraints.rows
    return Standing(
        candidate=candidate,
        cost=cost,
        rows=rows,
        residuals=tuple(row.residual(cost) for row in rows),
    )


def nearest(standings: Sequence[Standing]) -> Standing | None:
    """The candidate that is least outside by its worst row; None where none is outside.

    As `search.finish` names it: by the rows that can be answered, the earliest of equals.
    """
    outside = [s for s in standings if s.worst is not None and s.worst > 0 and not s.inside()]
    return min(outside, key=lambda s: s.worst or 0.0, default=None)


def relaxations(standings: Sequence[Standing]) -> list[Relaxation]:
    """One for each row, in the order of the budget; empty without rows or candidates."""
    if not standings:
        return []
    found = []
    for i, row in enumerate(standings[0].rows):
        freed = [s for s in standings if s.residuals[i] is not None and s.inside(leave_out=i)]
        outside = [s for s in freed if not s.inside()]
        trained = [s.candidate for s in freed if s.candidate.accuracy is not None]
        least = min(outside, key=lambda s: s.residuals[i] or 0.0, default=None)
        share = None if least is None else least.residuals[i]
        found.append(
            Relaxation(
                row=row,
                inside=len(freed),
                best=max(trained, key=lambda c: c.accuracy or 0.0, default=None),
                least=None if least is None else least.candidate,
                limit=None if least is None else _value(least.rows[i], least.cost),
                share=-share if share is not None and row.lower else share,
            )
        )
    return found


def _value(row: Row, cost: Cost) -> float | None:
    value = row.value(cost)
    return None if value is None else 0.0 + (-value if row.lower else value)
