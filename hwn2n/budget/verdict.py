"""From a row of a budget and a cost to a verdict that respects the intervals of both sides."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from hwn2n.budget.cost import Cost, How, Reading
from hwn2n.budget.judgement import Judgement, Verdict
from hwn2n.budget.rows import OpenRow, Row
from hwn2n.budget.units import format_quantity
from hwn2n.errors import MeasurementError

_LEAST_CERTAIN_FIRST: tuple[How, ...] = ("measured", "cached", "exact")


def span(row: Row, cost: Cost) -> tuple[float, float, float]:
    """The value of `row` as a person reads it, and the ends of its interval: value, low, high.

    The interval of a combination of columns is the sum of theirs, the widest that it can be.
    All of the row's columns are in `cost`.
    """
    value = low = high = 0.0
    for name, factor in row.coefficients.items():
        reading = cost[name]
        ends = sorted((factor * _low(reading), factor * _high(reading)))
        value, low, high = value + factor * reading.value, low + ends[0], high + ends[1]
    if row.lower:
        value, low, high = -value, -high, -low
    return 0.0 + value, 0.0 + low, 0.0 + high  # no -0.0


def judge(row: Row, cost: Cost, *, ends: tuple[Row, Row] | None = None) -> Judgement:
    """The verdict on `row`, all of whose columns are in `cost`.

    `ends` are the strictest and the loosest that the row may be where its limit or its scales
    depend on measured values (see `judge_open`): inside means inside both, violated outside both.
    """
    ends = ends or (row, row)
    described = row.describe(cost)
    value = span(row, cost)[0]
    spans = [span(end, cost) for end in ends]
    low, high = min(low for _, low, _ in spans), max(high for _, _, high in spans)
    if low == high and ends[0] == ends[1]:
        verdict = Verdict.PASS if described["satisfied"] else Verdict.VIOLATED
    elif all(_worst(end, cost) <= _most(end) for end in ends):
        verdict = Verdict.PASS
    elif all(_best(end, cost) > _most(end) for end in ends):
        verdict = Verdict.VIOLATED
    else:
        verdict = Verdict.INCONCLUSIVE
    sign = -1.0 if row.lower else 1.0
    limits = sorted(sign * end.upper for end in ends)
    columns = tuple(row.coefficients)
    return Judgement(
        id=row.id,
        text=row.source,
        severity=row.severity,
        column=row.column,
        columns=columns,
        sense=described["sense"],
        verdict=verdict,
        line=row.line,
        value=value,
        low=None if low == high else low,
        high=None if low == high else high,
        limit=described["limit"],
        limit_low=limits[0] if limits[0] != limits[1] else None,
        limit_high=limits[1] if limits[0] != limits[1] else None,
        headroom=described["headroom"],
        confidence=row.confidence,
        how=min((cost[name].how for name in columns), key=_LEAST_CERTAIN_FIRST.index),
    )


def _most(row: Row) -> float:
    return row.upper + row.tolerance * row.scale


def _worst(row: Row, cost: Cost) -> float:
    """The largest left-hand side that the intervals allow."""
    _, low, high = span(row, cost)
    return -low if row.lower else high


def _best(row: Row, cost: Cost) -> float:
    """The smallest left-hand side that the intervals allow."""
    _, low, high = span(row, cost)
    return -high if row.lower else low


def judge_open(row: OpenRow, cost: Cost, teacher: Cost) -> Judgement:
    """The verdict on a row as written, whose limit or scales may be shares of `teacher`'s values.

    A measured value of the teacher makes the limit uncertain too: the verdict holds for all
    values in the teacher's intervals. Raises MeasurementError where a value of the teacher that
    the row needs is unavailable, or a scale that may be zero.
    """
    for column, _, scale in row.terms:
        if scale and scale.needs_teacher and column in teacher and _low(teacher[column]) <= 0:
            raise MeasurementError(
                f"{row.source}: the teacher's {column} must be above zero to be a scale; found "
                f"{format_quantity(_low(teacher[column]), column)}"
            )
    resolved = row.resolve(teacher)
    strictest, loosest = _at_ends(row, teacher)
    return judge(resolved, cost, ends=(row.resolve(strictest), row.resolve(loosest)))


def read_in_turns(
    row: OpenRow, cost: Cost, teacher: Cost, shares: Mapping[str, tuple[float, float]]
) -> tuple[Cost, Cost]:
    """`cost` and `teacher` as `judge_open` should have them for a row, where columns that it is
    relative in were read in turns.

    A limit that is a share of a measured value is as uncertain as that value; but of two that were
    read in turns only the ratio is uncertain, whose interval `shares` has, by column.
    """
    mine, theirs = dict(cost), dict(teacher)
    for name in row.relative_columns:
        if name in shares:
            whole = teacher[name].value
            mine[name] = by_share(cost[name].value, shares[name], whole)
            theirs[name] = Reading(whole, "measured")
    return mine, theirs


def by_share(value: float, share: tuple[float, float], whole: float) -> Reading:
    """A reading with the interval that its `share` of a `whole` has."""
    low, high = (end * whole for end in share)
    return Reading(value, "measured", min(low, value), max(high, value))


def _at_ends(row: OpenRow, teacher: Cost) -> tuple[Cost, Cost]:
    """The teacher's values that make `row` as strict, and as loose, as their intervals allow.

    A limit grows with the teacher's value, and so does a scale, which divides its term.
    """
    strictest, loosest = dict(teacher), dict(teacher)
    for name in row.relative_columns:
        small_is_strict = not row.lower
        if not row.limit.needs_teacher:
            coef = next(coef for column, coef, _ in row.terms if column == name)
            small_is_strict = (coef > 0) != row.lower
        reading = teacher[name]
        ends = [Reading(_low(reading), reading.how), Reading(_high(reading), reading.how)]
        strictest[name], loosest[name] = ends if small_is_strict else ends[::-1]
    return strictest, loosest


def _low(reading: Reading) -> float:
    return reading.value if reading.low is None else reading.low


def _high(reading: Reading) -> float:
    return reading.value if reading.high is None else reading.high


def unjudged(row: OpenRow, verdict: Verdict, reason: str) -> Judgement:
    """The row that was not judged, with the reason."""
    only = row.columns[0] if len(row.columns) == 1 else None
    return Judgement(
        id=row.id,
        text=row.source,
        severity=row.severity,
        column=only,
        columns=tuple(row.columns),
        sense="min" if row.lower else "max",
        verdict=verdict,
        line=row.line,
        confidence=row.confidence,
        reason=reason,
    )


def judge_rows(rows: Iterable[OpenRow], cost: Cost, teacher: Cost) -> list[Judgement]:
    """The verdict on each row, UNAVAILABLE with its reason where a value of either side is."""
    judged = []
    for row in rows:
        if missing := [name for name in row.columns if name not in cost]:
            judged.append(unjudged(row, Verdict.UNAVAILABLE, f"{missing[0]} is unavailable"))
            continue
        try:
            judged.append(judge_open(row, cost, teacher))
        except MeasurementError as error:
            judged.append(unjudged(row, Verdict.UNAVAILABLE, str(error)))
    return judged


def verdict_of(judged: Iterable[Judgement]) -> Verdict:
    """The verdict on all rows together that are no mere warnings: the worst of theirs.

    A row that is certainly violated decides, then one that misses a column, then one that nobody
    can tell. PASS where there are no rows.
    """
    found = {row.verdict for row in judged if row.severity == "error"}
    order = (Verdict.VIOLATED, Verdict.UNAVAILABLE, Verdict.INCONCLUSIVE)
    return next((verdict for verdict in order if verdict in found), Verdict.PASS)
