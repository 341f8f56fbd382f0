import json

import pytest

from hwn2n.budget.cost import Reading, cost_from_json, cost_to_json
from hwn2n.errors import InputError, MeasurementError


def test_a_cost_survives_json():
    cost = {
        "latency_p50": Reading(0.01, "measured", low=0.009, high=0.012),
        "params": Reading(20000),
        "accuracy": Reading(0.98, "cached"),
    }
    text = json.dumps(cost_to_json(cost))
    assert cost_from_json(json.loads(text)) == cost
    assert list(json.loads(text)) == ["params", "latency_p50", "accuracy"]
    assert json.loads(text)["params"] == {"value": 20000, "how": "exact"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((float("nan"),), "must be finite"),
        ((float("inf"), "measured"), "must be finite"),
        ((10**400,), "must fit into a float"),
        ((1.0, "measured", -(10**5000)), "must fit into a float"),
        ((1.0, "guessed"), "exact, measured, cached"),
        ((1.0, "measured", 2.0, 3.0), "must lie in its interval"),
        ((1.0, "measured", None, 0.5), "must lie in its interval"),
        ((1.0, "measured", float("nan")), "must be finite"),
        (("1",), "must be a number"),
        ((True,), "must be a number"),
        ((None,), "must be a number"),
    ],
)
def test_readings_are_numbers_inside_their_interval(arguments, message):
    with pytest.raises(MeasurementError, match=message):
        Reading(*arguments)


@pytest.mark.parametrize(
    "data",
    [
        None,
        [],
        {"parms": {"value": 1, "how": "exact"}},
        {"params": 5},
        {"params": {"value": 1}},
        {"params": {"value": 1, "how": "exact", "unit": "k"}},
        {"params": {"value": float("nan"), "how": "exact"}},
        {"params": {"value": 10**400, "how": "exact"}},
        {"params": {"value": -5, "how": "exact"}},
    ],
)
def test_json_that_is_no_cost_is_refused(data):
    with pytest.raises(InputError):
        cost_from_json(data)


def test_a_meter_may_read_below_idle():
    below = {"power_avg_net": {"value": -0.01, "how": "measured"}}
    assert cost_from_json(below) == {"power_avg_net": Reading(-0.01, "measured")}
    slower = {"latency_p50": {"value": -0.01, "how": "measured"}}
    with pytest.raises(InputError, match="latency_p50 of a cost must be 0 or more"):
        cost_from_json(slower)


def test_unknown_columns_are_not_written():
    with pytest.raises(InputError, match="a column must be one of"):
        cost_to_json({"speed": Reading(1.0)})
