"""What a report says of a budget, and of candidates that were measured again."""

from __future__ import annotations

from typing import Any

import pytest
import small
from report_pages import candidate

from hwn2n.budget.cost import Cost, Reading
from hwn2n.reporting.facts import RunFacts
from hwn2n.reporting.trade_off import summary
from hwn2n.reporting.verdict import RelaxationLine, headline, relaxation_lines, standings
from hwn2n.run.candidate import Candidate

WARNING = "{metric: params, max: 1%, severity: warn}"


def facts_of(*rows: str, **changes: Any) -> RunFacts:
    """A run under a budget of these rows, its teacher of 1,000 parameters and 4 ms."""
    teacher: Cost = {"params": Reading(1000, "exact"), "latency_p50": Reading(4e-3, "measured")}
    values: dict[str, Any] = {
        "folder": "runs/mine",
        "request": {},
        "settings": small.settings(),
        "versions": {},
        "created": "",
        "teacher_weights": "",
        "budget": small.budget(*rows),
        "teacher_cost": teacher,
        "candidates": (),
        "updates": {},
        "seconds": {},
        "result": None,
        "planner": None,
    }
    return RunFacts(**{**values, **changes})


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ((), "There was no budget: this is the student of an unconstrained search"),
        ((WARNING,), "No row of the budget is a limit, only warnings: "
                     "the search was unconstrained"),
        ((WARNING, "{metric: flops, max: 10}"), "The student is inside the budget"),
    ],
)  # fmt: skip
def test_the_headline_knows_a_budget_of_warnings_from_none(
    rows: tuple[str, ...], sentence: str
) -> None:
    assert headline(facts_of(*rows, result={"verdict": "pass"})) == sentence


def test_the_caption_of_a_chart_says_inside_only_where_there_is_a_limit() -> None:
    rows = (candidate(1, accuracy=0.9), candidate(2, satisfied=False))
    free, warned = (summary(facts_of(*r, candidates=rows), "params") for r in ((), (WARNING,)))
    assert free == warned
    assert "of 2 trained candidates; the most accurate, candidate 1, has 90.00%" in free
    limited = summary(facts_of("{metric: params, max: 150}", candidates=rows), "params")
    assert "of 2 trained candidates, 1 of them inside the budget; the most accurate" in limited


def read_beside(number: int, own: float, teacher: float, **changes: Any) -> Candidate:
    """A candidate of this latency in seconds, its teacher's read beside it."""
    beside = {"latency_p50": {"value": teacher, "how": "measured"}}
    return candidate(number, cost={"latency_p50": own}, teacher=beside, **changes)


def relaxed(facts: RunFacts) -> list[RelaxationLine]:
    return relaxation_lines(facts, standings(facts))


def test_a_relative_row_is_relaxed_as_a_share_of_the_teacher() -> None:
    """Microseconds of readings beside two teachers do not compare: a half of the first's is more
    than the second needs."""
    rows = (
        read_beside(1, 3.0e-3, 6e-3),  # inside at exactly a half
        read_beside(2, 2.2e-3, 4e-3, satisfied=False),  # 55 %, a tenth above the limit
        read_beside(3, 2.8e-3, 4e-3, satisfied=False),  # 70 %
    )
    (line,) = relaxed(facts_of("{metric: latency, stat: p50, max: 50%}", candidates=rows))
    assert line.limit == "≤ 2.00ms, 50% of the teacher", "the run's own teacher has 4 ms"
    assert line.least_text == "≤ 55% of the teacher (+10.0%) lets candidate 2 in"
    assert line.inside == "3 instead of 1"


def test_a_lower_limit_gives_way_downwards() -> None:
    rows = (candidate(1, cost={"throughput": 80}, satisfied=False),)
    (line,) = relaxed(facts_of("{metric: throughput, min: 100/s}", candidates=rows))
    assert (line.limit, line.least_text) == ("≥ 100/s", "≥ 80.0/s (-20.0%) lets candidate 1 in")
    teacher: Cost = {"throughput": Reading(160, "measured")}
    facts = facts_of("{metric: throughput, min: 100%}", candidates=rows, teacher_cost=teacher)
    (line,) = relaxed(facts)
    assert line.limit == "≥ 160/s, 100% of the teacher"
    assert line.least_text == "≥ 50% of the teacher (-50.0%) lets candidate 1 in"


def test_rows_on_an_accuracy_are_said_to_be_left_out() -> None:
    rows = (candidate(1),)
    limits = ("{metric: params, max: 200}", "{metric: accuracy, min: 100%}")
    facts = facts_of(*limits, candidates=rows)
    assert facts.learned_rows and [line.limit for line in relaxed(facts)] == ["≤ 200"]
    assert not facts_of(limits[0], candidates=rows).learned_rows
