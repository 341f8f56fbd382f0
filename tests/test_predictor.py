"""Guesses of accuracies: what they follow, and what they cannot know."""

from __future__ import annotations

import math
import random
from statistics import mean
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import small
from scipy.stats import kendalltau

from hwn2n.network.capture import capture
from hwn2n.network.decision import Decision
from hwn2n.network.layers import find_layers
from hwn2n.network.planner import Planner
from hwn2n.run.candidate import Candidate, State
from hwn2n.search.predictor import LEAST, AccuracyPredictor

PLANNER = Planner(capture(small.small_teacher().model, small.SHAPE).architecture)


def drawn(count: int, seed: int = 0) -> list[Decision]:
    """Random widths, half of them without the pooling."""
    generator = random.Random(seed)
    return [
        Decision(
            frozenset({"pool"}) if n % 2 else frozenset(),
            {name: generator.randint(1, width) for name, width in small.WIDTHS.items()},
        )
        for n in range(count)
    ]


def truth(decision: Decision) -> float:
    """Wide first layers pay, and so does the pooling."""
    return 0.2 + 0.06 * decision.widths["conv1"] + 0.2 * ("pool" not in decision.removed)


def trained(number: int, decision: Decision, accuracy: float | None, **more: Any) -> Candidate:
    values: dict[str, Any] = {
        "stage": "shrinkage",
        "iteration": 0,
        "rollout": number,
        "state": State.TRAINED,
        "key": f"k{number}",
        "actions": (),
        "decision": decision.to_json(),
        "cost": {},
        "accuracy": accuracy,
        "reward": 0.0,
        "terms": {},
        "satisfied": True,
        "id": number,
    }
    return Candidate(**{**values, **more})


def guesses(rows: list[Candidate], decisions: list[Decision]) -> list[float]:
    predictor = AccuracyPredictor(PLANNER)
    predictor.fit(rows)
    return predictor.expected([(d, PLANNER.count(d)) for d in decisions])


def test_it_ranks_networks_that_were_not_trained() -> None:
    rows = [trained(n, d, truth(d)) for n, d in enumerate(drawn(25))]
    others = drawn(60, seed=1)
    found = guesses(rows, others)
    assert kendalltau(found, [truth(d) for d in others]).statistic > 0.8
    assert all(0.0 < guess < 1.0 for guess in found)


def test_it_guesses_what_candidates_are_compared_by() -> None:
    """The expected accuracy of the reward's terms, where there is one."""
    rows = [trained(n, d, 0.5, terms={"expected": truth(d)}) for n, d in enumerate(drawn(25))]
    others = drawn(60, seed=1)
    assert kendalltau(guesses(rows, others), [truth(d) for d in others]).statistic > 0.8


def without(layer: str, count: int, seed: int) -> list[Decision]:
    """Random widths of what is left without a layer."""
    (gone,) = [x.operations for x in find_layers(PLANNER) if x.name == layer]
    generator = random.Random(seed)
    names = [name for name in small.WIDTHS if name not in gone]
    return [
        Decision(frozenset(gone), {n: generator.randint(3, small.WIDTHS[n]) for n in names})
        for _ in range(count)
    ]


def test_which_layers_are_gone_is_known() -> None:
    """What a width or a count can hardly tell."""

    def rows(seed: int, count: int) -> list[tuple[Decision, float]]:
        known = [(d, 0.4) for d in without("conv2", count, seed)]
        return known + [(d, 0.6) for d in without("conv3", count, seed + 1)]

    def error(predictor: AccuracyPredictor) -> float:
        predictor.fit([trained(n, d, a) for n, (d, a) in enumerate(rows(0, 6))])
        others = rows(2, 30)
        found = predictor.expected([(d, PLANNER.count(d)) for d, _ in others])
        return mean(abs(guess - a) for guess, (_, a) in zip(found, others, strict=True))

    told, blind = AccuracyPredictor(PLANNER), AccuracyPredictor(PLANNER)
    blind.removable = []
    assert error(told) < 0.85 * error(blind)


def test_what_size_says_beforehand_is_no_more_than_a_start() -> None:
    def size(decision: Decision) -> float:
        return math.log(PLANNER.count(decision).params)

    def row(number: int, decision: Decision, slope: float) -> Candidate:
        return trained(number, decision, 1 / (1 + math.exp(-slope * (size(decision) - 6))))

    def guessed(slope: float, rows: list[Candidate]) -> list[float]:
        predictor = AccuracyPredictor(PLANNER)
        predictor.fit(rows, slope)
        return predictor.expected([(d, PLANNER.count(d)) for d in others])

    decisions, others = drawn(30), drawn(40, seed=1)
    by_size = [row(n, d, 0.3) for n, d in enumerate(decisions[:LEAST])]
    wanted = [row(n, d, 0.3).accuracy for n, d in enumerate(others)]
    assert guessed(0.3, by_size) == pytest.approx(wanted, abs=1e-6)
    assert guessed(0.0, by_size) != pytest.approx(wanted, abs=1e-3), "eight do not tell a slope"
    against = [row(n, d, -0.3) for n, d in enumerate(decisions)]
    tau = kendalltau(guessed(0.3, against), [size(d) for d in others]).statistic
    assert tau < -0.8, "thirty do"


def test_what_depth_adds_is_known_of_each_network() -> None:
    """Accuracies do not differ, expected ones do, by depth alone."""

    def drawn_deep(count: int, seed: int) -> list[Decision]:
        whole = drawn(count, seed=seed)
        gone = frozenset({"pool", "conv2", "relu_1"})
        assert PLANNER.depth(gone) == PLANNER.depth() - 1
        return [Decision(gone if n % 3 == 0 else frozenset(), {}) for n, _ in enumerate(whole)]

    decisions = [Decision(frozenset(), d.widths) for d in drawn(10)]
    rows = [trained(n, d, 0.5) for n, d in enumerate(decisions)]
    shallow = drawn_deep(1, 1)[0]
    predictor = AccuracyPredictor(PLANNER)
    predictor.fit(rows, 0.0, 0.5)
    [deep_guess, guess] = predictor.expected(
        [(d, PLANNER.count(d)) for d in (decisions[0], shallow)]
    )
    ratio = PLANNER.depth(shallow.removed) / PLANNER.depth()
    assert deep_guess == pytest.approx(0.5)
    assert guess / (1 - guess) == pytest.approx(ratio**0.5)


def test_of_few_networks_nothing_is_guessed() -> None:
    predictor = AccuracyPredictor(PLANNER)
    rows = [trained(n, d, truth(d)) for n, d in enumerate(drawn(LEAST))]
    predictor.fit(rows[:-1])
    assert not predictor.ready
    predictor.fit(rows)
    assert predictor.ready
    predictor.fit([])
    assert not predictor.ready, "it knows what it was given last, and nothing else"


def test_one_network_counts_once_by_its_newest_accuracy() -> None:
    decisions = drawn(LEAST)
    rows = [trained(n, d, truth(d)) for n, d in enumerate(decisions)]
    again = [trained(n, decisions[0], 0.9, key="k0") for n in range(LEAST, 2 * LEAST)]
    predictor = AccuracyPredictor(PLANNER)
    predictor.fit([*rows[:-1], *again])
    assert not predictor.ready, "repeats are no other networks"
    newest = [trained(0, decisions[0], 0.9), *rows[1:]]
    assert guesses([*rows, *again], decisions) == guesses(newest, decisions)


def test_guesses_follow_from_the_rows_alone() -> None:
    rows = [trained(n, d, truth(d)) for n, d in enumerate(drawn(20))]
    assert guesses(rows, drawn(5, seed=2)) == guesses(rows, drawn(5, seed=2))
    assert guesses(rows, []) == []


def test_no_accuracy_is_too_good_or_too_bad() -> None:
    """Log-odds of 0 and 1 are infinite; rows without an accuracy count for nothing."""
    rows = [trained(n, d, float(n % 2)) for n, d in enumerate(drawn(20))]
    rows += [trained(20 + n, d, None) for n, d in enumerate(drawn(5, seed=3))]
    assert all(0.0 <= guess <= 1.0 for guess in guesses(rows, drawn(20, seed=2)))


def test_a_guess_far_from_all_that_is_known_is_a_share_too() -> None:
    """Along a line through nearly equal networks the log-odds of another go anywhere."""
    near = [Decision(widths={"conv1": 8, "conv2": 8 - n % 2, "conv3": 6}) for n in range(8)]
    rows = [trained(n, d, 0.05 + 0.11 * n) for n, d in enumerate(near)]
    predictor = AccuracyPredictor(PLANNER)
    predictor.fit(rows)
    predictor._fitted = SimpleNamespace(predict=lambda rows: np.array([-2000.0, 2000.0]))  # type: ignore[assignment]
    low, high = predictor.expected([(d, PLANNER.count(d)) for d in near[:2]])
    assert low == pytest.approx(1e-3) and high == pytest.approx(1 - 1e-3)


def test_equal_accuracies_give_equal_guesses() -> None:
    rows = [trained(n, d, 0.6) for n, d in enumerate(drawn(20))]
    assert all(abs(guess - 0.6) < 0.01 for guess in guesses(rows, drawn(20, seed=2)))
