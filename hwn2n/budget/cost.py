"""A cost: what is known about a network on a target, one reading per column.

A column that is absent from a cost is *unavailable*. It is never zero: a network whose power
nobody could read does not run on no power.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from hwn2n.budget.columns import COLUMNS, column_named
from hwn2n.errors import InputError, MeasurementError

How = Literal["exact", "measured", "cached"]

MAY_BE_NEGATIVE = ("power_avg_net",)
"""Columns that noise may bring below 0: a reading near idle, less another of idle."""

_LARGEST = sys.float_info.max  # an int may be above, and too long to be shown


@dataclass(frozen=True)
class Reading:
    """One value in SI units, how it was obtained, and its interval where it has one.

    `low` and `high` bound the true value at the confidence of whoever measured it (95 % for
    hwn2n's own targets); an exact reading has none. Raises MeasurementError unless the numbers
    are finite and `low <= value <= high`.
    """

    value: float
    how: How = "exact"
    low: float | None = None
    high: float | None = None

    def __post_init__(self) -> None:
        if self.how not in get_args(How):
            raise MeasurementError(
                f"a reading is one of {', '.join(get_args(How))}; found {self.how!r}"
            )
        for name in ("value", "low", "high"):
            number = getattr(self, name)
            if number is None and name != "value":
                continue
            if isinstance(number, bool) or not isinstance(number, int | float):
                raise MeasurementError(f"{name} of a reading must be a number; found {number!r}")
            if isinstance(number, int) and abs(number) > _LARGEST:
                raise MeasurementError(f"{name} of a reading must fit into a float; found more")
            if not math.isfinite(number):
                raise MeasurementError(f"{name} of a reading must be finite; found {number!r}")
        low = self.value if self.low is None else self.low
        high = self.value if self.high is None else self.high
        if not low <= self.value <= high:
            raise MeasurementError(
                f"a reading must lie in its interval; found {self.value!r} in [{low!r}, {high!r}]"
            )


Cost = Mapping[str, Reading]


def cost_to_json(cost: Cost) -> dict[str, dict[str, Any]]:
    """`cost` as plain JSON values, columns in the order of `COLUMNS`, absent bounds left out.

    Raises InputError where a key of `cost` is no column.
    """
    for name in cost:
        column_named(name)
    result: dict[str, dict[str, Any]] = {}
    for name in COLUMNS:
        if name not in cost:
            continue
        reading = cost[name]
        entry: dict[str, Any] = {"value": reading.value, "how": reading.how}
        if reading.low is not None:
            entry["low"] = reading.low
        if reading.high is not None:
            entry["high"] = reading.high
        result[name] = entry
    return result


def cost_from_json(data: Any) -> dict[str, Reading]:
    """The cost that `cost_to_json` wrote. Raises InputError where `data` is none."""
    if not isinstance(data, Mapping):
        raise InputError(f"a cost must be an object of columns; found {type(data).__name__}")
    cost: dict[str, Reading] = {}
    for name, entry in data.items():
        column_named(name)
        if not isinstance(entry, Mapping) or not {"value", "how"} <= set(entry) <= {
            "value",
            "how",
            "low",
            "high",
        }:
            raise InputError(
                f"column {name} of a cost must have value and how, and perhaps low and high; "
                f"found {entry!r}"
            )
        try:
            cost[name] = Reading(**entry)
        except MeasurementError as error:
            raise InputError(f"column {name} of a cost: {error}") from error
        if name not in MAY_BE_NEGATIVE and cost[name].value < 0:
            raise InputError(
                f"column {name} of a cost must be 0 or more; found {cost[name].value:g}"
            )
    return cost
