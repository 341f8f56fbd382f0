"""Forecasts of what is measured: learned from the ledger, monotone, and only ever a guess."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import small
from networks import planner_of, random_decision

from hwn2n.budget.cost import Cost, Reading, cost_to_json
from hwn2n.network.counts import Counts
from hwn2n.network.decision import NOTHING, Decision
from hwn2n.run.candidate import Candidate, State
from hwn2n.search.assemble import Workbench
from hwn2n.search.fitting.forecast import Forecast, forecast_for
from hwn2n.search.proposals import Place, Proposal

PLANNER = planner_of("resnet20", 8)
WHOLE = PLANNER.count(NOTHING)
COUNTED = ("params", "flops", "weight_bytes")
TEACHER: Cost = {"latency_p50": Reading(2.0, "measured")}


def forecast(*rows: str) -> Forecast | None:
    constraints = small.budget(*rows).resolve({**TEACHER, "params": Reading(WHOLE.params)})
    return forecast_for(constraints, COUNTED, WHOLE, TEACHER)


def latency(counts: Counts) -> float:
    """Of a device that nobody has: 0.3 s of operations, 1.7 s of what they move."""
    operations = counts.operations / WHOLE.operations
    return 0.3 * operations + 1.7 * counts.elements / WHOLE.elements


def measured(decision: Decision, seconds: float, teacher: float | None = None) -> Candidate:
    beside = {} if teacher is None else {"latency_p50": Reading(teacher, "measured")}
    return Candidate(
        stage="evolution",
        iteration=0,
        rollout=0,
        state=State.TRAINED,
        key=str(seconds),
        actions=(),
        decision=decision.to_json(),
        cost=cost_to_json({"latency_p50": Reading(seconds, "measured")}),
        accuracy=0.5,
        reward=0.0,
        terms={},
        satisfied=True,
        teacher=cost_to_json(beside),
    )


def some_decisions(number: int, seed: int) -> list[Decision]:
    generator = random.Random(seed)
    return [random_decision(PLANNER, generator) for _ in range(number)]


def test_only_upper_limits_that_need_a_measurement_have_one() -> None:
    assert forecast("{metric: params, max: 40%}") is None
    assert forecast("{metric: latency, stat: p50, min: 1s}") is None
    both = forecast("{metric: latency, stat: p50, max: 50%}", "{metric: params, max: 40%}")
    assert both is not None and both.columns == ("latency_p50",)
    assert set(both.rows.columns) == {"params", "latency_p50"}


def test_before_anything_is_measured_it_says_what_the_teacher_did() -> None:
    known = forecast("{metric: latency, stat: p50, max: 50%}")
    assert known is not None
    whole = known.cost(WHOLE)
    assert whole["latency_p50"].value == pytest.approx(1.02 * 2.0, rel=0.01)
    assert whole["params"].value == WHOLE.params
    narrow = PLANNER.count(some_decisions(1, 3)[0])
    assert known.cost(narrow)["latency_p50"].value < whole["latency_p50"].value


def test_it_learns_what_a_device_is_like() -> None:
    known = forecast("{metric: latency, stat: p50, max: 50%}")
    assert known is not None
    unseen = [PLANNER.count(decision) for decision in some_decisions(20, seed=1)]

    def worst() -> float:
        ratios = [known.cost(c)["latency_p50"].value / 1.02 / latency(c) for c in unseen]
        return max(abs(ratio - 1) for ratio in ratios)

    before = worst()
    learned = [measured(d, latency(PLANNER.count(d))) for d in some_decisions(10, seed=2)]
    known.fit(learned, PLANNER.count)
    assert worst() < 0.05 < before
    known.fit([], PLANNER.count)
    assert worst() == pytest.approx(before), "and from no others than it was given"


def test_a_smaller_network_is_never_forecast_to_cost_more() -> None:
    known = forecast("{metric: latency, stat: p50, max: 50%}")
    assert known is not None
    # readings that say the opposite: the less there is, the longer it takes
    known.fit(
        [measured(d, 4.0 - latency(PLANNER.count(d))) for d in some_decisions(10, seed=2)],
        PLANNER.count,
    )
    _, channels = PLANNER.left(frozenset())
    forecasts = []
    for denominator in (1, 2, 4, 8):
        widths = {
            group.name: max(1, group.width // denominator)
            for group in channels.groups.values()
            if not group.frozen
        }
        counts = PLANNER.count(Decision(widths=widths))
        forecasts.append(known.cost(counts)["latency_p50"].value)
    assert forecasts == sorted(forecasts, reverse=True)


def test_what_counts_is_the_ratio_to_the_teacher_beside() -> None:
    decisions = some_decisions(8, seed=2)
    steady = [measured(d, latency(PLANNER.count(d)), teacher=2.0) for d in decisions]
    slowed = [measured(d, 3 * latency(PLANNER.count(d)), teacher=6.0) for d in decisions]
    said = []
    for readings in (steady, slowed):
        known = forecast("{metric: latency, stat: p50, max: 50%}")
        assert known is not None
        known.fit(readings, PLANNER.count)
        said.append(known.cost(PLANNER.count(decisions[0]))["latency_p50"].value)
    assert said[0] == pytest.approx(said[1])


def test_nothing_is_learned_from_a_reading_of_nothing() -> None:
    nothing = {"power_avg_net": Reading(0.0, "measured")}
    row = "{metric: power, scope: net, max: 5W}"
    assert forecast_for(small.budget(row).resolve(nothing), COUNTED, WHOLE, nothing) is None
    known = forecast("{metric: latency, stat: p50, max: 50%}")
    assert known is not None
    known.fit([measured(NOTHING, 0.0), measured(NOTHING, 2.0, teacher=0.0)], PLANNER.count)
    assert known.cost(WHOLE)["latency_p50"].value == pytest.approx(1.02 * 2.0, rel=0.01)


def test_the_margin_covers_most_of_what_was_measured() -> None:
    known = forecast("{metric: latency, stat: p50, max: 50%}")
    assert known is not None
    generator = random.Random(5)
    noisy = [
        measured(d, latency(PLANNER.count(d)) * generator.uniform(0.8, 1.2))
        for d in some_decisions(40, seed=2)
    ]
    known.fit(noisy, PLANNER.count)
    covered = [
        c.cost["latency_p50"]["value"]
        <= known.cost(PLANNER.count(Decision.from_json(c.decision)))["latency_p50"].value
        for c in noisy
    ]
    assert 0.7 < sum(covered) / len(covered) < 0.9


Make = Callable[..., Workbench]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    made: list[Workbench] = []

    def build(*rows: str, **changes: Any) -> Workbench:
        bench = small.workbench(tmp_path / f"run{len(made)}", *rows, **changes)
        made.append(bench)
        return bench

    yield build
    for bench in made:
        bench.ledger.close()


def test_a_search_finds_the_widths_that_a_latency_allows(make: Make, tmp_path: Path) -> None:
    limit = "{metric: latency, stat: p50, max: 45%}"
    shares = {}
    for name, on in (("with", True), ("without", False)):
        bench = make(limit, strategy="evolution", forecast=on, removal__updates=4)
        small.search(bench, tmp_path)
        rows = [c for c in bench.ledger.candidates() if c.stage == "evolution"]
        shares[name] = sum(c.satisfied for c in rows) / len(rows)
    assert shares["with"] > shares["without"] and shares["with"] >= 0.5


def test_anchors_are_tried_until_one_is_just_inside(make: Make, tmp_path: Path) -> None:
    no_search = {"removal__updates": 0, "shrinkage__updates": 0}
    bench = make("{metric: latency, stat: p50, max: 45%}", refits=0, **no_search)
    small.search(bench, tmp_path)
    anchors = bench.ledger.candidates("anchor")
    assert [c.iteration for c in anchors] == list(range(len(anchors))) and 1 < len(anchors) <= 4
    assert all(c.decision["removed"] == [] and c.decision["widths"] for c in anchors)
    assert all(c.state is State.SKIPPED for c in anchors if not c.satisfied)
    limit = 0.45 * bench.teacher_cost["latency_p50"].value
    assert 0.85 * limit <= anchors[-1].cost["latency_p50"]["value"] <= limit


def test_what_can_be_counted_has_one_anchor(make: Make, tmp_path: Path) -> None:
    bench = make("{metric: params, max: 40%}", removal__updates=0, shrinkage__updates=0)
    assert bench.evaluator.fitter.forecast is None and bench.evaluator.fitter.scales
    small.search(bench, tmp_path)
    assert len(bench.ledger.candidates()) == 1


def test_where_all_limits_are_scaled_to_a_narrow_decision_fills_the_budget(make: Make) -> None:
    rows = "{metric: params, max: 40%}", "{metric: latency, stat: p50, max: 90%}"
    narrow = Decision(widths={"conv1": 2, "conv2": 2, "conv3": 2, "fc1": 2})
    bench = make(*rows)
    assert bench.evaluator.fitter.fills
    whole = bench.planner.count(NOTHING).params
    filled = bench.planner.count(bench.evaluator.fitter.fitted(narrow)).params
    assert 0.3 * whole < filled <= 0.4 * whole

    # a latency that nobody forecasts must be met by what the decision says itself
    bench = make(*rows, forecast=False)
    assert bench.evaluator.fitter.scales and not bench.evaluator.fitter.fills
    assert bench.evaluator.fitter.fitted(narrow) == narrow


def test_what_no_width_is_forecast_to_meet_is_measured_all_the_same(make: Make) -> None:
    bench = make("{metric: latency, stat: p50, max: 1ns}")
    proposal = Proposal(decision=NOTHING, place=Place("removal", 0, 0))
    (row,) = bench.evaluator.evaluate([proposal], epsilon=0.0)
    assert row.state is State.SKIPPED and "latency_p50" in row.cost
    assert set(row.decision["widths"].values()) == {1}


def test_a_run_off_trains_the_networks_that_it_is_given(make: Make) -> None:
    bench = make("{metric: latency, stat: p50, max: 45%}")
    place, chosen = Place("runoff", 0, 0), Decision(widths={"conv1": 5, "conv2": 8, "conv3": 6})
    (row,) = bench.evaluator.evaluate(
        [Proposal(decision=chosen, place=place)], epsilon=0.0, epochs=2
    )
    assert Decision.from_json(row.decision) == chosen


class OfImages(small.CalmTarget):
    """Tells images per second, too."""

    def measure(self, model, input_shape, columns, protocol=small.FULL):  # type: ignore[no-untyped-def]
        columns = list(columns)
        cost = dict(super().measure(model, input_shape, [*columns, "latency_p50"], protocol))
        cost["throughput"] = Reading(1 / cost["latency_p50"].value, "measured")
        return {name: cost[name] for name in columns if name in cost}


def test_throughput_is_scaled_to_as_the_latency_of_an_image_is(make: Make) -> None:
    shares = {}
    for name, limit in (
        ("seconds", "{metric: latency, stat: p50, max: 25%}"),
        ("images", "{metric: throughput, min: 400%}"),
    ):
        bench = make("{metric: params, max: 60%}", limit, target=OfImages(), removal__updates=0)
        assert bench.evaluator.fitter.fills
        small.search(bench, bench.ledger.path.parent)
        rows = bench.ledger.candidates()
        shares[name] = [c.satisfied for c in rows]
        used = [c.cost["params"]["value"] for c in rows if c.satisfied]
        assert len(set(used)) > 1
    assert shares["images"] == shares["seconds"] and all(shares["images"][-5:])


def test_a_row_that_only_a_measurement_tells_leaves_decisions_their_size(make: Make) -> None:
    images = "{metric: throughput, scale: 1/s}"
    mixed = "{sum: [" + images + ", {metric: params, scale: 1}], min: 1000}"
    bench = make("{metric: params, max: 60%}", mixed, target=OfImages())
    assert bench.evaluator.fitter.scales and not bench.evaluator.fitter.fills


class Halved(small.CalmTarget):
    """Weights of two bytes."""

    precision = "fp16"

    def measure(self, model, input_shape, columns, protocol=small.FULL):  # type: ignore[no-untyped-def]
        cost = dict(super().measure(model, input_shape, columns, protocol))
        if "weight_bytes" in cost:
            cost["weight_bytes"] = Reading(cost["weight_bytes"].value / 2, "exact")
        return cost


def test_bytes_in_half_precision_are_forecast_and_used_up(make: Make) -> None:
    bench = make(
        "{metric: weight_bytes, max: 40%}",
        "{metric: latency, stat: p50, max: 95%}",
        target=Halved(),
        refits=2,
    )
    proposal = Proposal(decision=NOTHING, place=Place("removal", 0, 0))
    (row,) = bench.evaluator.evaluate([proposal], epsilon=0.0)
    limit = 0.4 * bench.teacher_cost["weight_bytes"].value
    assert 0.8 * limit < row.cost["weight_bytes"]["value"] <= limit
