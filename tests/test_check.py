"""Verdicts on rows, by hand; the check as a function, on a target that reads what it is told."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from torch import nn

import hwn2n
from hwn2n.budget.cost import Cost, Reading
from hwn2n.budget.load import load_budget
from hwn2n.budget.verdict import Verdict, judge
from hwn2n.errors import InputError
from hwn2n.hardware.target import LocalTarget, Target

SHAPE = (1, 4, 4)


def budget(*rows: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": "hwn2n/v1", "name": "mine", "constraints": list(rows)}


def latency(**limits: Any) -> dict[str, Any]:
    return {"metric": "latency", "stat": "p50", **limits}


def verdict(row: dict[str, Any], **readings: Reading) -> Any:
    [resolved] = load_budget(budget(row)).resolve({}).rows
    return judge(resolved, readings)


MEASURED = Reading(0.010, "measured", low=0.009, high=0.012)


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
    assert found.how == "measured"
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


class Told(Target):
    """A target that reads what it was told to; what it was not told is unavailable."""

    def __init__(self, **readings: Reading) -> None:
        self.readings = readings

    @property
    def name(self) -> str:
        return "told"

    def fingerprint(self) -> dict[str, Any]:
        return {"device": "told"}

    def available(self, columns: Iterable[str]) -> dict[str, str]:
        return {name: "not told" for name in columns if name not in self.readings}

    def measure(
        self, model: nn.Module, input_shape: tuple[int, ...], columns: Iterable[str]
    ) -> Cost:
        return {name: self.readings[name] for name in columns}


def net() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3))


PARAMS = {"metric": "params", "max": 100}
BAD_PARAMS = {"metric": "params", "max": 10}
ENERGY = {"metric": "energy", "max": "1J"}
UNSURE = latency(max="11ms")


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
    target = Told(params=Reading(47), latency_p50=MEASURED)
    found = hwn2n.check(net(), budget=budget(*rows), target=target, input_shape=SHAPE)
    assert found.exit_code == code
    assert found.satisfied == (code == 0)
    assert len(found.rows) == len(rows)
    assert found.to_json()["rows"][0]["verdict"] == found.rows[0].verdict.value


def test_relative_rows_need_a_teacher_and_take_its_reading() -> None:
    model = net()
    half = budget({"metric": "params", "max": "50%"}, {"metric": "energy", "max": "50%"})
    with pytest.raises(InputError, match=r"params <= 50% of the teacher .* give --teacher"):
        hwn2n.check(model, budget=half, input_shape=SHAPE)
    teacher = nn.Sequential(nn.Flatten(), nn.Linear(16, 6))  # 102 parameters
    found = hwn2n.check(model, budget=half, teacher=teacher, input_shape=SHAPE)
    params, energy = found.rows
    assert (params.value, params.limit, params.verdict) == (47, 51, Verdict.PASS)
    assert energy.verdict is Verdict.UNAVAILABLE
    assert energy.reason is not None and "energy" in energy.reason
    assert found.exit_code == 3


def test_static_only_skips_what_is_measured() -> None:
    rows = budget(PARAMS, latency(max="50%"), {"metric": "accuracy", "min": "-1pt"})
    found = hwn2n.check(net(), budget=rows, input_shape=SHAPE, static_only=True)
    assert [row.verdict for row in found.rows] == [Verdict.PASS, Verdict.SKIPPED, Verdict.SKIPPED]
    assert found.exit_code == 0


def test_the_model_is_left_in_its_mode() -> None:
    model = net().train()
    hwn2n.check(model, budget=budget(PARAMS), input_shape=SHAPE)
    hwn2n.profile(model, columns=["params"], input_shape=SHAPE)
    assert model.training


def test_profile_of_a_module_and_of_a_told_target() -> None:
    target = Told(params=Reading(47), latency_p50=MEASURED)
    found = hwn2n.profile(net(), target=target, input_shape=SHAPE, columns=["energy", "params"])
    assert found.cost == {"params": Reading(47)}
    assert found.unavailable == {"energy": "not told"}
    assert (found.target, found.machine) == ("told", {"device": "told"})
    with pytest.raises(InputError, match="batch must not be given with a target object"):
        hwn2n.profile(net(), target=target, input_shape=SHAPE, batch=2)
    with pytest.raises(InputError, match="give --input-shape"):
        hwn2n.profile(net())


def test_target_of_the_budget_and_settings_on_top() -> None:
    rows = {**budget(PARAMS), "target": {"device": "cpu", "batch": 2}}
    found = hwn2n.check(net(), budget=rows, input_shape=SHAPE, threads=1)
    assert found.target == LocalTarget("cpu", batch=2, threads=1).name
