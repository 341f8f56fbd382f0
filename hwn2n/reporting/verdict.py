"""The verdict of a run in words and rows, for a run that is complete and for one that is not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hwn2n.budget.cost import Cost, cost_from_json
from hwn2n.budget.rows import Row
from hwn2n.reporting.axes import NOTHING, interval_text, quantity
from hwn2n.reporting.facts import RunFacts, State
from hwn2n.reporting.relaxation import Relaxation, Standing, nearest, relaxations, standing

HEADLINES = {
    State.INSIDE: "The student is inside the budget",
    State.OUTSIDE: "The student is outside the budget",
    State.UNSURE: "Nobody can tell whether the student is inside the budget",
    State.NONE_FOUND: "No student inside the budget was found",
    State.UNFINISHED: "The run is not complete",
}
SYMBOLS = {"pass": "✓", "violated": "✗", "inconclusive": "?", "unavailable": NOTHING}
MARKS = {
    State.INSIDE: "✓",
    State.OUTSIDE: "✗",
    State.UNSURE: "?",
    State.NONE_FOUND: "✗",
    State.UNFINISHED: "…",
}


@dataclass(frozen=True, kw_only=True)
class BudgetLine:
    """One row of the budget as the table shows it; texts only, but for `share`.

    `share` is the value as a share of the limit, None where that says nothing; `binding` marks the
    row that decides.
    """

    written: str
    teacher: str
    value: str
    interval: str
    limit: str
    headroom: str
    share: float | None
    verdict: str
    severity: str
    binding: bool


def headline(facts: RunFacts) -> str:
    """One sentence."""
    if facts.state is State.INSIDE and not facts.budget.columns:
        if facts.budget.rows:
            return "No row of the budget is a limit, only warnings: the search was unconstrained"
        return "There was no budget: this is the student of an unconstrained search"
    if facts.state is State.NONE_FOUND and not facts.budget.rows:
        return "No candidate could be trained"
    return HEADLINES[facts.state]


def result_lines(facts: RunFacts) -> list[BudgetLine]:
    """The rows of the trained student, as `result.json` has them."""
    assert facts.result is not None
    rows = facts.result["rows"]
    steering = [r for r in rows if r["severity"] == "error" and r["headroom"] is not None]
    binding = min(steering, key=lambda r: r["headroom"], default=None)
    teacher = cost_from_json(facts.result["teacher"]["cost"])
    return [
        BudgetLine(
            written=row["text"],
            teacher=_of(teacher, row["column"]),
            value=quantity(row["value"], row["column"]),
            interval=interval_text(row["low"], row["high"], row["column"]),
            limit=("≥ " if row["sense"] == "min" else "≤ ") + quantity(row["limit"], row["column"]),
            headroom=NOTHING if row["headroom"] is None else f"{row['headroom']:+.1%}",
            share=_share(row["value"], row["limit"]),
            verdict=row["verdict"],
            severity=row["severity"],
            binding=row is binding,
        )
        for row in rows
    ]


def candidate_lines(facts: RunFacts, found: Standing) -> list[BudgetLine]:
    """The rows for a candidate, by what was known of it during the search."""
    known = [residual for residual in found.residuals if residual is not None]
    lines = []
    for row, residual in zip(found.rows, found.residuals, strict=True):
        described = row.describe(found.cost)
        column = described["column"]
        reading = found.cost.get(column) if column else None
        inside = described["satisfied"]
        lines.append(
            BudgetLine(
                written=row.source,
                teacher=_of(facts.teacher_cost, column),
                value=quantity(described["value"], column),
                interval=interval_text(
                    reading.low if reading else None, reading.high if reading else None, column
                ),
                limit=("≥ " if row.lower else "≤ ") + quantity(described["limit"], column),
                headroom=NOTHING if residual is None else f"{-residual:+.1%}",
                share=_share(described["value"], described["limit"]),
                verdict="unavailable" if inside is None else "pass" if inside else "violated",
                severity=row.severity,
                binding=residual is not None and residual == max(known),
            )
        )
    return lines


def standings(facts: RunFacts) -> list[Standing]:
    """All candidates against the rows, each by the limits that held for it.

    Those that were measured again after the search, and were outside, stand with these readings.
    """
    return [
        standing(c, constraints)
        for c in facts.best_known
        if (constraints := facts.constraints(c)).rows
    ]


@dataclass(frozen=True, kw_only=True)
class RelaxationLine:
    """What one row costs, in words. `best` and `least` are ids of candidates."""

    written: str
    limit: str
    least: int | None
    least_text: str
    inside: str
    best: int | None
    best_text: str


def relaxation_lines(facts: RunFacts, found: Sequence[Standing]) -> list[RelaxationLine]:
    """For each row: the least that it would have to give way, and what the run had without it."""
    now = [s.candidate for s in found if s.inside()]
    base = max((c.accuracy for c in now if c.accuracy is not None), default=None)
    relative = {row.id: row.limit.value for row in facts.budget.rows
                if row.limit.reference == "ratio"}  # fmt: skip
    # of a relative limit the number of the run's own teacher, not of one beside a candidate
    rows = {row.id: row for row in facts.constraints().rows}
    return [
        _relaxation(r, rows.get(r.row.id, r.row), relative.get(r.row.id), len(now), base)
        for r in relaxations(found)
    ]


def _relaxation(
    found: Relaxation, row: Row, ratio: float | None, now: int, base: float | None
) -> RelaxationLine:
    """`ratio` is the limit as a share of the teacher's value, None where it is not written so."""
    sign = "≥ " if row.lower else "≤ "
    number = 0.0 + (-row.upper if row.lower else row.upper)
    limit = sign + quantity(number, row.column)
    least = "no candidate is outside because of this row alone"
    if ratio is not None:
        limit += f", {_percent(ratio)} of the teacher"
    if found.least is not None:
        by = found.share or 0.0
        relaxed = quantity(found.limit, row.column)
        if ratio is not None:
            relaxed = f"{_percent(ratio * (1 + by))} of the teacher"
        # a limit of zero has no size of which this were a share
        change = f" ({by:+.1%})" if row.upper else ""
        least = f"{sign}{relaxed}{change} lets candidate {found.least.id} in"
    best = "none of them was trained"
    if found.best is not None:
        gained = (
            "" if base is None else f" ({100 * ((found.best.accuracy or 0) - base):+.2f} points)"
        )
        best = f"candidate {found.best.id}, {found.best.accuracy:.2%}{gained}"
    return RelaxationLine(
        written=row.source,
        limit=limit,
        least=None if found.least is None else found.least.id,
        least_text=least,
        inside=f"{found.inside} instead of {now}",
        best=None if found.best is None else found.best.id,
        best_text=best if found.inside else NOTHING,
    )


def nearest_standing(facts: RunFacts, found: Sequence[Standing]) -> Standing | None:
    """The candidate to show where no student is: the most accurate inside, or the nearest."""
    inside = [s for s in found if s.candidate.satisfied and s.candidate.accuracy is not None]
    if inside and not facts.none_found:
        return max(inside, key=lambda s: s.candidate.accuracy or 0.0)
    return nearest(found)


def _percent(share: float) -> str:
    return f"{100 * share:.4g}%"


def _of(cost: Cost, column: str | None) -> str:
    return quantity(cost[column].value, column) if column in cost and column else NOTHING


def _share(value: float | None, limit: float) -> float | None:
    return None if value is None or limit <= 0 or value < 0 else value / limit
