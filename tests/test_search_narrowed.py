"""A winner that is not surely inside is made narrower before another one takes its place."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import small

import hwn2n
from hwn2n.budget.cost import Reading
from hwn2n.cli.tables import result_lines
from hwn2n.errors import BudgetNotMetError
from hwn2n.hardware.measurement import Beside, Effort
from hwn2n.network.decision import Decision
from hwn2n.run.candidate import Candidate
from hwn2n.run.folder import read_json
from hwn2n.run.ledger import Ledger

BUDGET = small.budget_text("{metric: latency, stat: p50, max: 45%}")


class Slower(small.OddTarget):
    """In full measurements students need `times` as long, or up to `high` as long, nobody knows."""

    def __init__(self, times: float = 1.0, high: float = 1.0) -> None:
        super().__init__()
        self.times, self.high = times, high

    def odd(self, reading: Reading, effort: Effort) -> Reading:
        if effort == "quick":
            return reading
        value = self.times * reading.value
        return replace(reading, value=value, low=value, high=self.high * value)


class InTurns(small.CalmTarget):
    """Clocks student and teacher in turns, and is sure of their ratio within a fifth."""

    def measure_beside(self, student: Any, *args: Any) -> Beside:
        found = super().measure_beside(student, *args)
        name = "latency_p50"
        mine, whole = found.cost[name], found.teacher[name]
        near = replace(mine, low=0.99 * mine.value, high=1.01 * mine.value)
        share = mine.value / whole.value
        shares = {name: (share / 1.2, share * 1.2)}
        return Beside({**found.cost, name: near}, found.teacher, shares)


def compressed(folder: Path, target: small.CalmTarget, **changes: Any) -> tuple[Any, Candidate]:
    """The result, and the candidate that it would be by its accuracy."""
    recipe = small.settings(**{"runoff": 0, **changes})
    result = small.compress(folder, target=target, budget=BUDGET, recipe=recipe)
    ledger = Ledger(folder / "ledger.sqlite")
    best = max((c for c in ledger.best()), key=lambda c: c.expected)
    ledger.close()
    return result, best


def test_a_winner_that_is_surely_inside_stays_as_it_is(tmp_path: Path) -> None:
    result, best = compressed(tmp_path / "run", Slower())
    assert result.satisfied and not result.student["narrowed"]
    assert "narrower" not in "\n".join(result_lines(result))
    assert (result.student["decision"], result.student["key"]) == (best.decision, best.key)


@pytest.mark.parametrize(
    "target",
    [Slower(1.2), Slower(high=1.2), Slower(1.1, 1.1), InTurns()],
    ids=["slower", "unsure", "both", "in turns"],
)
def test_one_that_is_not_is_made_narrower(tmp_path: Path, target: small.CalmTarget) -> None:
    result, best = compressed(tmp_path / "run", target)
    assert result.satisfied and result.student["narrowed"]
    assert "made narrower" in "\n".join(result_lines(result))
    assert result.student["search_accuracy"] == best.accuracy and result.student["key"] != best.key
    before, after = (Decision.from_json(d) for d in (best.decision, result.student["decision"]))
    assert before.removed == after.removed and before.widths != after.widths
    assert all(width <= before.widths[name] for name, width in after.widths.items())


def test_one_that_is_far_outside_gives_its_place_to_others(tmp_path: Path) -> None:
    with pytest.raises(BudgetNotMetError, match="binding: latency_p50 <= 45%"):
        compressed(tmp_path / "run", Slower(10.0))


def test_where_nothing_is_scaled_to_what_is_measured_nothing_is_narrowed(tmp_path: Path) -> None:
    result, _ = compressed(tmp_path / "run", Slower(3.0), forecast=False)
    assert result.satisfied and not result.student["narrowed"], "one is that small by itself"


def test_a_run_that_goes_on_has_the_student_that_was_chosen(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    result, _ = compressed(folder, Slower(1.2))
    kept = read_json(folder / "checkpoints" / "choice.json")
    assert kept["decision"] == result.student["decision"]
    for name in ("result.json", "checkpoints/final.pt"):
        (folder / name).unlink()
    target = small.CalmTarget()  # by which it need not have been narrower
    again = hwn2n.resume(
        folder, model=small.small_teacher(), data=small.small_data(), target=target
    )
    assert again.student["decision"] == result.student["decision"]
    assert again.student["key"] == result.student["key"]
