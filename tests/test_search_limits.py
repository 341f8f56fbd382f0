"""Limits that are shares of the teacher's measured values, on a machine whose speed drifts."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import small
from fakes import Bench
from torch import nn

from hwn2n.budget.cost import Cost, Reading, cost_from_json
from hwn2n.budget.judgement import Verdict
from hwn2n.hardware.measurement import FULL, Beside, MeasurementProtocol
from hwn2n.network.decision import Decision
from hwn2n.run.candidate import State
from hwn2n.run.folder import RunFolder, read_json
from hwn2n.run.stop import Stop
from hwn2n.search.assemble import Workbench, assemble
from hwn2n.search.choose import choose
from hwn2n.search.limits import Limits

NARROW = Decision(widths={"conv1": 4, "conv2": 4, "conv3": 3})
NARROWER = Decision(widths={"conv1": 2, "conv2": 2, "conv3": 2})


class DriftingTarget(small.CalmTarget):
    """A calm target whose every latency is `slower` times as long, by 1 % either way unsure."""

    name = "drifting"

    def __init__(self, slower: float = 1.0) -> None:
        super().__init__()
        self.slower = slower

    def measure(
        self,
        model: nn.Module,
        input_shape: tuple[int, ...],
        columns: Iterable[str],
        protocol: MeasurementProtocol = FULL,
    ) -> Cost:
        cost = dict(super().measure(model, input_shape, columns, protocol))
        if "latency_p50" in cost:
            seconds = self.slower * cost["latency_p50"].value
            cost["latency_p50"] = Reading(seconds, "measured", 0.99 * seconds, 1.01 * seconds)
        return cost


Make = Callable[..., Bench]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    made: list[Workbench] = []

    def build(target: DriftingTarget, *rows: str, **changes: Any) -> Bench:
        bench = assemble(
            teacher=small.small_teacher(),
            data=small.small_data(),
            budget=small.budget(*rows),
            target=target,
            settings=small.settings(project=False, anchor=False, **changes),
            folder=RunFolder.create(tmp_path / f"run{len(made)}"),
        )
        made.append(bench)
        return Bench(bench)

    yield build
    for bench in made:
        bench.ledger.close()


RELATIVE = "{metric: latency, stat: p50, max: 90%}"
COMBINED = "{sum: [{metric: latency, stat: p50, scale: 100%}, {metric: energy, scale: 1J}], max: 1}"


@pytest.mark.parametrize(
    ("beside", "state", "satisfied"),
    [(True, State.TRAINED, True), (False, State.SKIPPED, False)],
)
def test_a_candidate_is_judged_beside_the_teacher(
    make: Make, beside: bool, state: State, satisfied: bool
) -> None:
    target = DriftingTarget()
    bench = make(target, RELATIVE, teacher_beside=beside)
    at_first = bench.bench.teacher_cost["latency_p50"].value
    target.slower = 3.0
    row = bench(NARROW)
    assert row.cost["latency_p50"]["value"] > 0.9 * at_first
    assert (row.state, row.satisfied) == (state, satisfied)
    taken = {"latency_p50": Reading(3 * at_first, "measured", 2.97 * at_first, 3.03 * at_first)}
    assert cost_from_json(row.teacher) == (pytest.approx(taken) if beside else {})


def test_a_machine_that_gets_faster_lets_nothing_slip_through(make: Make) -> None:
    target = DriftingTarget()
    bench = make(target, "{metric: latency, stat: p50, max: 50%}")
    target.slower = 0.1
    row = bench(replace(NARROW, widths={"conv3": 5}))
    assert row.state is State.SKIPPED and row.reason is not None
    share = row.cost["latency_p50"]["value"] / row.teacher["latency_p50"]["value"]
    assert row.terms["violation"] == pytest.approx(share / 0.5 - 1)


def test_a_repeated_network_keeps_what_was_read_beside_it_first(make: Make) -> None:
    target = DriftingTarget()
    bench = make(target, RELATIVE)
    first = bench(NARROW)
    target.slower = 3.0
    measured = target.measured
    again = bench(NARROW)
    assert (again.state, again.same_as) == (State.REUSED, first.id)
    assert (again.cost, again.teacher, again.satisfied) == (first.cost, first.teacher, True)
    assert again.reward == first.reward and target.measured == measured


@pytest.mark.parametrize(
    ("row", "drifting"),
    [
        (RELATIVE, ("latency_p50",)),
        ("{metric: latency, stat: p50, max: 5ms}", ()),
        ("{metric: params, max: 50%}", ()),
        ("{metric: peak_memory, max: 50%}", ()),
        ("{metric: accuracy, min: -1pt}", ()),
        ("{metric: energy, max: 50%, severity: warn}", ()),
        (COMBINED, ("latency_p50",)),
    ],
)
def test_only_measured_shares_are_read_again(row: str, drifting: tuple[str, ...]) -> None:
    limits = Limits(small.budget(row), {})
    assert limits.drifting == drifting
    assert replace(limits, beside=False).drifting == ()


def test_a_short_reading_that_is_no_scale_leaves_the_first_one() -> None:
    budget = small.budget("{sum: [{metric: power, scope: net, scale: 50%}], max: 1}")
    limits = Limits(budget, {"power_avg_net": Reading(4.0)})
    assert limits.given({"power_avg_net": Reading(-0.01)}) == limits.at_first
    [row] = limits.given({"power_avg_net": Reading(2.0)}).rows
    assert row.coefficients == {"power_avg_net": 1.0}


def test_the_limit_is_as_uncertain_as_the_teacher() -> None:
    limits = Limits(small.budget(RELATIVE), {"latency_p50": Reading(7.0, "measured")})
    teacher = {"latency_p50": Reading(10.0, "measured", 9.0, 11.0)}  # 90 %: 8.1 to 9.9

    def verdict(low: float, high: float) -> Verdict:
        value = Reading((low + high) / 2, "measured", low, high)
        [judged] = limits.judge({"latency_p50": value}, Beside({}, teacher))
        assert (judged.limit_low, judged.limit_high) == (pytest.approx(8.1), pytest.approx(9.9))
        return judged.verdict

    assert verdict(7.0, 8.0) is Verdict.PASS
    assert verdict(8.0, 8.5) is Verdict.INCONCLUSIVE
    assert verdict(10.0, 11.0) is Verdict.VIOLATED
    [judged] = limits.judge({}, Beside({}, teacher))
    assert judged.verdict is Verdict.UNAVAILABLE


def test_what_was_read_in_turns_is_as_uncertain_as_its_ratio() -> None:
    limits = Limits(small.budget(RELATIVE), {"latency_p50": Reading(7.0, "measured")})
    cost = {"latency_p50": Reading(8.0, "measured", 5.0, 12.0)}
    teacher = {"latency_p50": Reading(10.0, "measured", 6.0, 15.0)}

    def judged(low: float, high: float) -> tuple[Verdict, float | None, float | None]:
        [row] = limits.judge(cost, Beside(cost, teacher, {"latency_p50": (low, high)}))
        assert (row.limit, row.limit_low, row.value) == (9.0, None, 8.0)
        return row.verdict, row.low, row.high

    assert judged(0.78, 0.82) == (Verdict.PASS, pytest.approx(7.8), pytest.approx(8.2))
    assert judged(0.78, 0.91)[0] is Verdict.INCONCLUSIVE
    absolute = Limits(small.budget("{metric: latency, stat: p50, max: 9s}"), {})
    [row] = absolute.judge(cost, Beside(cost, teacher, {"latency_p50": (0.78, 0.82)}))
    assert (row.verdict, row.low, row.high) == (Verdict.INCONCLUSIVE, 5.0, 12.0)


def test_the_winner_is_measured_beside_the_teacher(make: Make) -> None:
    target = DriftingTarget()
    bench = make(target, RELATIVE)
    rows = [bench(NARROW), bench(NARROWER)]
    target.slower = 4.0
    folder = RunFolder(bench.evaluator.ledger.path.parent)
    evaluator = bench.evaluator
    chosen = choose(evaluator.ledger, evaluator.planner, evaluator, folder, Stop())
    best = max(rows, key=lambda row: (row.accuracy or 0.0, row.reward))
    assert chosen.candidate.id == best.id


def test_the_result_compares_readings_of_the_same_minute(tmp_path: Path) -> None:
    class Slowing(DriftingTarget):
        """Twice as slow from the end of the search on, which measures fewer columns."""

        def measure(self, model, input_shape, columns, protocol=FULL):  # type: ignore[no-untyped-def]
            columns = list(columns)
            self.slower = 2.0 if self.measured > 1 and "params" in columns else 1.0
            return super().measure(model, input_shape, columns, protocol)

    result = small.compress(tmp_path / "run", target=Slowing())
    first = read_json(tmp_path / "run" / "teacher.json")["latency_p50"]["value"]
    teacher = result.teacher["cost"]["latency_p50"]
    assert teacher["value"] == pytest.approx(2 * first)
    row = next(row for row in result.rows if row["column"] == "latency_p50")
    assert row["limit"] == pytest.approx(0.9 * teacher["value"])
    ends = [pytest.approx(0.9 * teacher[name]) for name in ("low", "high")]
    assert [row["limit_low"], row["limit_high"]] == ends
    assert row["value"] == result.student["cost"]["latency_p50"]["value"]
    assert row["verdict"] == "pass"


def test_rows_that_a_reading_does_not_answer_say_nothing_of_its_headroom() -> None:
    limits = Limits(small.budget("{sum: [{metric: latency, stat: p50, scale: 2s}], max: 1}"), {})
    assert limits.known_headroom({"latency_p50": Reading(1.0)}, {}) == pytest.approx(0.5)
    assert limits.known_headroom({"params": Reading(1.0)}, {}) == math.inf
    assert limits.headroom({"params": Reading(1.0)}, {}) == -math.inf
