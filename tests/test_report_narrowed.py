"""The report of a student that was made narrower than the candidate that was chosen."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import small
from report_pages import Page

import hwn2n
from hwn2n.budget.cost import Reading
from hwn2n.errors import InterruptedRunError
from hwn2n.hardware.measurement import Effort
from hwn2n.network.capture import capture
from hwn2n.network.counts import count
from hwn2n.network.decision import Decision
from hwn2n.network.planner import Planner
from hwn2n.run.folder import read_json
from hwn2n.run.progress import Silent
from hwn2n.run.stop import Stop

BUDGET = small.budget_text("{metric: latency, stat: p50, max: 45%}")


class SlowerInFull(small.OddTarget):
    """Reads a fifth more of a student in a full measurement."""

    def odd(self, reading: Reading, effort: Effort) -> Reading:
        return reading if effort == "quick" else replace(reading, value=1.2 * reading.value)


class StopInFinal(Silent):
    """Asks for a stop after the first epoch of the final training."""

    def __init__(self, stop: Stop) -> None:
        self.stop = stop

    def epoch(self, name: str, epoch: int, epochs: int, text: str) -> None:
        self.stop.request()


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was stopped in the final training of a student that had been made narrower."""
    out, stop = tmp_path_factory.mktemp("runs") / "run", Stop()
    with pytest.raises(InterruptedRunError):
        small.compress(
            out, target=SlowerInFull(), budget=BUDGET, reporter=StopInFinal(stop), stop=stop
        )
    return out


def params_of(decision: Any) -> int:
    planner = Planner(capture(small.small_teacher().model, small.SHAPE, None).architecture)
    return count(planner.plan(Decision.from_json(decision))).params


def test_the_layers_are_those_of_the_student_before_and_after_its_training(
    interrupted: Path,
) -> None:
    kept = read_json(interrupted / "checkpoints" / "choice.json")
    number, params = kept["candidate"], params_of(kept["decision"])
    page = Page(interrupted / "report.html")
    (candidate,) = [c for c in page.data["candidates"] if c["id"] == number]
    own = candidate["cost"]["params"]
    assert int(own.replace(",", "")) > params, "or nothing was made narrower"
    title = f"Teacher and the student, made narrower than candidate {number}, layer by layer"
    assert title in page.words
    assert f"the whole network1,131{params:,}" in page.words
    assert f"candidate {number} was chosen, and made narrower, to be surely inside" in page.words
    assert (page.data["student"], page.data["narrowed"]) == (number, True)

    given = {"model": small.small_teacher(), "data": small.small_data()}
    result = hwn2n.resume(interrupted, **given, target=SlowerInFull())
    assert result.student["narrowed"] and result.student["decision"] == kept["decision"]
    page = Page(interrupted / "report.html")
    assert title in page.words and f"the whole network1,131{params:,}" in page.words
    assert f"The student was made narrower than candidate {number}, which was" in page.words
    assert (page.data["student"], page.data["narrowed"]) == (number, True)
    assert ", from which the student was narrowed" in page.scripts["page"]


def test_a_student_that_stays_as_it_is_is_the_candidate(tmp_path: Path) -> None:
    small.compress(tmp_path / "run", target=small.CalmTarget(), budget=BUDGET)
    page = Page(tmp_path / "run" / "report.html")
    assert page.data["student"] is not None and page.data["narrowed"] is False
    assert "made narrower" not in page.words
    assert "Teacher and the student, layer by layer" in page.words
