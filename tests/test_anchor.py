"""Anchors: the uniformly shrunk teacher at the budget, or, without one, at the best reward."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import small
from fakes import FakeEvaluator

from hwn2n.network.decision import NOTHING, Decision
from hwn2n.search.anchor import evaluate_anchors
from hwn2n.search.choices.actions import RemovalStage, ShrinkageStage
from hwn2n.search.choices.prior import kept_at_budget, removal_prior, shrinkage_prior
from hwn2n.search.proposals import ANCHOR
from hwn2n.search.rounds import Rounds
from hwn2n.search.strategies.learning import prior_for

Make = Callable[..., Rounds]


@pytest.fixture
def rounds(tmp_path: Path) -> Iterator[Make]:
    made: list[Rounds] = []

    def make(*rows: str, **changes: object) -> Rounds:
        bench = small.workbench(tmp_path / f"run{len(made)}", *rows, **changes)
        made.append(small.rounds(bench))
        return made[-1]

    yield make
    for one in made:
        one.ledger.close()


def rewarded(one: Rounds, formula: Callable[[Decision], float]) -> Rounds:
    """The same without limits and trainings, rewarded by a formula."""
    fake = FakeEvaluator(one.ledger, formula)
    fake.fitter.scales = False
    fake.constraints = one.evaluator.constraints
    return replace(one, evaluator=fake)  # type: ignore[arg-type]


def shares(one: Rounds) -> list[float]:
    """The mean share of the teacher's widths of each anchor."""
    rows = one.ledger.candidates(ANCHOR.stage)
    return [small.mean_share(row.decision["widths"]) for row in rows]


def test_without_limits_anchors_are_narrowed_as_long_as_the_reward_rises(rounds: Make) -> None:
    one = rewarded(rounds(), lambda decision: -abs(decision.widths["conv1"] - 3))
    evaluate_anchors(one)
    found = one.ledger.candidates(ANCHOR.stage)
    assert [c.decision["widths"]["conv1"] for c in found] == [6, 4, 3, 2]
    assert [c.reward for c in found] == [-3, -1, 0, -1], "the first that is worse ends it"
    assert [c.iteration for c in found] == [0, 1, 2, 3]
    assert [round(share, 1) for share in shares(one)] == [0.7, 0.5, 0.4, 0.3]


def test_it_ends_where_nothing_narrower_is_allowed(rounds: Make) -> None:
    one = rewarded(rounds(min_width=6), lambda decision: 1 - sum(decision.widths.values()) / 100)
    evaluate_anchors(one)
    assert [c.decision["widths"] for c in one.ledger.candidates(ANCHOR.stage)] == [
        {"conv1": 6, "conv2": 6, "conv3": 6}
    ]


def test_anchors_without_limits_earn_the_papers_reward(rounds: Make) -> None:
    one = rounds()
    evaluate_anchors(one)
    found = one.ledger.candidates(ANCHOR.stage)
    assert len(found) > 1 and all(c.satisfied and c.accuracy is not None for c in found)
    *rising, last = [c.reward for c in found]
    assert rising == sorted(set(rising)) and (last <= rising[-1] or len(found) == 16)
    whole = one.planner.count(NOTHING).params
    for c in found:
        C = 1 - c.cost["params"]["value"] / whole
        relative = c.accuracy / c.terms["teacher_accuracy"]  # type: ignore[operator]
        assert c.reward == pytest.approx(C * (2 - C) * relative)


def test_there_is_none_where_limits_are_not_scaled_to(rounds: Make) -> None:
    one = rounds("{metric: params, max: 40%}", project=False)
    evaluate_anchors(one)
    assert one.ledger.candidates() == []


def test_policies_start_from_the_best_anchor(rounds: Make) -> None:
    one = rewarded(rounds(), lambda decision: -abs(decision.widths["conv1"] - 4))
    evaluate_anchors(one)
    width = shares(one)[1]
    stage = RemovalStage(one.planner)
    expected = removal_prior(stage, kept_at_budget(width))
    assert prior_for(one, stage, 1.0).equal(expected)
    second = ShrinkageStage(one.planner, frozenset())
    assert prior_for(one, second, 1.0).equal(shrinkage_prior(second, 1.0, width))
