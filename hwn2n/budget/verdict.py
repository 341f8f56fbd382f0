"""A verdict on one row of a budget that knows how sure the measurement is."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any

from hwn2n.budget.cost import Cost, How
from hwn2n.budget.rows import OpenRow, Row, Severity
from hwn2n.budget.units import format_quantity


class Verdict(Enum):
    """What can be said about a row."""

    PASS = "pass"
    """Inside: an exact value, or the whole interval of a measured one."""

    VIOLATED = "violated"
    """Outside: an exact value, or the whole interval of a measured one."""

    INCONCLUSIVE = "inconclusive"
    """The interval of a measured value holds the limit."""

    UNAVAILABLE = "unavailable"
    """A column of the row cannot be had here."""

    SKIPPED = "skipped"
    """Not asked for."""


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """One row of a budget and what was found. Numbers are in SI units, None where unknown.

    `text` is the row as written with its file, `line` its line there. `low` and `high` are the
    interval of the value, None where it is exact. `limit` is without the row's tolerance, which
    the verdict allows; `headroom` is the distance to it as a share of the row's scale, negative
    outside. `how` says how the least certain of the row's columns is known.
    """

    id: str
    text: str
    severity: Severity
    column: str | None
    sense: str
    verdict: Verdict
    line: int | None = None
    value: float | None = None
    low: float | None = None
    high: float | None = None
    limit: float | None = None
    headroom: float | None = None
    how: How | None = None
    reason: str | None = None

    @property
    def value_text(self) -> str:
        """The value with its unit, and its interval where it has one."""
        if self.value is None:
            return "-"
        text = format_quantity(self.value, self.column)
        if self.low is None or self.high is None:
            return text
        low, high = (format_quantity(number, self.column) for number in (self.low, self.high))
        return f"{text} [{low}, {high}]"

    @property
    def limit_text(self) -> str:
        """The limit with its sense and unit."""
        if self.limit is None:
            return "-"
        return f"{'>=' if self.sense == 'min' else '<='} {format_quantity(self.limit, self.column)}"

    def to_json(self) -> dict[str, Any]:
        """JSON-able form."""
        return {**vars(self), "verdict": self.verdict.value}


def judge(row: Row, cost: Cost) -> Judgement:
    """The verdict on `row`, all of whose columns are in `cost`.

    The interval of a combination of columns is the sum of theirs, the widest that it can be.
    """
    readings = [(factor, cost[name]) for name, factor in row.coefficients.items()]
    low = high = 0.0
    for factor, reading in readings:
        ends = [
            factor * (reading.value if bound is None else bound)
            for bound in (reading.low, reading.high)
        ]
        low, high = low + min(ends), high + max(ends)
    described = row.describe(cost)
    if low == high:
        verdict = Verdict.PASS if described["satisfied"] else Verdict.VIOLATED
    else:
        most = row.upper + row.tolerance * row.scale
        verdict = Verdict.PASS if high <= most else Verdict.INCONCLUSIVE
        verdict = Verdict.VIOLATED if low > most else verdict
    ends = sorted((-low, -high) if row.lower else (low, high))
    order: tuple[How, ...] = ("measured", "cached", "exact")
    return Judgement(
        id=row.id,
        text=row.source,
        severity=row.severity,
        column=row.column,
        sense=described["sense"],
        verdict=verdict,
        line=row.line,
        value=described["value"],
        low=None if low == high else ends[0],
        high=None if low == high else ends[1],
        limit=described["limit"],
        headroom=described["headroom"],
        how=min((reading.how for _, reading in readings), key=order.index),
    )


def unjudged(row: OpenRow, verdict: Verdict, reason: str) -> Judgement:
    """The row that was not judged, with the reason."""
    only = row.columns[0] if len(row.columns) == 1 else None
    return Judgement(
        id=row.id,
        text=row.source,
        severity=row.severity,
        column=only,
        sense="min" if row.lower else "max",
        verdict=verdict,
        line=row.line,
        reason=reason,
    )
