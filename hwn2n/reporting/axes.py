"""Axes of a chart: a unit for all values of a column, and ticks that a person can read."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hwn2n.budget.columns import COLUMNS
from hwn2n.budget.cost import Reading
from hwn2n.budget.units import format_quantity

LOG_FROM = 8.0
"""The largest value by the smallest from which an axis is logarithmic."""

NOTHING = "\N{EN DASH}"
"""What stands where a value is not known."""

LABELS = {
    "params": "parameters",
    "flops": "FLOPs of one image",
    "weight_bytes": "weight bytes",
    "file_bytes": "file bytes",
    "peak_memory": "peak memory",
    "throughput": "images per second",
    "power_avg": "average power",
    "power_avg_net": "average power without idle",
    "energy": "energy of one image",
}
_PREFIXES = {
    "": ((1e9, "billions"), (1e6, "millions"), (1e3, "thousands"), (1.0, "")),
    "B": ((2.0**30, "GiB"), (2.0**20, "MiB"), (2.0**10, "KiB"), (1.0, "B")),
    "s": ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs")),
    "W": ((1e3, "kW"), (1.0, "W"), (1e-3, "mW")),
    "J": ((1.0, "J"), (1e-3, "mJ"), (1e-6, "µJ")),
    "1/s": ((1e3, "thousands"), (1.0, "")),
    "fraction": ((0.01, "%"),),
}


def label(column: str) -> str:
    """The column's name as people say it, without a unit."""
    return LABELS.get(column, column.replace("_", " "))


@dataclass(frozen=True)
class Axis:
    """Values are divided by `factor`; `title` names the unit that they are in then."""

    title: str
    factor: float
    log: bool
    ticks: tuple[float, ...] = ()

    def layout(self) -> dict[str, Any]:
        """As a plotly axis."""
        made: dict[str, Any] = {"title": {"text": self.title}, "type": "log" if self.log else "-"}
        if self.ticks:
            made |= {
                "tickvals": list(self.ticks),
                "ticktext": [f"{tick:.6g}" for tick in self.ticks],
            }
        return made


def axis_for(column: str, values: Sequence[float]) -> Axis:
    """An axis for values (SI) of a column; logarithmic where they range widely."""
    largest = max((abs(v) for v in values), default=0.0)
    steps = _PREFIXES[COLUMNS[column].unit]
    # by the geometric middle, so that a teacher far away does not press all others to 0.001
    positive = [v for v in values if v > 0]
    log = len(positive) == len(values) > 0 and max(positive) / min(positive) >= LOG_FROM
    middle = math.sqrt(max(positive) * min(positive)) if log else largest
    factor, unit = next((step for step in steps if middle >= step[0]), steps[-1])
    title = label(column) + (f" ({unit})" if unit else "")
    ticks = log_ticks(min(positive) / factor, max(positive) / factor) if log else ()
    return Axis(title, factor, log, ticks)


def log_ticks(low: float, high: float) -> tuple[float, ...]:
    """1, 2 and 5 times powers of ten (only 1 over more than three decades) around an interval."""
    low, high, firsts = low / 2.5, high * 2.5, (1, 2, 5) if high / low <= 1000 else (1,)
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    marks = [first * 10.0**decade for decade in decades for first in firsts]
    return tuple(mark for mark in marks if low <= mark <= high)


def quantity(number: float | None, column: str | None) -> str:
    """A value with its unit, counts below ten million in full; a dash for none."""
    if number is None:
        return NOTHING
    if column is not None and COLUMNS[column].unit == "" and number < 1e7:
        return f"{number:,.1f}".removesuffix(".0")
    return format_quantity(number, column)


def reading_text(reading: Reading, column: str) -> str:
    """A reading with its unit, and its interval where it has one."""
    interval = interval_text(reading.low, reading.high, column)
    return quantity(reading.value, column) + ("" if interval == NOTHING else f" {interval}")


def interval_text(low: float | None, high: float | None, column: str | None) -> str:
    """Both ends of an interval; a dash for none."""
    if low is None or high is None:
        return NOTHING
    return f"[{quantity(low, column)}, {quantity(high, column)}]"
