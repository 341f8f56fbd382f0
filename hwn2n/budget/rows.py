"""The rows of a budget: as written (`OpenRow`), and in numbers (`Row`).

A limit may be relative to the teacher, so a row is first kept as it was written and becomes an
inequality between numbers when the teacher's cost is known.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Literal

from hwn2n.budget.columns import COLUMNS
from hwn2n.budget.cost import Cost
from hwn2n.budget.units import Quantity, format_quantity
from hwn2n.errors import InputError, MeasurementError

Severity = Literal["error", "warn"]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One inequality, sum(coefficients[c] * x[c]) <= upper, all in SI units.

    `scale` > 0 makes the residuals of different rows comparable (the size of the limit unless
    said otherwise); `tolerance` is the share of `scale` by which the row may be exceeded.
    `lower` says that a person wrote a lower limit, whose row is negated. `source` is how it was
    written, with its file and line, which are also `where`.
    """

    id: str
    coefficients: dict[str, float]
    upper: float
    scale: float
    source: str
    where: str = ""
    lower: bool = False
    line: int | None = None
    tolerance: float = 0.0
    confidence: float = 0.95
    severity: Severity = "error"

    @property
    def written(self) -> str:
        """How the row was written, without its file and line."""
        return written(self.source, self.where)

    def needs_more_than(self, columns: Collection[str]) -> bool:
        """Whether it needs another column than these."""
        return not set(self.coefficients) <= set(columns)

    @property
    def column(self) -> str | None:
        """The one column that the row bounds directly; None if it combines or scales columns."""
        [name, *others] = self.coefficients
        return name if not others and abs(self.coefficients[name]) == 1 else None

    def value(self, cost: Cost) -> float | None:
        """The left-hand side for `cost`; None where one of the columns is unavailable."""
        if any(name not in cost for name in self.coefficients):
            return None
        return sum(factor * cost[name].value for name, factor in self.coefficients.items())

    def residual(self, cost: Cost) -> float | None:
        """(left-hand side - upper) / scale, at most 0 inside; None where unavailable."""
        value = self.value(cost)
        return None if value is None else (value - self.upper) / self.scale

    def describe(self, cost: Cost) -> dict[str, Any]:
        """The row's line of a table; the keys are listed at `Constraints.describe`."""
        sign = -1.0 if self.lower else 1.0
        value, residual = self.value(cost), self.residual(cost)
        # `0.0 +` turns the -0.0 of a negated zero into 0.0.
        shown = None if value is None else 0.0 + sign * value
        limit = 0.0 + sign * self.upper
        return {
            "id": self.id,
            "text": self.source,
            "severity": self.severity,
            "column": self.column,
            "sense": "min" if self.lower else "max",
            "value": shown,
            "limit": limit,
            "headroom": None if residual is None else 0.0 - residual,
            "satisfied": None if residual is None else residual <= self.tolerance,
            "unit": COLUMNS[self.column].unit if self.column else "",
            "value_text": "unavailable" if shown is None else format_quantity(shown, self.column),
            "limit_text": format_quantity(limit, self.column),
        }


@dataclass(frozen=True, kw_only=True)
class OpenRow:
    """A limit as written, perhaps relative to the teacher.

    sum(coef * x / scale) <= limit, or >= where `lower` is true. `terms` holds (column, coef,
    scale), with scale None for 1; `limit` is a Quantity of the row's only column if it has just
    one without a scale, otherwise absolute and without unit.
    """

    id: str
    terms: tuple[tuple[str, float, Quantity | None], ...]
    limit: Quantity
    lower: bool
    source: str
    where: str = ""
    line: int | None = None
    tolerance: float = 0.0
    confidence: float = 0.95
    severity: Severity = "error"

    @property
    def written(self) -> str:
        """How the row was written, without its file and line."""
        return written(self.source, self.where)

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of the row."""
        return tuple(column for column, _, _ in self.terms)

    @property
    def relative_columns(self) -> tuple[str, ...]:
        """The columns whose value for the teacher must be known to resolve the row."""
        named = [column for column, _, scale in self.terms if scale and scale.needs_teacher]
        return tuple(self.columns) if self.limit.needs_teacher else tuple(named)

    def resolve(self, teacher: Cost) -> Row:
        """The row with the teacher's values put in.

        Raises MeasurementError where one is unavailable, or was measured as nothing or less and
        is to be a scale, as net power near idle may be; InputError where one that was counted is.
        """
        for column in self.relative_columns:
            if column not in teacher:
                raise MeasurementError(
                    f"{self.source} needs the teacher's {column}, which is unavailable"
                )
        known = {name: reading.value for name, reading in teacher.items()}
        coefficients: dict[str, float] = {}
        for column, coef, scale in self.terms:
            divisor = 1.0 if scale is None else scale.resolve(known.get(column))
            if divisor <= 0:
                counted = COLUMNS[column].known == "counted"
                raise (InputError if counted else MeasurementError)(
                    f"{self.source}: a scale must be positive; found {divisor:g}"
                )
            coefficients[column] = coef / divisor
            if not 0 < abs(coefficients[column]) < math.inf:
                raise InputError(
                    f"{self.source}: a scale must be a number that one can divide by; "
                    f"found {divisor:g}"
                )
        limit = self.limit.resolve(known.get(self.columns[0]))
        if not math.isfinite(limit):
            raise InputError(f"{self.source}: a limit must be finite; found {limit:g}")
        sign = -1.0 if self.lower else 1.0
        return Row(
            id=self.id,
            coefficients={name: sign * factor for name, factor in coefficients.items()},
            upper=sign * limit,
            # A limit of zero (an accuracy of exactly the allowed loss) has no size of its own.
            scale=abs(limit) or 1.0,
            source=self.source,
            where=self.where,
            lower=self.lower,
            line=self.line,
            tolerance=self.tolerance,
            confidence=self.confidence,
            severity=self.severity,
        )


def written(source: str, where: str) -> str:
    """The part of a row's `source` in front of its file and line."""
    return source.removesuffix(f" ({where})")
