"""Proof, before anything is trained, that a budget has no solution at all.

The unknowns are the columns of a cost. Besides the rows of the budget this much is known of any
cost: no column is negative; a percentile is at most the next higher one; power net of idle is at
most the gross power; no class is worse than the worst, so worst-class accuracy is at most the
accuracy, which is at most 1. Nothing is assumed that only holds most of the time, such as that
fewer parameters run faster.

Three ways in order of their price. Rows on one column each are intervals, and carrying the bounds
along those relations decides in full whether they agree. Where rows combine columns, a few obvious
costs are tried on them. Only then is it a linear program (HiGHS through scipy): it finds rows that
exclude each other, which are reduced to a minimal set and checked in exact arithmetic, because a
program's answer at its tolerance of 1e-7 is no proof.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise

from hwn2n.budget.columns import COLUMNS, in_order
from hwn2n.budget.cost import Cost, Reading
from hwn2n.budget.infeasible import Inequality, minimal_conflict
from hwn2n.budget.matrix import Budget, Constraints
from hwn2n.budget.rows import OpenRow, Row
from hwn2n.errors import InputError, MeasurementError

CHAINS: tuple[tuple[str, ...], ...] = (
    ("latency_p50", "latency_p90", "latency_p95", "latency_p99"),
    ("device_latency_p50", "device_latency_p90", "device_latency_p95", "device_latency_p99"),
    ("power_avg_net", "power_avg"),
    ("worst_class_accuracy", "accuracy"),
)
"""Columns of which each is at most the next, in every cost."""

ROUNDING = 1e-9
"""Limits that differ by no more than this share of their size agree."""

MIDDLE = 0.5
"""An accuracy from which both ends are far."""

_LARGE = 1e60  # stands for "as much as you like" in a witness; limits end at 1e24


def contradictions(constraints: Constraints) -> tuple[Row, ...]:
    """A smallest set of steering rows that no cost satisfies together; empty if there is none.

    Smallest in that without any one of them the others can be satisfied. Rows of severity warn
    take no part, and each row may be exceeded by its tolerance. A set that is returned is proved
    to have no solution; limits that miss each other by about 1e-7 of their size may go unnoticed.
    """
    rows = constraints.rows
    if suspects := _Box(rows).conflict():
        # One of two may have no solution by itself, such as a matrix row of params <= -5.
        alone = [row for row in suspects if _Box([row]).conflict()]
        return tuple(row for row in rows if row in (alone[:1] or suspects))
    if all(_single(row) for row in rows) or _has_witness(rows):
        return ()
    known = [*(_inequality(row) for row in rows), *_known(constraints.columns)]
    return minimal_conflict(known, ROUNDING)


def budget_contradictions(budget: Budget, teacher: Cost | None = None) -> tuple[Row, ...]:
    """`contradictions` of the rows of `budget` that are numbers, given what is known of `teacher`.

    Of a teacher that is not known, two shares of the same value can still exclude each other
    (at most 50 % and at least 60 %), whatever the value is, and so can two differences to it.
    Raises InputError for a scale that is a share of a teacher's zero.
    """
    known = teacher or {}
    steering = [row for row in budget.rows if row.severity == "error"]
    numbers = [row for row in steering if all(name in known for name in row.relative_columns)]
    resolved = []
    for row in numbers:
        with suppress(MeasurementError):  # a share of what the teacher has less than none of
            resolved.append(row.resolve(known))
    found = contradictions(Constraints(rows=tuple(resolved)))
    if found:
        return found
    unknown = [row for row in steering if row not in numbers and len(row.columns) == 1]
    shares = [row for row in unknown if row.limit.reference == "ratio"]
    points = [row for row in unknown if _moves_with_the_teacher(row)]
    for rows, value in ((shares, 1.0), (points, MIDDLE)):
        for column in dict.fromkeys(row.columns[0] for row in rows):
            one = {column: Reading(value)}
            alike = tuple(row.resolve(one) for row in rows if row.columns == (column,))
            if found := contradictions(Constraints(rows=alike)):
                return found
    return ()


def _moves_with_the_teacher(row: OpenRow) -> bool:
    """Whether it bounds a difference to the teacher, so that what holds at `MIDDLE` holds at any
    value. A tolerance is a share of the limit, so it does not move alike."""
    limit = row.limit
    return limit.reference == "points" and abs(limit.value) < MIDDLE and not row.tolerance


def contradiction_error(rows: Sequence[Row]) -> InputError:
    """An InputError that names `rows`, which `contradictions` found, for the caller to raise."""
    places = list(dict.fromkeys(row.where for row in rows))
    texts = _and([_with_tolerance(row) for row in rows])
    if len(rows) == 1:
        return InputError(f"{places[0]}: no cost can be within {texts}{_reasons(rows)}")
    who = f"{_and(places)} contradict" if len(places) > 1 else f"{places[0]}: these contradict"
    return InputError(f"{who} each other: {texts}{_reasons(rows)}")


def _and(texts: Sequence[str]) -> str:
    *most, last = texts
    return f"{', '.join(most)} and {last}" if most else last


def _with_tolerance(row: Row) -> str:
    return f"{row.written} (tolerance {row.tolerance * 100:g}%)" if row.tolerance else row.written


def _reasons(rows: Sequence[Row]) -> str:
    """What is known of any cost and links the rows, where that is not plain from the rows."""
    named = {name for row in rows for name in row.coefficients}
    links = [[name for name in chain if name in named] for chain in CHAINS]
    texts = [" <= ".join(link) for link in links if len(link) > 1]
    if len(rows) == 1 or not all(_single(row) for row in rows):
        texts += [f"{name} <= 100%" for name in in_order(named) if COLUMNS[name].unit == "fraction"]
    if len(rows) == 1 and not texts:
        texts = [f"{name} >= 0" for name in in_order(named)]
    return f", as {_and(texts)}" if texts else ""


def _allowed(row: Row) -> float:
    return row.upper + row.tolerance * row.scale


def _single(row: Row) -> bool:
    return len(row.coefficients) == 1


def _exceeds(low: float, high: float) -> bool:
    return low - high > ROUNDING * max(abs(low), abs(high))


@dataclass
class _Bound:
    """A bound and the row that sets it; None for what holds of every cost."""

    value: float
    row: Row | None = None


class _Box:
    """The intervals of the columns that the rows on one column leave, carried along `CHAINS`."""

    def __init__(self, rows: Iterable[Row]) -> None:
        self.low = {name: _Bound(0.0) for name in COLUMNS}
        self.high = {
            name: _Bound(1.0 if column.unit == "fraction" else math.inf)
            for name, column in COLUMNS.items()
        }
        for row in rows:
            if _single(row):
                self._narrow(row)
        for chain in CHAINS:
            for lower, upper in pairwise(chain):
                if self.low[lower].value > self.low[upper].value:
                    self.low[upper] = self.low[lower]
            for upper, lower in pairwise(reversed(chain)):
                if self.high[upper].value < self.high[lower].value:
                    self.high[lower] = self.high[upper]

    def _narrow(self, row: Row) -> None:
        [(name, factor)] = row.coefficients.items()
        bound = _Bound(_allowed(row) / factor, row)
        if factor > 0 and bound.value < self.high[name].value:
            self.high[name] = bound
        if factor < 0 and bound.value > self.low[name].value:
            self.low[name] = bound

    def conflict(self) -> list[Row]:
        """The rows of the first column whose interval is empty; none if there is no such."""
        for name in COLUMNS:
            low, high = self.low[name], self.high[name]
            if _exceeds(low.value, high.value):
                return [bound.row for bound in (low, high) if bound.row is not None]
        return []


def _has_witness(rows: Sequence[Row]) -> bool:
    """Whether an obvious cost is within all rows; none may be, and yet another cost is.

    Each column stands where the rows on several columns want it: at its lower bound where they
    only charge for it, at its upper bound where they only reward it, and where they do both, once
    all of these at the one and once at the other.
    """
    box = _Box(rows)
    charged, rewarded = (
        {n for row in rows if not _single(row) for n, f in row.coefficients.items() if sign * f > 0}
        for sign in (1, -1)
    )
    for disputed_high in (False, True):
        high = (rewarded - charged) | (rewarded & charged if disputed_high else set())
        cost = {
            name: min(box.high[name].value, _LARGE) if name in high else box.low[name].value
            for name in COLUMNS
        }
        for chain in CHAINS:
            for lower, upper in pairwise(chain):
                cost[upper] = max(cost[upper], cost[lower])
        if _inside(cost, box, rows):
            return True
    return False


def _inside(cost: dict[str, float], box: _Box, rows: Sequence[Row]) -> bool:
    if any(cost[name] > box.high[name].value for name in COLUMNS):
        return False
    return all(
        math.fsum(factor * cost[name] for name, factor in row.coefficients.items()) <= _allowed(row)
        for row in rows
    )


def _inequality(row: Row) -> Inequality[Row]:
    return Inequality(dict(row.coefficients), _allowed(row), row)


def _known(columns: Sequence[str]) -> Iterator[Inequality[Row]]:
    """What holds of every cost, as inequalities on `columns`."""
    for name in columns:
        yield Inequality({name: -1.0}, 0.0)
        if COLUMNS[name].unit == "fraction":
            yield Inequality({name: 1.0}, 1.0)
    for chain in CHAINS:
        for lower, upper in pairwise(name for name in chain if name in columns):
            yield Inequality({lower: 1.0, upper: -1.0}, 0.0)
