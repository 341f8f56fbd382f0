"""The run-off: the best few train anew and longer, in rows of their own, and the best wins."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import small

import hwn2n
from hwn2n.budget.cost import Reading
from hwn2n.distil.feed import DivergedError
from hwn2n.hardware.measurement import Effort
from hwn2n.network.capture import capture
from hwn2n.network.decision import Decision
from hwn2n.network.planner import Planner
from hwn2n.run.candidate import Candidate
from hwn2n.run.folder import read_json
from hwn2n.run.ledger import Ledger
from hwn2n.search.proposals import ANCHOR
from hwn2n.search.reward import expected_accuracy
from hwn2n.search.runoff import STAGE, run_off
from hwn2n.search.school import School

HOW: dict[str, Any] = {
    "strategy": "random",
    "runoff": 3,
    "runoff_epochs": 4,
    "anchor": True,
    "formula": "paper",  # with which the second stage has students better than the anchor
}


def compressed(
    path: Path, target: Any = None, budget: str | None = small.BUDGET, **changes: Any
) -> tuple[Any, list[Candidate]]:
    target = target or small.CalmTarget()
    recipe = small.settings(**{**HOW, **changes})
    result = small.compress(path, recipe=recipe, target=target, budget=budget)
    ledger = Ledger(path / "ledger.sqlite")
    try:
        return result, ledger.candidates()
    finally:
        ledger.close()


def best_keys(rows: list[Candidate], count: int) -> list[str | None]:
    """Of the brief trainings, the first row of each network."""
    first: dict[str | None, Candidate] = {}
    for row in sorted(rows, key=lambda c: (-c.reward, c.id or 0)):
        if row.satisfied:
            first.setdefault(row.key, row)
    ordered = sorted(first.values(), key=lambda c: -c.expected)
    return [row.key for row in ordered[:count]]


def test_the_best_few_train_again_and_the_best_of_them_is_the_student(tmp_path: Path) -> None:
    _, rows = compressed(tmp_path / "run", activations_weight=0.5)
    briefly = [c for c in rows if c.stage != STAGE]
    longer = [c for c in rows if c.stage == STAGE]
    assert rows == [*briefly, *longer] and len(longer) == 3
    assert [f"{key}x4" for key in best_keys(briefly, 3)] == [c.key for c in longer]
    assert all(c.state.value == "trained" and c.satisfied for c in longer)
    assert all(c.expected != c.accuracy for c in briefly if c.accuracy)
    teacher = small.small_teacher()
    planner = Planner(capture(teacher.model, (1, 8, 8), teacher.program).architecture)
    [anchor] = [planner.count(Decision.from_json(c.decision)) for c in rows if c.stage == "anchor"]
    for candidate in longer:
        decision = Decision.from_json(candidate.decision)
        counts, deep = planner.count(decision), planner.depth(decision.removed)
        promise = (counts.params / anchor.params) ** 0.6 * (deep / 4) ** 0.3
        assert candidate.accuracy is not None
        assert candidate.expected == expected_accuracy(candidate.accuracy, promise, 1.0), (
            "size and depth still count, activations do not"
        )
    best = max(longer, key=lambda c: c.expected)
    choice = read_json(tmp_path / "run" / "checkpoints" / "choice.json")
    assert choice["candidate"] in {c.id for c in longer if c.expected == best.expected}


def test_the_anchor_competes_wherever_the_brief_training_left_it(tmp_path: Path) -> None:
    plain = {"size_weight": 0.0, "depth_weight": 0.0}
    _, rows = compressed(tmp_path / "run", runoff=2, weights="fresh", **plain)
    briefly = [c for c in rows if c.stage != STAGE]
    (anchor,) = [c for c in briefly if c.stage == "anchor"]
    best = best_keys(briefly, 2)
    assert anchor.satisfied and anchor.key not in best, "or this shows nothing"
    longer = [c.key for c in rows if c.stage == STAGE]
    assert longer == [f"{key}x4" for key in (*best, anchor.key)]


class Moody(small.OddTarget):
    """So many times as slow for one reading of a student, as soon as a run-off begins."""

    def __init__(self, times: float, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__()
        self.times, self.moody = times, False

        def moodily(rounds: Any) -> None:
            self.moody = True
            run_off(rounds)

        monkeypatch.setattr("hwn2n.search.loop.run_off", moodily)

    def odd(self, reading: Reading, effort: Effort) -> Reading:
        factor, self.moody = (self.times if self.moody else 1.0), False
        return replace(reading, value=factor * reading.value)


def test_the_next_best_takes_the_place_of_one_that_is_far_outside_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, rows = compressed(tmp_path / "run", target=Moody(10, monkeypatch))
    longer = [c for c in rows if c.stage == STAGE]
    assert [c.satisfied for c in longer] == [False, True, True, True]
    assert [(c.iteration, c.rollout) for c in longer] == [(0, 0), (0, 1), (0, 2), (1, 0)]
    assert longer[0].state.value == "skipped"
    wanted = best_keys([c for c in rows if c.stage != STAGE], 4)
    assert [c.key for c in longer] == [f"{key}x4" for key in wanted]


def test_one_that_is_a_little_outside_now_tries_again_narrower(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    budget = small.budget_text("{metric: latency, stat: p50, max: 45%}")
    target = Moody(1.2, monkeypatch)
    _, rows = compressed(tmp_path / "run", target=target, budget=budget)
    longer = [c for c in rows if c.stage == STAGE]
    assert [c.satisfied for c in longer] == [False, *[True] * (len(longer) - 1)]
    anchors = [c.decision for c in rows if c.stage == ANCHOR.stage and c.satisfied]
    assert any(c.decision in anchors for c in longer)
    outside, again = longer[0], longer[-1]
    assert (again.iteration, again.rollout) == (1, 0)
    before, after = (Decision.from_json(c.decision) for c in (outside, again))
    assert before.removed == after.removed and before.widths.keys() == after.widths.keys()
    assert all(after.widths[name] <= width for name, width in before.widths.items())
    first, second = (c.cost["latency_p50"]["value"] for c in (outside, again))
    assert 0.5 * first < second < first / 1.2


class Careful(small.OddTarget):
    """Knows how carefully each latency of a student was measured."""

    def __init__(self) -> None:
        super().__init__()
        self.efforts: list[str] = []

    def odd(self, reading: Reading, effort: Effort) -> Reading:
        self.efforts.append(effort)
        return reading


def test_who_may_become_the_student_is_measured_in_full(tmp_path: Path) -> None:
    target = Careful()
    _, rows = compressed(tmp_path / "run", target=target)
    finalists = len([c for c in rows if c.stage == STAGE])
    first = target.efforts.index("full")
    assert first >= len([c for c in rows if c.stage != STAGE and c.state.value == "trained"])
    # then the choice, and the trained student
    assert target.efforts[first:] == ["full"] * (finalists + 2)


def test_the_search_before_it_is_the_same(tmp_path: Path) -> None:
    _, without = compressed(tmp_path / "without", runoff=0)
    _, rows = compressed(tmp_path / "with")
    assert [c.comparable() for c in rows[:-3]] == [c.comparable() for c in without]


def test_it_is_never_shorter_than_the_search_training(tmp_path: Path) -> None:
    _, rows = compressed(tmp_path / "run", runoff_epochs=1, train__epochs=2)
    assert {str(c.key).partition("x")[2] for c in rows if c.stage == STAGE} == {"4"}


@pytest.mark.parametrize("runoff", [0, 1])
def test_nobody_competes_alone(tmp_path: Path, runoff: int) -> None:
    _, rows = compressed(tmp_path / "run", runoff=runoff)
    assert STAGE not in {c.stage for c in rows}


def test_what_halving_stopped_is_not_stopped_again(tmp_path: Path) -> None:
    _, rows = compressed(tmp_path / "run", train__epochs=2, halving_epochs=1)
    assert {c.state.value for c in rows if c.stage == STAGE} == {"trained"}


def test_it_goes_on_where_it_was_stopped(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    _, whole = compressed(folder)
    with closing(sqlite3.connect(folder / "ledger.sqlite")) as database:
        database.execute("DELETE FROM candidates WHERE stage = ? AND rollout > 0", (STAGE,))
        database.commit()
    for path in ("result.json", "checkpoints/choice.json", "checkpoints/final.pt"):
        (folder / path).unlink(missing_ok=True)
    hwn2n.resume(
        folder, model=small.small_teacher(), data=small.small_data(), target=small.CalmTarget()
    )
    ledger = Ledger(folder / "ledger.sqlite")
    again = [c.comparable() for c in ledger.candidates()]
    ledger.close()
    assert again == [c.comparable() for c in whole]


def test_without_a_budget_one_that_diverges_gives_its_place_to_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train, longer = School.train_briefly, []

    def diverging(self: School, student: Any, *, seed: int, epochs: int | None = None) -> Any:
        if epochs:
            longer.append(seed)
            if len(longer) == 1:
                raise DivergedError("the loss is NaN")
        return train(self, student, seed=seed, epochs=epochs)

    monkeypatch.setattr(School, "train_briefly", diverging)
    _, rows = compressed(tmp_path / "run", budget=None, choose_by="reward")
    finalists = [c for c in rows if c.stage == STAGE]
    assert finalists[0].state.value == "illegal"
    assert [(c.iteration, c.rollout) for c in finalists[-1:]] == [(1, 0)]
    assert all(c.state.value == "trained" for c in finalists[1:])
