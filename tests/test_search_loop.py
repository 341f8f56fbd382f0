"""The search on fakes whose optimum is known, and on the real thing for what it writes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import small
from fakes import FakeEvaluator, Heard

from hwn2n.network.capture import capture
from hwn2n.network.decision import Decision
from hwn2n.network.planner import Planner
from hwn2n.run.clock import Clock
from hwn2n.run.folder import RunFolder
from hwn2n.run.ledger import Ledger
from hwn2n.run.progress import StageProgress
from hwn2n.run.stop import Stop
from hwn2n.search.choices.actions import RemovalStage, ShrinkageStage
from hwn2n.search.choices.features import FEATURE_COUNTS, FeatureSet
from hwn2n.search.loop import ANCHOR, Rounds, run_search
from hwn2n.search.policies import UniformPolicy, load_policy
from hwn2n.search.settings import Settings
from hwn2n.search.strategies import stages

PLANNER = Planner(capture(small.small_teacher().model, small.SHAPE).architecture)


def removal_value(decision: Decision) -> float:
    """1 where exactly the pooling goes, less for each layer that differs."""
    wrong = sum(name in decision.removed for name in ("conv1", "conv2", "conv3"))
    return 1.0 - 0.3 * wrong - 0.4 * ("pool" not in decision.removed)


def width_value(decision: Decision) -> float:
    """1 where conv1 keeps 4 of its 8 channels and conv2 all of them."""
    first, second = decision.widths.get("conv1", 8), decision.widths.get("conv2", 8)
    return 1.0 - 0.1 * abs(first - 4) - 0.1 * abs(second - 8)


Make = Callable[..., Rounds]


@pytest.fixture
def search(tmp_path: Path) -> Iterator[Make]:
    ledgers: list[Ledger] = []

    def build(settings: Settings, formula: Callable[[Decision], float], **more: Any) -> Rounds:
        folder = RunFolder.create(tmp_path / f"run{len(ledgers)}")
        ledger = Ledger(folder.ledger)
        ledger._db.execute("PRAGMA synchronous = OFF")  # the disk is not what is tested
        ledgers.append(ledger)
        values: dict[str, Any] = {"reporter": Heard(), "stop": Stop(), "clock": Clock(ledger)}
        return Rounds(
            planner=PLANNER,
            evaluator=FakeEvaluator(ledger, formula),  # type: ignore[arg-type]
            ledger=ledger,
            folder=folder,
            settings=settings,
            **{**values, **more},
        )

    yield build
    for ledger in ledgers:
        ledger.close()


def last(search: Rounds, stage: str, count: int) -> list[float]:
    return [candidate.reward for candidate in search.ledger.candidates(stage)][-count:]


@pytest.mark.parametrize(
    ("recipe", "learner"), [("paper", "reinforce"), ("fast", "actor-critic"), ("fast", "reinforce")]
)
def test_both_stages_end_in_what_is_best(search: Make, recipe: str, learner: str) -> None:
    how = small.as_sampled(
        recipe,
        learner=learner,
        advantage="leave-one-out",
        removal={"updates": 60, "rollouts": 8, "lr": 0.01, "entropy_weight": 0.1, "prior": 0.0},
        shrinkage={"updates": 80, "rollouts": 10, "lr": 0.01, "entropy_weight": 0.05, "prior": 0.0},
        anchor=False,
    )
    one = search(how, lambda d: removal_value(d) if not d.widths else width_value(d))
    run_search(one)
    removal = RemovalStage(PLANNER, features=how.features)
    shrinkage = ShrinkageStage(PLANNER, frozenset({"pool"}), features=how.features)
    for stage, value in ((removal, removal_value), (shrinkage, width_value)):
        policy, _ = load_policy(one.folder.policy(stage.name))
        assert value(stage.decision(policy.greedy(stage.steps).tolist())) == 1.0
        rewards = [candidate.reward for candidate in one.ledger.candidates(stage.name)]
        assert sum(rewards[-40:]) / 40 > sum(rewards[:40]) / 40 + 0.2


def test_stage_two_shrinks_what_the_best_of_stage_one_left(search: Make) -> None:
    one = search(small.as_sampled(anchor=False, removal__updates=3), removal_value)
    run_search(one)
    best = max(one.ledger.candidates("removal"), key=lambda c: (c.reward, -(c.id or 0)))
    removed = set(best.decision["removed"])
    assert {frozenset(c.decision["removed"]) for c in one.ledger.candidates("shrinkage")} == {
        frozenset(removed)
    }


def test_the_anchor_comes_first_and_counts_for_stage_two(search: Make) -> None:
    one = search(small.as_sampled(), lambda decision: 0.1 if decision.removed else 0.9)
    run_search(one)
    first, *others = one.ledger.candidates()
    assert (first.stage, first.iteration, first.rollout) == (ANCHOR.stage, 0, 0)
    assert first.actions == () and one.evaluator.epsilons[0] == 0.0  # type: ignore[attr-defined]
    assert [c.stage for c in others] == ["removal"] * 4 + ["shrinkage"] * 4
    assert all(c.decision["removed"] == [] for c in one.ledger.candidates("shrinkage"))


def test_random_learns_nothing_and_repeats_itself(search: Make, tmp_path: Path) -> None:
    how = {"strategy": "random", "anchor": False, "removal__updates": 4, "shrinkage__updates": 4}
    actions = []
    for seed, formula in ((1, removal_value), (1, width_value), (2, removal_value)):
        one = search(small.as_sampled(seed=seed, **how), formula)
        run_search(one)
        actions.append([c.actions for c in one.ledger.candidates("removal")])
        for stage in ("removal", "shrinkage"):
            assert [u["grad_norm"] for u in one.ledger.updates(stage)] == [0.0] * 4
            assert isinstance(load_policy(one.folder.policy(stage))[0], UniformPolicy)
    assert actions[0] == actions[1], "the rewards must not matter"
    assert actions[0] != actions[2], "the seed must"


def test_stages_can_be_left_out(search: Make) -> None:
    one = search(small.as_sampled(removal__updates=0), width_value)
    run_search(one)
    assert {c.stage for c in one.ledger.candidates()} == {"anchor", "shrinkage"}
    assert not one.folder.policy("removal").exists()
    two = search(small.as_sampled(removal__updates=0, shrinkage__updates=0), width_value)
    run_search(two)
    assert [c.stage for c in two.ledger.candidates()] == ["anchor"]


def test_epsilon_anneals_by_update(search: Make) -> None:
    one = search(small.as_sampled(anchor=False, annealing=2, shrinkage__updates=3), width_value)
    run_search(one)
    expected = [1.0, 1.0, 0.0625, 0.0625, 1.0, 1.0, 0.0625, 0.0625, 0.0, 0.0]
    assert one.evaluator.epsilons == expected  # type: ignore[attr-defined]
    assert [u["epsilon"] for u in one.ledger.updates("shrinkage")] == [1.0, 0.0625, 0.0]


def test_what_is_reported(search: Make) -> None:
    one = search(small.as_sampled(anchor=False), removal_value)
    run_search(one)
    heard: list[StageProgress] = one.reporter.stages  # type: ignore[attr-defined]
    assert [p.candidates for p in heard] == [1, 2, 3, 4] * 2
    assert all(p.total == 4 and p.iterations == 2 and p.feasible_share == 1.0 for p in heard)
    rewards = [c.reward for c in one.ledger.candidates("removal")]
    assert [p.reward for p in heard[:4]] == pytest.approx(
        [rewards[0], sum(rewards[:2]) / 2, rewards[2], sum(rewards[2:]) / 2]
    )
    assert [p.best for p in heard[:4]] == [max(rewards[: i + 1]) for i in range(4)]
    assert heard[0].best_params == 5
    assert one.ledger.seconds()["search"] > 0


def test_a_policy_starts_where_another_ended(search: Make) -> None:
    how = small.as_sampled(
        anchor=False,
        shrinkage__updates=0,
        removal={"updates": 25, "rollouts": 5, "lr": 0.05, "prior": 0.0},
    )
    taught = search(how, removal_value)
    run_search(taught)
    path = taught.folder.policy("removal")
    once = small.as_sampled(
        anchor=False,
        seed=9,
        shrinkage__updates=0,
        removal__updates=1,
        removal__rollouts=8,
        removal__prior=0.0,
    )
    again = search(once, removal_value)
    run_search(again, {"removal": path})
    fresh = search(once, removal_value)
    run_search(fresh)
    mean = sum(last(again, "removal", 8)) / 8
    assert mean > 0.95 > sum(last(fresh, "removal", 8)) / 8
    policy, meta = load_policy(path)
    assert policy.kind == "removal" and meta == {"features": "normalised", "stage": "removal"}


def test_the_search_does_not_touch_global_random_numbers(search: Make) -> None:
    import torch

    torch.manual_seed(5)
    state = torch.random.get_rng_state()
    run_search(search(small.as_sampled(), removal_value))
    assert torch.equal(torch.random.get_rng_state(), state)


def test_ledger_rows_are_what_was_done(search: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that are there already are not evaluated, and their actions are the ones reinforced."""
    one = search(small.as_sampled(anchor=False, shrinkage__updates=0), removal_value)
    run_search(one)
    rows = one.ledger.candidates("removal")
    seen: list[Any] = []
    two = search(small.as_sampled(anchor=False, shrinkage__updates=0, seed=77), removal_value)
    by_place = {(c.iteration, c.rollout): c for c in rows}
    two.evaluator.evaluate = lambda proposals, **_: (  # type: ignore[method-assign]
        two.ledger.add(by_place[p.place.iteration, p.place.rollout]) for p in proposals
    )
    learner_of = stages.learner_for

    def spied(*arguments: Any) -> Any:
        learner = learner_of(*arguments)
        update = learner.update
        learner.update = lambda steps, actions, rewards, **_: (  # type: ignore[method-assign]
            seen.append((actions.tolist(), rewards)) or update(steps, actions, rewards)
        )
        return learner

    monkeypatch.setattr(stages, "learner_for", spied)
    run_search(two)
    assert seen == [
        ([list(c.actions) for c in rows[i : i + 2]], [c.reward for c in rows[i : i + 2]])
        for i in (0, 2)
    ]


@pytest.mark.parametrize("features", FEATURE_COUNTS)
def test_feature_counts_are_those_of_the_steps(features: FeatureSet) -> None:
    removal = RemovalStage(PLANNER, features=features)
    shrinkage = ShrinkageStage(PLANNER, frozenset(), features=features)
    for stage in (removal, shrinkage):
        assert stage.steps.features.shape == (len(stage.steps), FEATURE_COUNTS[features])
