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

from pydantic import BaseModel, ConfigDict, Discriminator, Field, StrictInt, Tag, model_validator

API_VERSION = "hwn2n/v1"

# A quantity as written: 5M, 10ms, 60%, -1pt, or a bare number where the column has no unit.
QuantityText = str | StrictInt | float
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)]
Finite = Annotated[float, Field(allow_inf_nan=False, ge=-1e24, le=1e24)]
Positive = Annotated[int, Field(ge=1, le=1_000_000)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class TargetModel(_Strict):
    """An inline target: what runs the network, and how."""

    device: str = Field(default="cpu", description="cpu, cuda or cuda:N")
    runtime: Literal["eager"] = "eager"
    precision: Literal["fp32", "fp16", "bf16"] = "fp32"
    batch: Positive = 1
    threads: Positive | None = Field(default=None, description="CPU threads; all if left out")


class _Limits(_Strict):
    """What every kind of row has: a limit on either side, and how the row is judged."""

    id: Name | None = None
    max: QuantityText | None = None
    min: QuantityText | None = None
    tolerance: str | None = Field(
        default=None, description="share of the limit by which it may be exceeded, e.g. 2%"
    )
    confidence: float = Field(default=0.95, ge=0.5, lt=1.0)
    severity: Literal["error", "warn"] = Field(
        default="error", description="a row of severity warn informs and never steers"
    )

    @model_validator(mode="after")
    def _bounded(self) -> _Limits:
        if self.max is None and self.min is None:
            raise ValueError("a constraint must have max or min")
        return self


class MetricRow(_Limits):
    """A limit on one column."""

    metric: str
    stat: str | None = None
    scope: str | None = None


class Term(_Strict):
    """One column of a weighted sum: `coef * value / scale`, where the scale cancels the unit."""

    metric: str
    stat: str | None = None
    scope: str | None = None
    coef: Finite = 1.0
    scale: QuantityText


class SumRow(_Limits):
    """A limit on a weighted sum of columns; the limit is a plain number."""

    sum: list[Term] = Field(min_length=1, max_length=32)


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


class BudgetModel(_Strict):
    """A budget file."""

    apiVersion: Literal["hwn2n/v1"] = Field(description="version of this schema")  # noqa: N815
    name: Name
    description: str | None = None
    target: TargetField | None = Field(
        default=None, description="name of a target, or an inline one"
    )
    input: Annotated[list[Positive], Field(min_length=4, max_length=4)] | None = Field(
        default=None, description="batch, channels, height and width"
    )
    constraints: list[ConstraintRow] = Field(default_factory=list, max_length=256)
    columns: list[str] | None = Field(default=None, min_length=1, max_length=64)
    A: list[list[Finite]] | None = Field(default=None, min_length=1, max_length=256)
    b: list[Finite] | None = Field(default=None, min_length=1, max_length=256)

    @model_validator(mode="after")
    def _complete(self) -> BudgetModel:
        given = [name for name in ("columns", "A", "b") if getattr(self, name) is not None]
        if given and len(given) < 3:
            raise ValueError(f"columns, A and b belong together; found only {', '.join(given)}")
        if not given and not self.constraints:
            raise ValueError("a budget must have at least one constraint")
        return self
