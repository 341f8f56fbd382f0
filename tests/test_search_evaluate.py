"""One candidate: what is found out before training, what is trained, what stands in its row."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import small
import torch
from fakes import Bench
from torch import nn

from hwn2n.budget.cost import Reading, cost_from_json
from hwn2n.distil.feed import DivergedError
from hwn2n.errors import MeasurementError
from hwn2n.hardware.counts import count
from hwn2n.hardware.measurement import FULL
from hwn2n.network.capture import capture
from hwn2n.network.counts import count as count_graph
from hwn2n.network.decision import NOTHING, Decision
from hwn2n.network.depth import depth
from hwn2n.run.candidate import State
from hwn2n.run.folder import RunFolder
from hwn2n.search.assemble import Workbench, assemble
from hwn2n.search.proposals import ANCHOR, Place, Proposal
from hwn2n.search.reward import expected_accuracy, reward
from hwn2n.search.workshop import PHASES, SET_UP

NARROW = Decision(widths={"conv1": 4, "conv2": 4, "conv3": 3})
"""36 + 8 + 148 + 111 + 12 = 315 parameters of the teacher's 1,131."""


Make = Callable[..., Bench]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    made: list[Workbench] = []

    def build(*rows: str, target: small.CalmTarget | None = None, **changes: Any) -> Bench:
        how = {"project": False, "anchor": False, **changes}
        bench = assemble(
            teacher=small.small_teacher(),
            data=small.small_data(),
            budget=small.budget(*rows),
            target=target or small.CalmTarget(),
            settings=small.settings(**how),
            folder=RunFolder.create(tmp_path / f"run{len(made)}"),
        )
        made.append(bench)
        return Bench(bench)

    yield build
    for bench in made:
        bench.ledger.close()


def test_inside_the_budget_is_trained(make: Make) -> None:
    limits = "{metric: params, max: 40%}", "{metric: latency, stat: p50, max: 90%}"
    bench = make(*limits, activations_weight=0.5, size_weight=0.25, depth_weight=0.75)
    row, counts = bench(NARROW), count_graph(bench.evaluator.planner.plan(NARROW))
    assert (row.state, row.satisfied, row.reason, row.same_as) == (State.TRAINED, True, None, None)
    assert row.actions == (1, 2)
    assert Decision.from_json(row.decision) == NARROW
    assert row.accuracy is not None
    assert row.reward == row.terms["base"]
    whole = count_graph(bench.evaluator.planner.teacher)
    size = counts.params / whole.params
    deep = depth(bench.evaluator.planner.plan(NARROW)) / 4  # three convolutions and a classifier
    promise = (counts.elements / whole.elements) ** 0.5 * size**0.25 * deep**0.75
    assert row.expected == expected_accuracy(row.accuracy, promise, 1.0) < row.accuracy
    assert row.reward == row.expected / bench.evaluator.rows.teacher_accuracy
    assert set(PHASES) - {SET_UP} == set(row.seconds)
    assert bench.evaluator.ledger.candidates() == [row]


def test_size_is_a_share_of_the_anchors(make: Make) -> None:
    bench = make("{metric: params, max: 90%}", size_weight=0.5)
    evaluator = bench.evaluator
    for place, widths in ((ANCHOR, {"conv1": 4}), (Place("removal", 0, 0), {"conv1": 2})):
        proposal = Proposal(decision=Decision(widths=widths), place=place, actions=())
        list(evaluator.evaluate([proposal], epsilon=0.0))
    anchor, row = evaluator.ledger.candidates()
    assert anchor.accuracy is not None and anchor.expected == anchor.accuracy
    share = row.cost["params"]["value"] / anchor.cost["params"]["value"]
    assert row.accuracy is not None and share != 1.0
    assert row.expected == expected_accuracy(row.accuracy, share**0.5, 1.0)


@pytest.mark.parametrize(
    ("rows", "formula"),
    [(("{metric: params, max: 40%}",), "paper"), ((), "paper"), ((), "accuracy")],
)
def test_by_the_papers_reward_or_without_a_budget_small_ones_earn_more(
    make: Make, rows: tuple[str, ...], formula: str
) -> None:
    bench = make(*rows, formula=formula)
    row = bench(NARROW)
    assert row.accuracy is not None and row.satisfied
    C = 1 - row.cost["params"]["value"] / bench.evaluator.rows.teacher.params
    assert row.reward == reward(row.accuracy, bench.evaluator.rows.teacher_accuracy, C)


def test_costs_are_those_of_the_student_that_was_trained(make: Make) -> None:
    bench = make("{metric: latency, stat: p50, max: 10s}")
    row = bench(NARROW)
    counts = count(bench.trained[0], torch.zeros(1, *small.SHAPE))
    cost = cost_from_json(row.cost)
    for name in ("params", "flops", "weight_bytes"):
        assert cost[name].value == getattr(counts, name)
    measured = small.CalmTarget().measure(bench.trained[0], small.SHAPE, ["latency_p50"])
    assert cost["latency_p50"] == measured["latency_p50"]


def test_illegal_earns_minus_one_without_training(make: Make) -> None:
    bench = make()
    row = bench(Decision(removed=frozenset({"classifier"})), epsilon=1.0)
    assert (row.state, row.reward, row.accuracy) == (State.ILLEGAL, -1.0, None)
    assert row.reason and "classifier" in row.reason
    assert not bench.trained and not row.cost and row.key is None


def test_nothing_left_to_train_is_illegal(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    class Pooling(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.mean((2, 3))

    bench = make()
    empty = capture(Pooling(), small.SHAPE).architecture
    monkeypatch.setattr(bench.evaluator.planner, "plan", lambda decision: empty)
    row = bench(NARROW, epsilon=1.0)
    assert (row.state, row.reason) == (State.ILLEGAL, "nothing is left to train")
    assert row.cost["params"]["value"] == 0 and not bench.trained


def test_outside_what_can_be_counted_is_neither_measured_nor_trained(make: Make) -> None:
    target = small.CalmTarget()
    bench = make(
        "{metric: params, max: 40%}", "{metric: latency, stat: p50, max: 90%}", target=target
    )
    before = target.measured
    row = bench(NOTHING, epsilon=0.0)
    assert (row.state, row.satisfied) == (State.SKIPPED, False)
    violation = (1131 - 0.4 * 1131) / (0.4 * 1131)  # 1.5
    assert row.terms["violation"] == pytest.approx(violation)
    assert row.reward == pytest.approx(-1 + 0.5 / (1 + violation))
    assert row.reason is not None
    assert row.reason == "outside the budget: params <= 40% of the teacher"  # of no file or line
    assert not bench.trained and target.measured == before
    assert "latency_p50" not in row.cost and row.cost["params"]["value"] == 1131


def test_a_copy_of_what_was_skipped_is_not_measured_again_after_a_resume(make: Make) -> None:
    """Two of one batch are one network outside; that a process ended between them tells nothing."""
    target = small.CalmTarget()
    bench = make("{metric: latency, stat: p50, max: 1us}", target=target)
    both = [Proposal(decision=NARROW, place=Place("shrinkage", 0, i)) for i in range(2)]
    first = next(iter(bench.evaluator.evaluate(both, epsilon=0.0)))
    before = target.measured
    again = list(bench.evaluator.evaluate(both, epsilon=0.0))
    assert [row.same_as for row in again] == [None, first.id] and again[0] == first
    assert target.measured == before


def test_outside_what_is_measured_is_not_trained(make: Make) -> None:
    bench = make("{metric: params, max: 99%}", "{metric: latency, stat: p50, max: 1us}")
    row = bench(NARROW)
    assert row.state is State.SKIPPED
    latency = row.cost["latency_p50"]["value"]
    assert row.reward == pytest.approx(-1 + 0.5 / (1 + (latency - 1e-6) / 1e-6))
    assert row.reason is not None and "latency_p50 <= 1us" in row.reason
    assert row.cost["latency_p50"]["value"] > 1e-6 and not bench.trained


def test_while_the_budget_does_not_count_in_full_it_is_trained(make: Make) -> None:
    bench = make("{metric: params, max: 20%}", near_miss=0.0)
    row = bench(NARROW, epsilon=0.5)
    assert (row.state, row.satisfied) == (State.TRAINED, False)
    assert row.reward == 0.5 * (row.terms["base"] + 1) - 1
    assert len(bench.trained) == 1


def test_larger_than_the_teacher_is_not_trained(make: Make) -> None:
    bench = make()
    rows = bench.evaluator.rows
    rows.teacher = replace(rows.teacher, params=314)
    row = bench(NARROW, epsilon=1.0)
    assert (row.state, row.reward) == (State.SKIPPED, -1.0)
    assert row.reason == "it has more parameters than the teacher"


def test_the_same_network_is_not_trained_twice(make: Make) -> None:
    target = small.CalmTarget()
    bench = make("{metric: latency, stat: p50, max: 10s}", target=target)
    first = bench(NARROW)
    measured = target.measured
    again = bench(replace(NARROW, kernels={"conv1": (3, 3)}), epsilon=0.3)
    assert (again.state, again.same_as, again.key) == (State.REUSED, first.id, first.key)
    assert (again.accuracy, again.reward, again.cost) == (first.accuracy, first.reward, first.cost)
    assert len(bench.trained) == 1 and target.measured == measured
    third = bench(NARROW)
    assert third.same_as == first.id, "of the one that was trained, not of the one that reused it"


def test_fresh_weights_share_across_names_and_inherited_do_not(make: Make) -> None:
    first, second = Decision(removed=frozenset({"conv2"})), Decision(removed=frozenset({"pool"}))
    for weights, differs in (("inherit", True), ("fresh", False)):
        evaluator = make(weights=weights).evaluator
        planner = evaluator.planner
        keys = {evaluator.key(planner.plan(decision)) for decision in (first, second)}
        assert len(keys) == 2
        same = planner.plan(first)
        renamed = replace(
            same,
            operations=tuple(
                replace(op, name=f"other.{op.name}", inputs=tuple(_other(n) for n in op.inputs))
                for op in same
            ),
            output=f"other.{same.output}",
        )
        assert (evaluator.key(renamed) != evaluator.key(same)) is differs


def _other(name: str) -> str:
    return name if name.startswith("<") else f"other.{name}"


def test_a_place_is_evaluated_once(make: Make) -> None:
    bench = make()
    place = Place("removal", 4, 2)
    one = Proposal(decision=NARROW, place=place, actions=(1,))
    two = Proposal(decision=NOTHING, place=place, actions=(0,))
    [first] = bench.evaluator.evaluate([one], epsilon=0.0)
    [other] = bench.evaluator.evaluate([two], epsilon=1.0)
    assert other == first and len(bench.trained) == 1


def test_accuracy_rows_do_not_steer_the_search(make: Make) -> None:
    bench = make("{metric: accuracy, min: 100%}", "{metric: params, max: 40%}")
    row = bench(NARROW)
    assert (row.state, row.satisfied) == (State.TRAINED, True)
    assert [r.column for r in bench.evaluator.constraints.rows] == ["params"]
    assert len(bench.bench.limits.at_first.rows) == 2, "they judge the trained student"


def test_a_training_that_diverges_is_illegal(make: Make) -> None:
    bench = make()

    def diverge(student: nn.Module, **how: Any) -> Any:
        raise DivergedError("the loss must be finite, but is NaN")

    bench.bench.school.train_briefly = diverge  # type: ignore[method-assign]
    row = bench(NARROW)
    assert (row.state, row.reward, row.accuracy) == (State.ILLEGAL, -1.0, None)
    assert row.reason == "the loss must be finite, but is NaN"
    assert not row.satisfied and row.cost["params"]["value"] == 315


def test_a_training_that_diverged_is_not_tried_again(make: Make) -> None:
    """With the same seed it would diverge again."""
    bench, tried = make(), []

    def diverge(student: nn.Module, **how: Any) -> Any:
        tried.append(how["seed"])
        raise DivergedError("the loss must be finite, but is NaN")

    bench.bench.school.train_briefly = diverge  # type: ignore[method-assign]
    first, *others = (bench(NARROW) for _ in range(3))
    assert len(tried) == 1
    for row in others:
        assert (row.state, row.reward, row.same_as) == (State.ILLEGAL, -1.0, first.id)
        assert row.reason == first.reason


def test_really_diverging(make: Make) -> None:
    row = make(train__lr=1e30, train__optimizer="sgd")(NARROW)
    assert row.state is State.ILLEGAL and row.reason and "finite" in row.reason


def test_a_column_that_is_not_measured_is_never_zero(make: Make) -> None:
    class Forgetful(small.CalmTarget):
        def measure(
            self, model: nn.Module, input_shape: Any, columns: Any, protocol: Any = FULL
        ) -> Any:
            cost = dict(super().measure(model, input_shape, columns, protocol))
            if isinstance(model, torch.fx.GraphModule):
                cost.pop("latency_p50", None)
            return cost

    limit = "{metric: latency, stat: p50, max: 90%}"
    bench = make(limit, target=Forgetful(), align=False)
    with pytest.raises(MeasurementError, match="calm must measure latency_p50 of every candidate"):
        bench(NARROW)
    assert bench.evaluator.ledger.candidates() == []

    with pytest.raises(MeasurementError, match="calm must measure latency_p50 of every candidate"):
        make(limit, target=Forgetful())


def test_a_candidate_depends_on_nothing_before_it(make: Make) -> None:
    """Neither on the global generators nor on the candidates that were trained first."""
    alone = make("{metric: latency, stat: p50, max: 90%}")(NARROW)
    bench = make("{metric: latency, stat: p50, max: 90%}")
    torch.manual_seed(99)
    state = torch.random.get_rng_state()
    bench(Decision(widths={"conv1": 5}))
    assert torch.equal(torch.random.get_rng_state(), state), "the caller's numbers were drawn"
    after = bench(NARROW)
    skip = {"id", "rollout"}
    rows = [{k: v for k, v in c.comparable().items() if k not in skip} for c in (alone, after)]
    assert rows[0] == rows[1]


def test_projection_brings_a_decision_inside(make: Make) -> None:
    bench = make("{metric: params, max: 40%}", project=True)
    row = bench(NOTHING)
    assert row.satisfied and row.cost["params"]["value"] <= 0.4 * 1131
    assert set(row.decision["widths"]) == {"conv1", "conv2", "conv3"}


def test_bytes_of_half_precision_are_the_targets_to_tell(make: Make) -> None:
    class Half(small.CalmTarget):
        precision = "bf16"

        def measure(
            self, model: nn.Module, input_shape: Any, columns: Any, protocol: Any = FULL
        ) -> Any:
            cost = dict(super().measure(model, input_shape, columns, protocol))
            if "weight_bytes" in cost:
                cost["weight_bytes"] = Reading(cost["weight_bytes"].value / 2)
            return cost

    whole, half = (
        make("{metric: weight_bytes, max: 1kB}"),
        make("{metric: weight_bytes, max: 1kB}", target=Half()),
    )
    assert whole.evaluator.counted == ("params", "flops", "weight_bytes")
    assert half.evaluator.counted == ("params", "flops")
    sizes = [bench(NARROW).cost["weight_bytes"]["value"] for bench in (whole, half)]
    assert sizes[0] == 2 * sizes[1] > 0
