"""What a report says of a budget, and of candidates that were measured again."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import small
from cli_tools import hwn2n as command_line
from report_pages import Page, candidate

import hwn2n
from hwn2n.budget.cost import Cost, Reading
from hwn2n.errors import BudgetNotMetError, InputError
from hwn2n.hardware.measurement import Effort
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


class SlowInFull(small.OddTarget):
    """Reads forty times the latency of a student in a full measurement."""

    def odd(self, reading: Reading, effort: Effort) -> Reading:
        return reading if effort == "quick" else replace(reading, value=40 * reading.value)


@pytest.fixture(scope="module")
def none_found(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A run of whose candidates some were inside, and none when measured again; its error."""
    out = tmp_path_factory.mktemp("runs") / "none"
    limits = small.budget_text(
        "{metric: latency, stat: p50, max: 60us}", "{metric: params, max: 60%}"
    )
    with pytest.raises(BudgetNotMetError, match="binding: latency_p50") as raised:
        small.compress(out, budget=limits, target=SlowInFull())
    return out, str(raised.value)


def test_that_none_was_inside_when_measured_again_stays_known(
    none_found: tuple[Path, str], tmp_path: Path
) -> None:
    out, error = none_found
    first = Page(out / "report.html")
    again = hwn2n.report(out, out=tmp_path / "again.html")
    assert (again.state, again.headline) == ("none found", "No student inside the budget was found")
    page = Page(tmp_path / "again.html")
    assert page.words == first.words and error in page.words
    assert "compress --resume" not in page.words
    other = tmp_path / "other"
    small.compress(other)
    runs = command_line("compare", out, other, "--json").json["runs"]
    assert [run["outcome"] for run in runs] == ["none found", "inside"]


def test_the_page_does_not_contradict_its_note(none_found: tuple[Path, str]) -> None:
    out, error = none_found
    page = Page(out / "report.html")
    near = re.search(r"nearest, candidate (\d+) .* has (\S+)", error)
    assert near is not None
    number, latency = near.groups()
    assert f"The nearest candidate: candidate {number}" in page.words
    assert "The most accurate candidate inside" not in page.words
    table = page.words.split("Measured again after the search, in full.")[1]
    row, after = (table.split(name)[1] for name in ("latency_p50 <= 60us", "params <= 60%"))
    assert latency in row.split("params <= 60%")[0] and "binding" in row.split("params <= 60%")[0]
    assert "binding" not in after.split("What relaxing")[0]
    assert re.search(r"(\d+) instead of 0", page.words)
    briefly = sum(c["inside"] for c in page.data["candidates"])
    assert briefly > 0 and int(number) in page.data["again"]
    assert (
        f"{briefly} of them inside the budget by the short readings of the search, "
        "and none when measured again" in page.words
    )


def test_after_a_resume_all_are_measured_again(
    none_found: tuple[Path, str], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(none_found[0], run)
    given = {"model": small.small_teacher(), "data": small.small_data()}
    result = hwn2n.resume(run, **given, target=small.CalmTarget())
    assert result.satisfied
    assert json.loads((run / "checkpoints" / "choice.json").read_text())["candidate"] is not None
    assert hwn2n.report(run).state == "inside"


@pytest.mark.parametrize(
    "content",
    [{}, [], {"candidate": "x"}, {"candidate": None, "again": {"1": {}}},
     {"candidate": None, "again": {"1": {"cost": {"parms": 1}, "teacher": {}}}}],
)  # fmt: skip
def test_a_damaged_choice_is_refused(
    none_found: tuple[Path, str], tmp_path: Path, content: Any
) -> None:
    run = tmp_path / "run"
    shutil.copytree(none_found[0], run)
    (run / "checkpoints" / "choice.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"choice\.json: must be the choice of a run"):
        hwn2n.report(run)
