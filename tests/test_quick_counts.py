"""Quick counts against planning each student."""

from __future__ import annotations

import random

import pytest
from networks import Mixed, Plain, planner_of, random_decision, seeded
from test_bounds_operators import MAKE
from test_search_reach import Dense, Excited, Grouped, Strided, Tied, Tokens

from hwn2n.network import quick_counts
from hwn2n.network.architecture import IllegalArchitectureError
from hwn2n.network.capture import capture
from hwn2n.network.counts import Counts, count
from hwn2n.network.layers import find_layers
from hwn2n.network.planner import Planner
from hwn2n.network.quick_counts import QuickCounts
from hwn2n.search.choices.actions import SHRINK_VALUES, ShrinkageStage


def attempt(function, decision) -> Counts | str:
    try:
        return function(decision)
    except IllegalArchitectureError as error:
        return str(error)


def decisions(planner: Planner, number: int):
    """What the two stages could choose; what cannot be left after a removal, too."""
    rng = random.Random(number)
    layers = [layer for layer in find_layers(planner) if layer.removable]
    while number:
        removed = frozenset(
            name for layer in layers if rng.random() < 0.3 for name in layer.operations
        )
        try:
            stage = ShrinkageStage(planner, removed)
        except IllegalArchitectureError:
            continue
        number -= 1
        actions = [rng.randrange(len(SHRINK_VALUES)) for _ in stage.steps.names]
        source = stage.steps.source.tolist()
        yield stage.decision([actions[source[t]] for t in range(len(actions))])


NETWORKS = [Plain, Mixed, Excited, Strided, Grouped, Tied, Dense, Tokens]
NETWORKS += [pytest.param(make, id=name) for name, make in MAKE.items()]


@pytest.mark.parametrize("make", NETWORKS, ids=lambda m: m.__name__)
def test_the_same_counts_and_the_same_reasons(make) -> None:
    planner = Planner(capture(seeded(make), (3, 8, 8)).architecture)
    quick, kinds = QuickCounts(planner.left, planner.teacher.input_shape), set()
    for decision in decisions(planner, 25):
        expected = attempt(lambda d: count(planner.plan(d)), decision)
        assert attempt(quick.count, decision) == expected
        assert attempt(quick.count, decision) == expected, "and again from the table"
        kinds.add(type(expected))
    assert Counts in kinds


def test_a_teacher_of_the_paper_with_little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quick_counts, "_MOST_SIZES", 2)
    planner, rng = planner_of("resnet20", 8), random.Random(0)
    quick = QuickCounts(planner.left, planner.teacher.input_shape)
    for _ in range(5):
        decision = random_decision(planner, rng)
        assert attempt(quick.count, decision) == attempt(lambda d: count(planner.plan(d)), decision)
    assert all(len(table) <= 2 for table in quick._tables.values())
