"""Proof that no student is inside a budget: which rows exclude each other, and by how much."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hwn2n.budget.rows import Row
from hwn2n.search.bounds.costs import COLUMNS, QUANTITIES, Bounds, Part
from hwn2n.search.bounds.program import NOISE, ROUNDING, Possible, Program


@dataclass(frozen=True)
class Limit:
    """sum(coefficients[quantity] * x[quantity]) <= upper; `row` is None where no one wrote it."""

    coefficients: dict[str, float]
    upper: float
    row: Row | None = None


@dataclass(frozen=True)
class Conflict:
    """Limits that no student meets together; without any one of them the proof does not hold.

    `least` is what the left-hand side of `first` has at least, in the units of its row, in all
    students that meet `others`; None where the bound that is known of it is no use.
    """

    first: Limit
    others: tuple[Limit, ...]
    least: float | None


def limit_of(row: Row) -> Limit | None:
    """The row in quantities, its tolerance included; None where it needs another column."""
    if any(name not in COLUMNS for name in row.coefficients):
        return None
    coefficients = dict.fromkeys(QUANTITIES, 0.0)
    for name, factor in row.coefficients.items():
        for quantity, parts in COLUMNS[name].items():
            coefficients[quantity] += factor * parts
    return Limit(coefficients, row.upper + row.tolerance * row.scale, row)


def prove(
    bounds: Bounds, limits: Sequence[Limit], units: Mapping[str, float]
) -> Conflict | Possible:
    """A conflict among `limits` that excludes all students within `bounds`, if there is a proof.

    `units`: the teacher's quantities. The conflict is minimal: one limit by itself if there is
    such a one, which takes no program, else what the deletion filter leaves (J. Chinneck,
    E. Dravnieks, ORSA Journal on Computing 3(2), 1991).
    """
    for limit in limits:
        least = least_alone(bounds, limit)
        if limit.row is not None and _exceeds(bounds, limit, least):
            return Conflict(limit, (), least)
    program = Program(bounds, units)

    def possible(chosen: Sequence[Limit]) -> Possible | None:
        return program.possible([program.inequality(c.coefficients, c.upper) for c in chosen])

    if (found := possible(limits)) is not None:
        return found
    needed = list(limits)
    for limit in limits:
        rest = [other for other in needed if other is not limit]
        if possible(rest) is None:
            needed = rest
    first, *others = sorted(needed, key=_order)
    rows = [program.inequality(limit.coefficients, limit.upper) for limit in (first, *others)]
    together = program.least(rows[0], rows[1:])
    if together is not None and not _exceeds(bounds, first, together):
        together = None
    return Conflict(first, tuple(others), together)


def least_alone(bounds: Bounds, limit: Limit) -> float:
    """The least that the left-hand side of a limit can be, whatever is kept."""

    def least(part: Part) -> float:
        total = math.fsum(
            min(factor * low, factor * high)
            for quantity, factor in limit.coefficients.items()
            for low, high in [part.of(quantity)]
        )
        return min(0.0, total) if part.operations else total

    return math.fsum(least(part) for part in bounds.parts)


def _exceeds(bounds: Bounds, limit: Limit, least: float) -> bool:
    """Whether `least` is above the limit by more than floating point can make it seem."""
    terms = sum(
        abs(factor) * part.of(quantity)[1]
        for quantity, factor in limit.coefficients.items()
        for part in bounds.parts
    )
    return least - limit.upper > ROUNDING * abs(limit.upper) + NOISE * terms


def _order(limit: Limit) -> tuple[bool, bool]:
    """Upper limits that somebody wrote come first, what nobody wrote comes last."""
    return limit.row is None, limit.row is not None and limit.row.lower
