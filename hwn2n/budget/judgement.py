"""What can be said about one row of a budget, with how sure the measurement is."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any, Literal

from hwn2n.budget.cost import How
from hwn2n.budget.rows import Severity
from hwn2n.budget.units import format_quantity

Kind = Literal["limit", "increase"]
"""A row of the budget, or a comparison with a baseline that was asked for beside it."""


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
class Change:
    """How a row's value differs from a baseline's.

    `baseline` is the value there in SI units, `relative` the share of it that the value has
    gained (0.05: 5 % more). `distinguishable` is False where the two intervals overlap, so that
    the change may be none. Where the two cannot be compared, all three are None and `reason`
    says why.
    """

    baseline: float | None = None
    relative: float | None = None
    distinguishable: bool | None = None
    reason: str | None = None

    @property
    def text(self) -> str:
        """As a cell of a table: "+1.2%", "~" for what cannot be told apart, "-" for unknown."""
        if self.relative is None:
            return "-"
        return f"{self.relative:+.1%}" if self.distinguishable else "~"


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """One row of a budget and what was found. Numbers are in SI units, None where unknown.

    `text` is the row as written with its file, `line` its line there. `column` is the one column
    that the row bounds, None where it combines several, `columns` all of them. `low` and `high`
    are the interval of the value, None where it is exact; `limit_low` and `limit_high` that of
    the limit, None where it does not depend on a measured value of the teacher or a baseline.
    `limit` is without the row's tolerance, which the verdict allows; `headroom` is the distance
    to it as a share of the row's scale, negative outside. `how` says how the least certain of the
    row's columns is known, and `confidence` at which level the row wants its intervals.
    """

    id: str
    text: str
    severity: Severity
    column: str | None
    columns: tuple[str, ...]
    sense: str
    verdict: Verdict
    kind: Kind = "limit"
    line: int | None = None
    value: float | None = None
    low: float | None = None
    high: float | None = None
    limit: float | None = None
    limit_low: float | None = None
    limit_high: float | None = None
    headroom: float | None = None
    confidence: float | None = None
    how: How | None = None
    change: Change | None = None
    reason: str | None = None

    @property
    def metric(self) -> str:
        """The id, and the column where the id does not tell: "tail (latency_p95)"."""
        told = self.column is None or self.id.startswith(self.column)
        return self.id if told else f"{self.id} ({self.column})"

    @property
    def value_text(self) -> str:
        """The value with its unit, and its interval where it has one."""
        if self.value is None:
            return "-"
        return self._quantity(self.value) + self._interval(self.low, self.high)

    @property
    def limit_text(self) -> str:
        """The limit with its sense and unit, and its interval where it has one."""
        if self.limit is None:
            return "-"
        sense = ">=" if self.sense == "min" else "<="
        interval = self._interval(self.limit_low, self.limit_high)
        return f"{sense} {self._quantity(self.limit)}{interval}"

    @property
    def headroom_text(self) -> str:
        """The headroom in percent of the row's scale."""
        return "-" if self.headroom is None else f"{self.headroom:+.1%}"

    @property
    def verdict_text(self) -> str:
        """The verdict, and whether it has no say in the exit code."""
        silent = self.severity == "error" or self.verdict in (Verdict.PASS, Verdict.SKIPPED)
        return self.verdict.value + ("" if silent else " (warning only)")

    def _quantity(self, number: float) -> str:
        return format_quantity(number, self.column)

    def _interval(self, low: float | None, high: float | None) -> str:
        if low is None or high is None:
            return ""
        return f" [{self._quantity(low)}, {self._quantity(high)}]"

    def to_json(self) -> dict[str, Any]:
        """JSON-able form, with all keys in every row."""
        change = None if self.change is None else dict(vars(self.change))
        return {
            **vars(self),
            "columns": list(self.columns),
            "verdict": self.verdict.value,
            "change": change,
        }
