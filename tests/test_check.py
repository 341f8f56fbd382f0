"""Verdicts on rows, by hand; the check as a function, on a target that reads what it is told."""

from __future__ import annotations

from typing import Any

import pytest
from told import MEASURED, SHAPE, Told, budget, latency, net
from torch import nn

import hwn2n
from hwn2n.budget.cost import Reading
from hwn2n.budget.judgement import Verdict
from hwn2n.budget.load import load_budget
from hwn2n.budget.verdict import judge, judge_open, judge_rows, verdict_of
from hwn2n.errors import InputError, MeasurementError
from hwn2n.hardware.measurement import Beside

PARAMS = {"metric": "params", "max": 100}
BAD_PARAMS = {"metric": "params", "max": 10}
ENERGY = {"metric": "energy", "max": "1J"}
UNSURE = latency(max="11ms")


def verdict(row: dict[str, Any], **readings: Reading) -> Any:
    [resolved] = load_budget(budget(row)).resolve({}).rows
    return judge(resolved, readings)


def relative(row: dict[str, Any], cost: dict[str, Reading], teacher: dict[str, Reading]) -> Any:
    [opened] = load_budget(budget(row)).rows
    return judge_open(opened, cost, teacher)


def ms(value: float, low: float | None = None, high: float | None = None) -> Reading:
    ends = [None if end is None else end / 1000 for end in (low, high)]
    return Reading(value / 1000, "measured", *ends)


# --- one row -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({"max": "12ms"}, Verdict.PASS),  # the whole interval, its end included
        ({"max": "11ms"}, Verdict.INCONCLUSIVE),
        ({"max": "9ms"}, Verdict.INCONCLUSIVE),
        ({"max": "8.9ms"}, Verdict.VIOLATED),
        ({"max": "11ms", "tolerance": "10%"}, Verdict.PASS),  # up to 12.1 ms
        ({"min": "9ms"}, Verdict.PASS),
        ({"min": "10ms"}, Verdict.INCONCLUSIVE),
        ({"min": "12.1ms"}, Verdict.VIOLATED),
    ],
)
def test_measured_values_are_judged_by_their_interval(
    limits: dict[str, Any], expected: Verdict
) -> None:
    found = verdict(latency(**limits), latency_p50=MEASURED)
    assert found.verdict is expected
    assert (found.low, found.value, found.high) == (0.009, 0.010, 0.012)
    assert (found.how, found.confidence) == ("measured", 0.95)
    assert found.value_text == "10.0ms [9.00ms, 12.0ms]"


def test_exact_values_have_no_interval() -> None:
    found = verdict({"metric": "params", "max": "1k"}, params=Reading(1000))
    assert (found.verdict, found.low, found.high, found.how) == (Verdict.PASS, None, None, "exact")
    assert verdict({"metric": "params", "max": "999"}, params=Reading(1000)).headroom == (
        pytest.approx(-1 / 999)
    )


def test_a_sum_has_the_sum_of_the_intervals() -> None:
    row = {
        "id": "both",
        "sum": [
            {**latency(coef=2.0, scale="10ms")},
            {"metric": "params", "coef": -1.0, "scale": "1k"},
        ],
        "max": 1.5,
    }
    found = verdict(row, latency_p50=MEASURED, params=Reading(500))
    assert found.value == pytest.approx(2.0 - 0.5)
    assert (found.low, found.high) == (pytest.approx(1.8 - 0.5), pytest.approx(2.4 - 0.5))
    assert (found.verdict, found.how) == (Verdict.INCONCLUSIVE, "measured")
    assert found.limit_text == "<= 1.5"
    assert (found.metric, found.column) == ("both", None)
    assert found.columns == ("latency_p50", "params")


@pytest.mark.parametrize(
    ("limits", "value", "expected"),
    [
        # The teacher takes 10 to 12 ms, so half of it is 5 to 6 ms.
        ({"max": "50%"}, ms(4.9, 4.8, 5.0), Verdict.PASS),
        ({"max": "50%"}, ms(4.9, 4.8, 5.1), Verdict.INCONCLUSIVE),
        ({"max": "50%"}, ms(5.5), Verdict.INCONCLUSIVE),  # exact, but the limit is not
        ({"max": "50%"}, ms(6.2, 6.0, 6.4), Verdict.INCONCLUSIVE),
        ({"max": "50%"}, ms(6.2, 6.1, 6.4), Verdict.VIOLATED),
        ({"max": "50%", "tolerance": "10%"}, ms(5.4, 5.3, 5.5), Verdict.PASS),
        ({"min": "50%"}, ms(6.2, 6.0, 6.4), Verdict.PASS),
        ({"min": "50%"}, ms(5.9, 5.5, 6.4), Verdict.INCONCLUSIVE),
        ({"min": "50%"}, ms(4.8, 4.6, 4.9), Verdict.VIOLATED),
    ],
)
def test_a_limit_from_a_measured_teacher_is_uncertain_too(
    limits: dict[str, Any], value: Reading, expected: Verdict
) -> None:
    found = relative(latency(**limits), {"latency_p50": value}, {"latency_p50": ms(11, 10, 12)})
    assert found.verdict is expected
    assert found.limit == pytest.approx(0.0055)
    assert (found.limit_low, found.limit_high) == (pytest.approx(0.005), pytest.approx(0.006))


@pytest.mark.parametrize(
    ("coef", "limit", "expected"),
    [
        # 6 ms of 10 to 12 ms is 0.5 to 0.6 of the teacher, which one parameter is added to.
        (1.0, {"max": 1.61}, Verdict.PASS),
        (1.0, {"max": 1.55}, Verdict.INCONCLUSIVE),
        (1.0, {"max": 1.49}, Verdict.VIOLATED),
        (1.0, {"min": 1.49}, Verdict.PASS),
        (1.0, {"min": 1.55}, Verdict.INCONCLUSIVE),
        (-1.0, {"max": 0.51}, Verdict.PASS),
        (-1.0, {"max": 0.45}, Verdict.INCONCLUSIVE),
        (-1.0, {"max": 0.39}, Verdict.VIOLATED),
        (-1.0, {"min": 0.39}, Verdict.PASS),
        (-1.0, {"min": 0.51}, Verdict.VIOLATED),
    ],
)
def test_so_is_a_scale(coef: float, limit: dict[str, Any], expected: Verdict) -> None:
    row = {"sum": [latency(coef=coef, scale="100%"), {"metric": "params", "scale": "1"}], **limit}
    cost = {"latency_p50": ms(6), "params": Reading(1)}
    found = relative(row, cost, {"latency_p50": ms(11, 10, 12)})
    assert found.verdict is expected
    ends = sorted((1 + coef * 0.5, 1 + coef * 0.6))
    assert (found.low, found.high) == (pytest.approx(ends[0]), pytest.approx(ends[1]))
    assert found.value == pytest.approx(1 + coef * 6 / 11)


def test_a_scale_that_may_be_zero_is_none() -> None:
    row = {"sum": [{"metric": "power", "scope": "net", "scale": "100%"}], "max": 1}
    power = {"power_avg_net": Reading(0.5, "measured", low=-0.1, high=1.0)}
    with pytest.raises(MeasurementError, match="power_avg_net must be above zero"):
        relative(row, power, power)


@pytest.mark.parametrize(("severity", "code"), [("error", 3), ("warn", 0)])
def test_a_teacher_without_net_power_gives_no_scale(severity: str, code: int) -> None:
    net_power = {"metric": "power", "scope": "net"}
    row = {"sum": [{**net_power, "scale": "50%"}], "max": 1.0, "severity": severity}
    nothing = Reading(-0.01, "measured", -0.5, 0.5)
    target = Told(power_avg_net=nothing)
    found = hwn2n.check(
        net(), budget=budget(PARAMS, row), target=target, input_shape=SHAPE, teacher=net(3)
    )
    assert (found.rows[1].verdict, found.exit_code) == (Verdict.UNAVAILABLE, code)
    assert "the teacher's power_avg_net must be above zero to be a scale" in found.rows[1].reason
    loaded = load_budget(budget(PARAMS, row))
    if severity == "warn":
        assert loaded.resolve({"power_avg_net": nothing}).warnings == ()
    else:
        with pytest.raises(MeasurementError, match=r"a scale must be positive; found -0\.005"):
            loaded.resolve({"power_avg_net": nothing})


def test_the_verdict_on_all_rows_is_the_gravest() -> None:
    rows = (latency(max="12ms"), UNSURE, BAD_PARAMS, {**BAD_PARAMS, "severity": "warn"})
    cost = {"latency_p50": MEASURED, "params": Reading(47)}

    def of(*chosen: dict[str, Any], **known: Reading) -> Verdict:
        return verdict_of(judge_rows(load_budget(budget(*chosen)).rows, known, {}))

    assert of(*rows[:1], rows[3], **cost) is Verdict.PASS
    assert of(*rows[:2], **cost) is Verdict.INCONCLUSIVE
    assert of(*rows[:2]) is Verdict.UNAVAILABLE
    assert of(*rows, params=Reading(47)) is Verdict.VIOLATED


# --- the function ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "code"),
    [
        ([PARAMS], 0),
        ([PARAMS, UNSURE], 4),
        ([PARAMS, ENERGY], 3),
        ([UNSURE, ENERGY], 3),
        ([ENERGY, UNSURE, BAD_PARAMS], 1),
        ([PARAMS, {**BAD_PARAMS, "severity": "warn"}], 0),
        ([PARAMS, {**UNSURE, "severity": "warn"}, {**ENERGY, "severity": "warn"}], 0),
        ([PARAMS, {"metric": "accuracy", "min": "90%"}], 3),
    ],
)
def test_exit_codes(rows: list[dict[str, Any]], code: int) -> None:
    found = hwn2n.check(
        net(), budget=budget(*rows), target=Told(latency_p50=MEASURED), input_shape=SHAPE
    )
    assert found.exit_code == code
    assert found.satisfied == (code == 0)
    assert len(found.rows) == len(rows)
    assert found.to_json()["rows"][0]["verdict"] == found.rows[0].verdict.value
    assert found.budget_file is None and found.seconds > 0


def test_readings_are_wanted_at_the_highest_confidence_of_their_rows() -> None:
    target = Told(latency_p50=MEASURED, throughput=Reading(50.0))
    rows = budget(
        latency(max="12ms", confidence=0.9),
        latency(id="sure", max="12ms", confidence=0.99, severity="warn"),
        {"metric": "throughput", "min": "10/s"},
        {"sum": [latency(scale="1ms"), {"metric": "params", "scale": "1"}], "max": 900},
    )
    found = hwn2n.check(net(), budget=rows, target=target, input_shape=SHAPE)
    [protocol] = target.protocols
    assert protocol.effort == "full"
    assert protocol.confidence == {"latency_p50": 0.99, "throughput": 0.95, "params": 0.95}
    assert [row.confidence for row in found.rows] == [0.9, 0.99, 0.95, 0.95]


def test_relative_rows_need_a_teacher_and_take_its_reading() -> None:
    half = budget({"metric": "params", "max": "50%"}, {"metric": "energy", "max": "50%"})
    with pytest.raises(InputError, match=r"params <= 50% of the teacher .* give --teacher"):
        hwn2n.check(net(), budget=half, target=Told(), input_shape=SHAPE)
    teacher = nn.Sequential(nn.Flatten(), nn.Linear(16, 6))  # 102 parameters
    found = hwn2n.check(net(), budget=half, teacher=teacher, target=Told(), input_shape=SHAPE)
    params, energy = found.rows
    assert (params.value, params.limit, params.verdict) == (47, 51, Verdict.PASS)
    assert (energy.verdict, energy.reason) == (Verdict.UNAVAILABLE, "energy: not told")
    assert found.exit_code == 3


def test_a_warning_relative_to_nobody_stops_nobody() -> None:
    rows = budget(PARAMS, {"metric": "params", "max": "50%", "severity": "warn"})
    found = hwn2n.check(net(), budget=rows, target=Told(), input_shape=SHAPE)
    assert [row.verdict for row in found.rows] == [Verdict.PASS, Verdict.UNAVAILABLE]
    assert "no teacher was given: --teacher FILE" in (found.rows[1].reason or "")
    assert found.exit_code == 0


def test_a_measured_teacher_makes_rows_inconclusive() -> None:
    target = Told(latency_p50=MEASURED)  # so student and teacher are equally fast
    half = budget(latency(max="100%"))
    found = hwn2n.check(net(), budget=half, teacher=net(), target=target, input_shape=SHAPE)
    assert found.exit_code == 4
    assert found.rows[0].limit_text == "<= 10.0ms [9.00ms, 12.0ms]"
    assert target.measured[1:] == ["latency_p50", "latency_p50"]


class InTurns(Told):
    """Reads a model and its teacher in turns: 9 ms of 10, 0.88 to 0.92 of it."""

    def measure_beside(self, student, teacher, input_shape, columns, teacher_columns, protocol):
        assert list(columns) == list(teacher_columns) == ["latency_p50"]
        mine, theirs = ms(9, 8, 12), ms(10, 9, 12)
        return Beside({"latency_p50": mine}, {"latency_p50": theirs}, {"latency_p50": (0.88, 0.92)})


@pytest.mark.parametrize(
    ("limit", "expected"),
    [("95%", Verdict.PASS), ("90%", Verdict.INCONCLUSIVE), ("85%", Verdict.VIOLATED)],
)
def test_the_teacher_is_read_in_turns(limit: str, expected: Verdict) -> None:
    target = InTurns(latency_p50=MEASURED)
    rows = budget(latency(max=limit), latency(max="9.5ms"), {"metric": "params", "max": "100%"})
    found = hwn2n.check(net(), budget=rows, teacher=net(), target=target, input_shape=SHAPE)
    relative_row, absolute, params = found.rows
    assert relative_row.verdict is expected and relative_row.value == absolute.value == 0.009
    assert (relative_row.low, relative_row.high) == (pytest.approx(0.0088), pytest.approx(0.0092))
    assert absolute.verdict is Verdict.INCONCLUSIVE and params.verdict is Verdict.PASS


def test_static_only_skips_what_is_measured_and_needs_no_device() -> None:
    rows = budget(PARAMS, latency(max="50%"), {"metric": "accuracy", "min": "-1pt"})
    target = Told(latency_p50=MEASURED)
    found = hwn2n.check(net(), budget=rows, target=target, input_shape=SHAPE, static_only=True)
    assert [row.verdict for row in found.rows] == [Verdict.PASS, Verdict.SKIPPED, Verdict.SKIPPED]
    assert (found.exit_code, target.measured) == (0, [])
    assert found.summary.endswith("(2 rows skipped)")


def test_the_images_given_are_those_of_the_budget() -> None:
    wide = budget(PARAMS, input=[1, 3, 8, 8])
    message = "budget: input: input must have the shape that is given, 1,4,4, but has 3,8,8"
    for command in (hwn2n.check, hwn2n.profile):
        with pytest.raises(InputError, match=message):
            command(net(), budget=wide, target=Told(), input_shape=SHAPE)


def test_the_model_is_left_in_its_mode() -> None:
    model = net().train()
    hwn2n.check(model, budget=budget(PARAMS), input_shape=SHAPE)
    hwn2n.profile(model, columns=["params"], input_shape=SHAPE)
    assert model.training


def test_profile_of_a_module_and_of_a_told_target() -> None:
    target = Told(latency_p50=MEASURED)
    found = hwn2n.profile(net(), target=target, input_shape=SHAPE, columns=["energy", "params"])
    assert found.cost == {"params": Reading(47)}
    assert found.unavailable == {"energy": "not told"}
    assert (found.target, found.machine) == ("told", target.machine)
    with pytest.raises(InputError, match="batch must not be given with a target object"):
        hwn2n.profile(net(), target=target, input_shape=SHAPE, batch=2)
    with pytest.raises(InputError, match="give --input-shape"):
        hwn2n.profile(net())


def test_target_of_the_budget_and_settings_on_top() -> None:
    rows = budget(PARAMS, target={"device": "cpu", "batch": 2})
    found = hwn2n.check(net(), budget=rows, input_shape=SHAPE, threads=1)
    assert found.target == "cpu batch=2 threads=1"
    assert found.machine["target"]["batch"] == 2
