"""The YAML schema of a budget, `apiVersion: hwn2n/v1`. Unknown keys are refused.

    apiVersion: hwn2n/v1
    name: jetson-orin-nano
    target: cpu                        # or inline: {device: cuda, batch: 1}
    input: [1, 3, 224, 224]            # batch, channels, height, width
    constraints:
      - {metric: params, max: 5M}
      - {metric: latency, stat: p95, max: 10ms, tolerance: 2%, confidence: 0.95}
      - {metric: accuracy, min: -1pt}
      - id: combo
        sum: [{metric: latency, stat: p50, coef: 0.7, scale: 10ms},
              {metric: energy, coef: 0.3, scale: 50mJ}]
        max: 1.0
    columns: [params, latency_p50]     # the same in the plain matrix form, A x <= b in SI units
    A: [[1, 0], [0, 1]]
    b: [5e6, 0.01]

The models check shapes and types only. What a quantity means depends on its column, so limits
and scales stay as written here and are read by `hwn2n.budget.units` when `hwn2n.budget.load`
compiles the rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, StrictInt, Tag, model_validator

from hwn2n.budget.target_schema import Finite, Name, Positive, Strict, TargetModel

API_VERSION = "hwn2n/v1"

# A quantity as written: 5M, 10ms, 60%, -1pt, or a bare number where the column has no unit.
QuantityText = str | StrictInt | float


class _Limits(Strict):
    """What every kind of row has: a limit on either side, and how the row is judged."""

    id: Name | None = Field(default=None, description="name of the row in tables and results")
    max: QuantityText | None = Field(default=None, description="at most this much")
    min: QuantityText | None = Field(default=None, description="at least this much")
    tolerance: str | None = Field(
        default=None, description="share of the limit by which it may be exceeded, e.g. 2%"
    )
    confidence: float = Field(
        default=0.95, ge=0.5, lt=1.0, description="level of the interval of a measured value"
    )
    severity: Literal["error", "warn"] = Field(
        default="error", description="a row of severity warn informs and never steers"
    )

    @model_validator(mode="after")
    def _bounded(self) -> _Limits:
        if self.max is None and self.min is None:
            raise ValueError("a constraint must have max or min")
        return self


_METRIC = Field(description="what is limited, such as params or latency")
_STAT = Field(default=None, description="which statistic of the metric, such as p95 of latency")
_SCOPE = Field(
    default=None,
    description="latency: end_to_end (default) or device; power: total (default) or net of idle",
)


class MetricRow(_Limits):
    """A limit on one column."""

    metric: str = _METRIC
    stat: str | None = _STAT
    scope: str | None = _SCOPE


class Term(Strict):
    """One column of a weighted sum: `coef * value / scale`, where the scale cancels the unit."""

    metric: str = _METRIC
    stat: str | None = _STAT
    scope: str | None = _SCOPE
    coef: Finite = Field(default=1.0, description="weight of the term; not zero")
    scale: QuantityText = Field(description="the value that counts as 1, such as 10ms")


class SumRow(_Limits):
    """A limit on a weighted sum of columns; the limit is a plain number."""

    sum: list[Term] = Field(min_length=1, max_length=32, description="the terms that are added")


# The tags must not be keys of the file: errors carry them among the keys of the path.
def _kind_of_row(row: Any) -> str:
    if isinstance(row, SumRow) or (isinstance(row, Mapping) and "sum" in row):
        return "row with sum"
    return "row with metric"


ConstraintRow = Annotated[
    Annotated[MetricRow, Tag("row with metric")] | Annotated[SumRow, Tag("row with sum")],
    Discriminator(_kind_of_row),
]


def _kind_of_target(target: Any) -> str:
    return "inline target" if isinstance(target, Mapping | TargetModel) else "name of a target"


TargetField = Annotated[
    Annotated[str, Tag("name of a target")] | Annotated[TargetModel, Tag("inline target")],
    Discriminator(_kind_of_target),
]


class BudgetModel(Strict):
    """A budget file."""

    apiVersion: Literal["hwn2n/v1"] = Field(description="version of this schema")  # noqa: N815
    name: Name = Field(description="name of the budget in results")
    description: str | None = Field(default=None, description="for people; not read")
    target: TargetField | None = Field(
        default=None,
        description="where it is measured: cpu, cuda, cuda:N, the name of a file in profiles/, a "
        "path to one, or the settings themselves",
    )
    input: Annotated[list[Positive], Field(min_length=4, max_length=4)] | None = Field(
        default=None, description="batch, channels, height and width"
    )
    constraints: list[ConstraintRow] = Field(
        default_factory=list, max_length=256, description="limits, one row each"
    )
    columns: list[str] | None = Field(
        default=None,
        min_length=1,
        max_length=64,
        description="columns of the matrix form, A x <= b in SI units",
    )
    A: list[list[Finite]] | None = Field(
        default=None,
        min_length=1,
        max_length=256,
        description="coefficients: a row for each number of b, a number for each of the columns",
    )
    b: list[Finite] | None = Field(
        default=None, min_length=1, max_length=256, description="upper limits, one for each row"
    )

    @model_validator(mode="after")
    def _complete(self) -> BudgetModel:
        given = [name for name in ("columns", "A", "b") if getattr(self, name) is not None]
        if given and len(given) < 3:
            raise ValueError(f"columns, A and b belong together; found only {', '.join(given)}")
        if not given and not self.constraints:
            raise ValueError("a budget must have at least one constraint")
        return self
