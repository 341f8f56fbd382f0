"""What a report says of a budget, and of candidates that were measured again."""

from __future__ import annotations

from typing import Any

import pytest
import small
from report_pages import candidate

from hwn2n.budget.cost import Cost, Reading
from hwn2n.reporting.facts import RunFacts
from hwn2n.reporting.trade_off import summary
from hwn2n.reporting.verdict import headline

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
