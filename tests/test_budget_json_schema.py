"""The published JSON Schemas: they allow what hwn2n reads, and tell an editor much of the rest."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from budget_texts import BUDGETS, PROFILES, TEXTS, WHOLE_BUDGET, WHOLE_TARGET, budgets, mutated
from hypothesis import HealthCheck, given, settings
from jsonschema import Draft202012Validator

from hwn2n.budget.columns import COLUMNS, METRICS
from hwn2n.budget.json_schema import budget_schema, target_schema
from hwn2n.budget.strict_yaml import parse_yaml
from hwn2n.budget.validate import is_target, validated
from hwn2n.errors import InputError

BUDGET = Draft202012Validator(budget_schema())
TARGET = Draft202012Validator(target_schema())


@pytest.mark.parametrize(
    ("schema", "published"),
    [
        (budget_schema(), BUDGETS / "budget.schema.json"),
        (target_schema(), PROFILES / "target.schema.json"),
    ],
    ids=["budget", "target"],
)
def test_the_published_schemas_are_up_to_date(schema: dict[str, Any], published: Any) -> None:
    Draft202012Validator.check_schema(schema)
    assert json.loads(published.read_text(encoding="utf-8")) == schema, (
        "write it again: hwn2n budget schema [--target] > FILE"
    )


@pytest.mark.parametrize("schema", [budget_schema(), target_schema()], ids=["budget", "target"])
def test_they_describe_themselves(schema: dict[str, Any]) -> None:
    assert schema["$schema"].endswith("/2020-12/schema")
    assert schema["$id"].startswith("urn:hwn2n:v1:") and schema["title"].startswith("hwn2n ")
    for model in (schema, *schema["$defs"].values()):
        assert model["description"] and model["additionalProperties"] is False
        for name, field in model["properties"].items():
            assert field.get("description"), f"{model['title']}.{name}"


@pytest.mark.parametrize("text", TEXTS)
def test_they_allow_shipped_and_whole_files(text: str) -> None:
    document = parse_yaml(text)
    (TARGET if is_target(document) else BUDGET).validate(document.data)


@settings(
    max_examples=150, derandomize=True, database=None, deadline=None,
    suppress_health_check=list(HealthCheck),
)  # fmt: skip
@given(data=budgets())
def test_they_allow_made_up_budgets(data: dict[str, Any]) -> None:
    BUDGET.validate(data)


def test_they_allow_all_that_is_read() -> None:
    read = 0
    for seed in range(400):
        try:
            document = parse_yaml(mutated(seed))
            validated(document, BUDGETS)
        except InputError:
            continue
        read += 1
        (TARGET if is_target(document) else BUDGET).validate(document.data)
    assert read > 40


def test_they_refuse_unknown_keys_everywhere() -> None:
    for validator, text in ((BUDGET, WHOLE_BUDGET), (TARGET, WHOLE_TARGET)):
        data = parse_yaml(text).data
        assert validator.is_valid(data)
        free = ("machine", "versions", "cost")  # these hold names of their own
        places = [place for place in mappings(data) if not set(place) & set(free)]
        count = 0
        for path in places:
            spoilt = copy.deepcopy(data)
            at(spoilt, path)["unknown"] = 1
            assert not validator.is_valid(spoilt), path
            count += 1
        assert count >= (10 if validator is BUDGET else 4)


def mappings(data: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of all mappings in `data`."""
    inner = (
        data.items()
        if isinstance(data, dict)
        else enumerate(data)
        if isinstance(data, list)
        else ()
    )
    own = [path] if isinstance(data, dict) else []
    return own + [found for key, value in inner for found in mappings(value, (*path, key))]


def at(data: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        data = data[key]
    return data


def row(**keys: Any) -> dict[str, Any]:
    return {"apiVersion": "hwn2n/v1", "name": "x", "constraints": [keys]}


@pytest.mark.parametrize(
    "keys",
    [
        {"metric": "params", "max": 5000},
        {"metric": "params", "max": "5M", "stat": None},
        {"metric": "params", "max": " 5 M "},
        {"metric": "latency", "stat": "p95", "max": "1.5e1ms"},
        {"metric": "latency", "stat": "p50", "scope": "device", "max": "60%", "min": "5µs"},
        {"metric": "power", "stat": "avg", "scope": "net", "max": "7W"},
        {"metric": "accuracy", "min": "-1pt", "max": "98%"},
        {"metric": "energy", "max": "50mJ", "tolerance": "2.5%"},
        {"sum": [{"metric": "flops", "scale": 5}], "max": 1},
        {"sum": [{"metric": "accuracy", "scale": "1%", "coef": -3}], "max": "1k"},
    ],
)
def test_rows_that_both_allow(keys: dict[str, Any]) -> None:
    BUDGET.validate(row(**keys))
    validated(parse_yaml(json.dumps(row(**keys), ensure_ascii=False)))


@pytest.mark.parametrize(
    "keys",
    [
        {"metric": "params"},
        {"metric": "speed", "max": 1},
        {"metric": "params", "max": "5 apples"},
        {"metric": "params", "max": -5},
        {"metric": "params", "max": "-5M"},
        {"metric": "params", "max": True},
        {"metric": "params", "max": "-1pt"},
        {"metric": "params", "stat": "p50", "max": 1},
        {"metric": "latency", "max": "10ms"},
        {"metric": "latency", "stat": "p95", "max": "10"},
        {"metric": "latency", "stat": "p95", "max": 10},
        {"metric": "latency", "stat": "p95", "max": "10W"},
        {"metric": "latency", "stat": "avg", "max": "10ms"},
        {"metric": "latency", "stat": "p95", "scope": "net", "max": "10ms"},
        {"metric": "accuracy", "min": "1pt"},
        {"metric": "params", "max": 1, "tolerance": "2"},
        {"metric": "params", "max": 1, "confidence": 1},
        {"metric": "params", "max": 1, "severity": "info"},
        {"sum": [], "max": 1},
        {"sum": [{"metric": "flops"}], "max": 1},
        {"sum": [{"metric": "flops", "scale": "1ms"}], "max": 1},
        {"sum": [{"metric": "accuracy", "scale": "-1pt"}], "max": 1},
        {"sum": [{"metric": "flops", "scale": 1}], "max": "1ms"},
        {"sum": [{"metric": "flops", "scale": 1}], "max": "5%"},
        {"sum": [{"metric": "flops", "scale": 1}], "metric": "flops", "max": 1},
    ],
)
def test_rows_that_both_refuse(keys: dict[str, Any]) -> None:
    assert not BUDGET.is_valid(row(**keys))
    with pytest.raises(InputError):
        validated(parse_yaml(json.dumps(row(**keys))))


def test_an_editor_can_offer_the_columns() -> None:
    schema = budget_schema()
    for name in ("MetricRow", "Term"):
        assert schema["$defs"][name]["properties"]["metric"]["enum"] == list(METRICS)
        assert "p99" in schema["$defs"][name]["properties"]["stat"]["enum"]
        assert "net" in schema["$defs"][name]["properties"]["scope"]["enum"]
    assert schema["properties"]["columns"]["anyOf"][0]["items"]["enum"] == list(COLUMNS)
    cost = target_schema()["$defs"]["MeasuredModel"]["properties"]["cost"]
    assert cost["propertyNames"]["enum"] == list(COLUMNS)


@pytest.mark.parametrize(
    "change",
    [
        {"name": "cpu"},
        {"name": "a b"},
        {"kind": "budget"},
        {"device": "tpu"},
        {"runtime": "trtexec"},
        {"batch": 0},
        {"power": {"source": "usb"}},
        {"measured": [{"model": "m"}]},
    ],
)
def test_targets_that_both_refuse(change: dict[str, Any]) -> None:
    data = parse_yaml(WHOLE_TARGET).data | change
    assert not TARGET.is_valid(data)
    with pytest.raises(InputError):
        validated(parse_yaml(json.dumps(data)))
