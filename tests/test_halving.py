"""Successive halving: who goes on, what the others are given, and that nothing else changes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import small
import torch

from hwn2n.errors import InputError
from hwn2n.network.decision import Decision
from hwn2n.run.candidate import Candidate, State
from hwn2n.run.folder import RunFolder
from hwn2n.search.assemble import Workbench, assemble
from hwn2n.search.halving import estimates, kept
from hwn2n.search.proposals import Place, Proposal

WIDTHS = ({"conv1": 4}, {"conv1": 6}, {"conv2": 3}, {"conv3": 2}, {"conv1": 4})


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Any]:
    made: list[Workbench] = []

    def build(**changes: Any) -> Workbench:
        how = {"train__epochs": 3, "train__max_images": 60, "project": False, "anchor": False}
        made.append(
            assemble(
                teacher=small.small_teacher(),
                data=small.small_data(),
                budget=small.budget(),
                target=small.CalmTarget(),
                settings=small.settings(**{**how, **changes}),
                folder=RunFolder.create(tmp_path / f"run{len(made)}"),
            )
        )
        return made[-1]

    yield build
    for one in made:
        one.ledger.close()


def proposals(count: int) -> list[Proposal]:
    return [
        Proposal(decision=Decision(widths=WIDTHS[i]), place=Place("shrinkage", 0, i))
        for i in range(count)
    ]


def test_the_best_share_goes_on() -> None:
    assert kept([0.1, 0.5, None, 0.4], 0.5) == [1, 3]
    assert kept([0.1, 0.5, 0.5, 0.5], 0.25) == [1]  # the earlier of equals
    assert kept([0.1, 0.2, 0.3], 0.5) == [1, 2]
    assert kept([None, None], 0.5) == []
    assert kept([0.3], 0.1) == [0]


def test_estimates_are_on_the_scale_of_those_that_went_on() -> None:
    went_on = {0: (0.50, 0.60), 3: (0.55, 0.75), 4: (0.45, 0.56)}  # gains 0.10, 0.20, 0.11
    found = estimates({1: 0.30, 2: 0.44}, went_on)
    assert found == {1: pytest.approx(0.41), 2: pytest.approx(0.55)}
    capped = estimates({1: 0.5}, {0: (0.5, 0.52), 2: (0.51, 0.9)})  # no better than the least
    assert capped == {1: 0.52}
    assert estimates({1: 0.3}, {}) == {1: 0.3}


def test_parts_of_a_training_are_the_whole_training(bench: Any) -> None:
    school = bench().school
    planner = bench().planner
    decision = Decision(widths=WIDTHS[0])
    architecture = planner.plan(decision)

    def student() -> Any:
        return school.student(architecture, decision, seed=5)

    whole, parts = student(), student()
    scored = school.train_briefly(whole, seed=5)
    _, state = school.train_partly(parts, seed=5, until=1, state=None)
    assert len(state.history) == 1
    again = student()
    other, state = school.train_partly(again, seed=5, until=None, state=state)
    assert len(state.history) == 3 and other == scored
    for name, value in whole.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name


def test_the_rest_is_stopped_and_never_chosen(bench: Any) -> None:
    halved, whole = bench(halving_epochs=1, halving_keep=0.5), bench()
    rows = list(halved.evaluator.evaluate(proposals(4), epsilon=0.0))
    full = list(whole.evaluator.evaluate(proposals(4), epsilon=0.0))
    states = [row.state for row in rows]
    assert states.count(State.TRAINED) == 2 and states.count(State.STOPPED) == 2
    for row, other in zip(rows, full, strict=True):
        if row.state is State.TRAINED:
            assert row.accuracy == other.accuracy == row.trained_accuracy
        else:
            assert row.accuracy is not None and row.trained_accuracy is None
    least = min(row.accuracy for row in rows if row.state is State.TRAINED)
    assert all(row.accuracy <= least for row in rows if row.state is State.STOPPED)
    chosen = {candidate.id for candidate in halved.ledger.best()}
    assert chosen == {row.id for row in rows if row.state is State.TRAINED}


def test_a_kill_while_rows_are_written_leaves_none_of_them(
    bench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who goes on depends on all of an update: with some of them there it would be others."""
    whole, cut = bench(halving_epochs=1), bench(halving_epochs=1)
    rows = list(whole.evaluator.evaluate(proposals(4), epsilon=0.0))
    add = cut.ledger.add

    def killed(candidate: Candidate) -> Candidate:
        if candidate.rollout == 2:
            raise KeyboardInterrupt
        return add(candidate)  # type: ignore[no-any-return]

    monkeypatch.setattr(cut.ledger, "add", killed)
    with pytest.raises(KeyboardInterrupt):
        list(cut.evaluator.evaluate(proposals(4), epsilon=0.0))
    assert cut.ledger.candidates() == []
    monkeypatch.undo()
    again = list(cut.evaluator.evaluate(proposals(4), epsilon=0.0))
    assert [row.comparable() for row in again] == [row.comparable() for row in rows]


def test_a_repeat_of_one_that_was_stopped_is_worth_the_same(bench: Any) -> None:
    one = bench(halving_epochs=1, halving_keep=0.25)
    rows = list(one.evaluator.evaluate(proposals(5), epsilon=0.0))
    first, last = rows[0], rows[4]
    assert last.key == first.key and last.same_as == first.id
    assert last.accuracy == first.accuracy and last.reward == first.reward
    expected = State.REUSED if first.state is State.TRAINED else State.STOPPED
    assert last.state is expected


def test_repeated_networks_are_averaged(bench: Any) -> None:
    one = bench(repeats=2)
    rows = []
    for rollout in range(4):
        place = Place("shrinkage", 0, rollout)
        rows += one.evaluator.evaluate(
            [Proposal(decision=Decision(widths=WIDTHS[0]), place=place)], epsilon=0.0
        )
    assert [row.state for row in rows] == [State.TRAINED] * 2 + [State.REUSED] * 2
    first, second = rows[0].trained_accuracy, rows[1].trained_accuracy
    assert rows[0].accuracy == first
    assert rows[1].accuracy == rows[2].accuracy == pytest.approx((first + second) / 2)
    assert rows[2].same_as == rows[0].id


def test_two_alike_in_one_update_are_trained_once(bench: Any) -> None:
    one = bench()
    rows = list(one.evaluator.evaluate(proposals(5), epsilon=0.0))
    assert [row.state for row in rows] == [State.TRAINED] * 4 + [State.REUSED]
    assert rows[4].same_as == rows[0].id and rows[4].accuracy == rows[0].accuracy


def test_the_rung_must_lie_within_the_training() -> None:
    with pytest.raises(InputError, match=r"halving_epochs must be below .*, 1, but is 1"):
        small.settings(halving_epochs=1)
