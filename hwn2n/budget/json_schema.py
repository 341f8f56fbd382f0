"""JSON Schemas (draft 2020-12) of budgets and targets, for editors.

They are made from the pydantic models that read the files, and say more about quantities than
those do: an editor offers the metrics and statistics, and marks `max: 10` on a latency. They allow
all that hwn2n reads, and not quite only that: that A has as many rows as b, for one, is checked
when the file is read.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel

from hwn2n.budget.columns import COLUMNS, DEFAULTS, METRICS, Unit
from hwn2n.budget.schema import BudgetModel
from hwn2n.budget.target_schema import TargetFileModel
from hwn2n.budget.units import SUFFIXES

Schema = dict[str, Any]

_DRAFT = "https://json-schema.org/draft/2020-12/schema"
_NUMBER = r"([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]{1,3})?"
_TOLERANCE = r"^[0-9]{1,2}(\.[0-9]{1,6})?%$"
_NULL: Schema = {"type": "null"}


def budget_schema() -> Schema:
    """The schema of a budget file, JSON-able."""
    schema = _published(BudgetModel, "budget", "hwn2n budget")
    rows = schema["$defs"]
    _know_metrics(rows["MetricRow"], ("max", "min"))
    _know_metrics(rows["Term"], ("scale",))
    for name in ("MetricRow", "SumRow"):
        rows[name]["properties"]["tolerance"]["anyOf"][0]["pattern"] = _TOLERANCE
        rows[name]["anyOf"] = [{"required": ["max"]}, {"required": ["min"]}]
    for limit in ("max", "min"):
        field = rows["SumRow"]["properties"][limit]
        field["anyOf"] = [*_quantities("", ratio=False), _NULL]
    properties = schema["properties"]
    # Instead of pydantic's oneOf, of which editors report the errors of both kinds of row.
    properties["constraints"]["items"] = {
        "if": {"required": ["sum"]},
        "then": {"$ref": "#/$defs/SumRow"},
        "else": {"$ref": "#/$defs/MetricRow"},
    }
    properties["columns"]["anyOf"][0]["items"]["enum"] = list(COLUMNS)
    schema["anyOf"] = [
        {"required": ["constraints"], "properties": {"constraints": {"minItems": 1}}},
        {"required": ["columns", "A", "b"]},
    ]
    return schema


def target_schema() -> Schema:
    """The schema of a target file, JSON-able."""
    schema = _published(TargetFileModel, "target", "hwn2n target")
    cost = schema["$defs"]["MeasuredModel"]["properties"]["cost"]
    cost["propertyNames"] = {"enum": list(COLUMNS)}
    schema["properties"]["name"]["not"] = {"enum": ["cpu", "cuda"]}
    return schema


def _published(model: type[BaseModel], kind: str, title: str) -> Schema:
    schema = model.model_json_schema()
    for described in (schema, *schema["$defs"].values()):
        for field in described["properties"].values():
            field.pop("title", None)  # pydantic's, which only repeats the key
    head = {"$schema": _DRAFT, "$id": f"urn:hwn2n:v1:{kind}", "title": title}
    return head | {key: value for key, value in schema.items() if key != "title"}


def _know_metrics(row: Schema, quantities: Sequence[str]) -> None:
    """Let `row` name the metrics, and what each allows as stat, as scope and as quantities."""
    row["properties"]["metric"]["enum"] = list(METRICS)
    for field in ("stat", "scope"):
        row["properties"][field]["enum"] = _values(field, METRICS)
        row["properties"][field].pop("anyOf")
    row["allOf"] = [
        {
            "if": {"properties": {"metric": {"const": metric}}, "required": ["metric"]},
            "then": _rule(metric, quantities),
        }
        for metric in METRICS
    ]


def _rule(metric: str, quantities: Sequence[str]) -> Schema:
    unit = next(column.unit for column in COLUMNS.values() if column.metric == metric)
    allowed: Schema = {field: {"enum": _values(field, [metric])} for field in ("stat", "scope")}
    for key in quantities:
        scale = key == "scale"
        forms = _quantities(unit, ratio=True, points=not scale)
        allowed[key] = {"anyOf": forms if scale else [*forms, _NULL]}
    rule: Schema = {"properties": allowed}
    if metric in DEFAULTS and DEFAULTS[metric][0] is None:
        rule["required"] = ["stat"]
    return rule


def _values(field: str, metrics: Sequence[str]) -> list[str | None]:
    """What may stand at `field` ("stat" or "scope") of `metrics`; None is always the default."""
    found = [getattr(c, field) for c in COLUMNS.values() if c.metric in metrics]
    return [*(value for value in dict.fromkeys(found) if value is not None), None]


def _quantities(unit: Unit, *, ratio: bool, points: bool = False) -> list[Schema]:
    """What a quantity of `unit` may look like (see `units.parse_quantity`)."""
    suffixes = [*SUFFIXES[unit], *(["%"] if ratio and "%" not in SUFFIXES[unit] else [])]
    suffix = "|".join(re.escape(name) for name in suffixes)
    forms: list[Schema] = [{"type": "string", "pattern": rf"^\s*\+?{_NUMBER} *({suffix})\s*$"}]
    if "" in suffixes:
        forms.append({"type": "number", "exclusiveMinimum": 0})
    if points and unit == "fraction":
        forms.append({"type": "string", "pattern": rf"^\s*[-+]{_NUMBER} *pt\s*$"})
    return forms
