"""Evolution and local search: legal mutations, good parents, and no network twice."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import small
import torchvision

from hwn2n.network.capture import capture
from hwn2n.network.decision import NOTHING, Decision
from hwn2n.network.planner import Planner
from hwn2n.run.candidate import Candidate, State
from hwn2n.run.ledger import Ledger
from hwn2n.search.assemble import Workbench
from hwn2n.search.loop import Rounds, run_search
from hwn2n.search.strategies.evolution import STAGE, Breeder
from hwn2n.search.strategies.mutations import Mutations

PLANNER = Planner(capture(small.small_teacher().model, small.SHAPE).architecture)


@pytest.fixture
def rounds(tmp_path: Path) -> Iterator[Any]:
    made: list[Workbench] = []

    def build(*rows: str, **changes: Any) -> Rounds:
        bench = small.workbench(
            tmp_path / f"run{len(made)}", *rows, strategy="evolution", **changes
        )
        made.append(bench)
        return small.rounds(bench)

    yield build
    for bench in made:
        bench.ledger.close()


def candidate(
    number: int, widths: dict[str, int], accuracy: float | None, **more: Any
) -> Candidate:
    values: dict[str, Any] = {
        "stage": STAGE,
        "iteration": 0,
        "rollout": number,
        "state": State.TRAINED,
        "key": f"k{number}",
        "actions": (),
        "decision": Decision(widths=widths).to_json(),
        "cost": {},
        "accuracy": accuracy,
        "reward": 0.0,
        "terms": {"violation": None},
        "satisfied": accuracy is not None,
        "id": number,
    }
    return Candidate(**{**values, **more})


def test_widths_are_proportions_of_which_one_is_whole() -> None:
    mutations = Mutations(PLANNER, small.settings(), random.Random(0))
    seen: set[tuple[tuple[str, int], ...]] = set()
    for _ in range(200):
        child = mutations.mutated(Decision(widths={"conv1": 4, "conv2": 2, "conv3": 1}))
        if child.removed:
            continue
        assert set(child.widths) == set(small.WIDTHS)
        assert all(1 <= child.widths[name] <= small.WIDTHS[name] for name in small.WIDTHS)
        assert any(child.widths[name] == small.WIDTHS[name] for name in small.WIDTHS)
        seen.add(tuple(sorted(child.widths.items())))
    assert len(seen) > 15


def test_a_layer_that_is_put_back_takes_the_mean_share_of_the_others() -> None:
    mutations = Mutations(PLANNER, small.settings(), random.Random(0))
    child = mutations._whole(Decision(widths={"conv1": 4, "conv3": 3}))
    assert child.widths == {"conv1": 8, "conv2": 8, "conv3": 6}
    child = mutations._whole(Decision(widths={"conv1": 8, "conv3": 3}))
    assert child.widths == {"conv1": 8, "conv2": 6, "conv3": 3}  # the mean of 1 and 1/2


def test_a_layer_that_goes_takes_its_kernel_along() -> None:
    parent = Decision(kernels={"conv2": (1, 1), "conv3": (1, 1)})
    mutations = Mutations(PLANNER, small.settings(), random.Random(2))
    children = [mutations.mutated(parent) for _ in range(300)]
    gone = [c for c in children if {"conv2", "conv3"} & c.removed]
    assert gone
    for child in gone:
        assert not set(child.kernels) & child.removed
        PLANNER.plan(child)


def test_widths_are_those_that_the_settings_allow() -> None:
    settings = small.settings(round_to=4, min_width=4)
    mutations = Mutations(PLANNER, settings, random.Random(4))
    decision = mutations.founder(0.5)
    for _ in range(100):
        decision = mutations.mutated(decision)
        assert all(width in (4, small.WIDTHS[name]) for name, width in decision.widths.items())


def test_founders_are_far_apart() -> None:
    mutations = Mutations(PLANNER, small.settings(), random.Random(3))
    shares = [n / 100 for n in range(100)]
    founders = [mutations.founder(share) for share in shares]
    assert not founders[0].removed
    first, last = founders[:30], founders[70:]
    assert sum(len(f.removed) for f in first) < sum(len(f.removed) for f in last) / 3
    assert {len(set(map(str, f.widths.values()))) > 1 for f in founders} == {True, False}
    widths = [f.widths["conv2"] / 8 for f in founders if "conv2" in f.widths]
    assert min(widths) <= 0.5 and max(widths) == 1.0
    assert all(
        max(f.widths[n] / small.WIDTHS[n] for n in f.widths) == 1.0 for f in founders if f.widths
    )


def test_without_proportions_a_decision_is_as_wide_as_it_says() -> None:
    mutations = Mutations(PLANNER, small.settings(), random.Random(3), proportions=False)
    founders = [mutations.founder(0.0) for _ in range(100)]
    widest = [max(f.widths[n] / small.WIDTHS[n] for n in f.widths) for f in founders]
    assert min(widest) < 0.3 and max(widest) == 1.0
    narrow = Decision(widths={"conv1": 2, "conv2": 2, "conv3": 2})
    children = [mutations.mutated(narrow).widths for _ in range(200)]
    assert any(all(child[n] > 2 for n in narrow.widths) for child in children if len(child) == 3)
    assert any(all(child[n] == 1 for n in narrow.widths) for child in children if len(child) == 3)
    assert mutations._whole(narrow).widths == narrow.widths


def test_every_kind_of_change_happens_and_can_be_undone() -> None:
    mutations = Mutations(PLANNER, small.settings(), random.Random(1))
    children = [mutations.mutated(NOTHING) for _ in range(200)]
    assert {bool(c.removed) for c in children} == {True, False}
    assert {bool(c.kernels) for c in children} == {True, False}
    removed = next(c for c in children if c.removed)
    back = [mutations.mutated(removed) for _ in range(300)]
    assert any(not c.removed for c in back)


@pytest.mark.parametrize(("strategy", "wanted"), [("local", 8), ("evolution", 2)])
def test_who_is_the_parent(rounds: Any, strategy: str, wanted: int) -> None:
    """`local` knows the best of all, `evolution` the best of the young."""
    one = rounds("{metric: params, max: 90%}", population=3, tournament=3)
    one = Rounds(
        **{**vars(one), "settings": one.settings.model_copy(update={"strategy": strategy})}
    )
    earlier = [
        candidate(1, {"conv1": 8}, 0.9),
        candidate(2, {"conv1": 3}, 0.5),
        candidate(3, {"conv1": 2}, 0.6),
        candidate(4, {"conv1": 4}, None, terms={"violation": 0.1}, satisfied=False),
        candidate(5, {}, None, state=State.ILLEGAL),
    ]
    breeder = Breeder(one, earlier, random.Random(0))
    assert breeder._parent().widths == {"conv1": wanted}
    outside = Breeder(one, earlier[3:], random.Random(0))
    assert outside._parent().widths == {"conv1": 4}
    assert Breeder(one, [], random.Random(0))._parent() == NOTHING


@pytest.mark.parametrize("strategy", ["evolution", "local"])
def test_every_network_is_new_and_inside_what_can_be_counted(rounds: Any, strategy: str) -> None:
    one = rounds("{metric: params, max: 40%}", removal__updates=2, shrinkage__updates=3)
    run_search(one)
    rows = one.ledger.candidates()
    assert len(rows) == 1 + 2 * 2 + 3 * 2 and {c.stage for c in rows} == {"anchor", STAGE}
    assert [c.iteration for c in rows[1:]] == [i for i in range(5) for _ in range(2)]
    keys = [c.key for c in rows]
    assert len(set(keys)) == len(keys)
    assert all(c.satisfied and c.cost["params"]["value"] <= 0.4 * 1131 for c in rows)


def test_the_same_seed_breeds_the_same(rounds: Any) -> None:
    ledgers = []
    for _ in range(2):
        one = rounds("{metric: params, max: 40%}")
        run_search(one)
        ledgers.append([c.comparable() for c in one.ledger.candidates()])
    assert ledgers[0] == ledgers[1]


def test_a_resumed_search_breeds_on_as_it_would_have(rounds: Any) -> None:
    whole = rounds("{metric: params, max: 40%}")
    run_search(whole)
    rows = whole.ledger.candidates()
    half = rounds("{metric: params, max: 40%}")
    for row in rows[:4]:  # the anchor, an iteration, and half of the next
        half.ledger.add(row)
    run_search(half)
    kept = [c.comparable() for c in half.ledger.candidates()]
    assert kept == [c.comparable() for c in rows]


def test_without_a_budget_the_reward_chooses(rounds: Any) -> None:
    one = rounds()
    earlier = [
        candidate(1, {"conv1": 8}, 0.9, reward=0.1),
        candidate(2, {"conv1": 3}, 0.5, reward=0.7),
    ]
    assert Breeder(one, earlier, random.Random(0))._parent().widths == {"conv1": 3}


def test_the_command_takes_the_strategy(tmp_path: Path) -> None:
    settings = small.settings(strategy="evolution", seed=1)
    result = small.compress(tmp_path / "run", recipe=settings)
    assert result.satisfied and result.candidates["all"] == 9
    ledger = Ledger(tmp_path / "run" / "ledger.sqlite")
    assert {c.stage for c in ledger.candidates()} == {"anchor", STAGE}
    ledger.close()


def test_a_whole_residual_branch_goes_in_one_change() -> None:
    teacher = torchvision.models.resnet18(num_classes=3).eval()
    planner = Planner(capture(teacher, (3, 32, 32)).architecture)
    mutations = Mutations(planner, small.settings(granularity="unit"), random.Random(1))
    unit = {op: layer.operations for layer in mutations.layers for op in layer.operations}
    gone = [mutations.mutated(NOTHING).removed for _ in range(200)]
    whole = [set(branch.operations) for branch in mutations.branches]
    assert any(removed >= branch for removed in gone for branch in whole)
    for removed in gone:
        planner.plan(Decision(removed))
    branch = mutations.branches[0]
    half = Decision(frozenset(unit[next(op for op in branch.operations if op in unit)]))
    out = mutations._toggled(half, [branch])
    assert out.removed >= set(branch.operations) > half.removed
    assert not mutations._toggled(out, [branch]).removed
