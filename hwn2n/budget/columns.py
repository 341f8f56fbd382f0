"""The columns of a cost: every quantity that a budget can bound, under one name each.

Every statistic is its own column (latency p50 is not latency p95, and energy is not power times
latency), and every value is in SI units, so a cost needs no unit beside it. A new column is one
line of `COLUMNS`: the YAML schema, the units and the tables follow from it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from hwn2n.errors import InputError

Known = Literal["counted", "measured", "learned"]
Unit = Literal["", "B", "s", "W", "J", "1/s", "fraction"]


@dataclass(frozen=True)
class Column:
    """One quantity of a cost.

    `unit` is the SI unit of the value, "" for a plain count and "fraction" for 0..1. `known` says
    how a value comes about: "counted" exactly from the untrained network, "measured" by running
    the (possibly untrained) network on the target, "learned" only by training it. The YAML names
    a column by `metric`, with `stat` and `scope` where there is more than one of the metric; the
    values that stand for an absent `stat` and `scope` are in `DEFAULTS`.
    """

    name: str
    metric: str
    unit: Unit
    known: Known
    meaning: str
    stat: str | None = None
    scope: str | None = None

    @property
    def countable(self) -> bool:
        """Whether the value is exact and known before any training or measurement."""
        return self.known == "counted"

    @property
    def learned(self) -> bool:
        """Whether only training tells the value; no target measures it."""
        return self.known == "learned"

    @property
    def drifts(self) -> bool:
        """Whether the same network may read otherwise in a minute; its memory does not."""
        return self.known == "measured" and self.metric != "peak_memory"

    @property
    def falls(self) -> bool:
        """Whether a larger network has less of it, so that a budget bounds it from below."""
        return self.metric == "throughput"


def _latency(stat: str) -> Column:
    meaning = f"wall-clock time of one batch, input copied to the device included: {stat}"
    return Column(f"latency_{stat}", "latency", "s", "measured", meaning, stat, "end_to_end")


def _device_latency(stat: str) -> Column:
    meaning = f"time of one batch between two events on the accelerator: {stat}"
    return Column(f"device_latency_{stat}", "latency", "s", "measured", meaning, stat, "device")


_POWER = "average power during inference, "
_ALL: tuple[Column, ...] = (
    Column("params", "params", "", "counted", "unique parameters, without buffers"),
    Column("flops", "flops", "", "counted", "fvcore's FLOPs of one image (1 MAC = 1 FLOP)"),
    Column("weight_bytes", "weight_bytes", "B", "counted", "parameters and persistent buffers"),
    Column("file_bytes", "file_bytes", "B", "counted", "size of the file that the runtime loads"),
    Column("peak_memory", "peak_memory", "B", "measured", "most memory in use during inference"),
    _latency("p50"),
    _latency("p90"),
    _latency("p95"),
    _latency("p99"),
    _device_latency("p50"),
    _device_latency("p90"),
    _device_latency("p95"),
    _device_latency("p99"),
    Column("throughput", "throughput", "1/s", "measured", "images per second"),
    Column("power_avg", "power", "W", "measured", _POWER + "idle included", "avg", "total"),
    Column("power_avg_net", "power", "W", "measured", _POWER + "less idle", "avg", "net"),
    Column("energy", "energy", "J", "measured", "energy of the inference of one image"),
    Column("accuracy", "accuracy", "fraction", "learned", "top-1 on the validation images"),
    Column(
        "worst_class_accuracy",
        "worst_class_accuracy",
        "fraction",
        "learned",
        "top-1 on the validation images of the class that is recognised worst",
    ),
)

COLUMNS: dict[str, Column] = {column.name: column for column in _ALL}

COUNTABLE: tuple[str, ...] = tuple(column.name for column in _ALL if column.countable)

METRICS: tuple[str, ...] = tuple(dict.fromkeys(column.metric for column in _ALL))

# What an absent `stat:` and `scope:` mean. Latency has no default statistic: median and tail
# latency differ by so much that a budget has to say which one it means.
DEFAULTS: dict[str, tuple[str | None, str | None]] = {
    "latency": (None, "end_to_end"),
    "power": ("avg", "total"),
}


def column_named(name: str) -> Column:
    """The column called `name`; InputError lists the known ones."""
    try:
        return COLUMNS[name]
    except KeyError:
        known = ", ".join(COLUMNS)
        raise InputError(f"a column must be one of {known}; found {name!r}") from None


def find_column(metric: str, stat: str | None = None, scope: str | None = None) -> Column:
    """The column of a YAML row's `metric`, `stat` and `scope`.

    Raises InputError where the metric is unknown, where it needs a statistic that is not given,
    and where it does not have the statistic or scope that is given.
    """
    candidates = [column for column in _ALL if column.metric == metric]
    if not candidates:
        raise InputError(f"metric must be one of {', '.join(METRICS)}; found {metric!r}")
    default_stat, default_scope = DEFAULTS.get(metric, (None, None))
    stat = stat if stat is not None else default_stat
    scope = scope if scope is not None else default_scope
    for field, found in (("stat", stat), ("scope", scope)):
        allowed = list(dict.fromkeys(getattr(column, field) for column in candidates))
        if found not in allowed:
            must = (
                f"must be one of {', '.join(allowed)}" if allowed != [None] else "must be left out"
            )
            raise InputError(
                f"{field} of {metric} {must}; found {'none' if found is None else repr(found)}"
            )
    return next(column for column in candidates if (column.stat, column.scope) == (stat, scope))


def in_order(names: Iterable[str]) -> tuple[str, ...]:
    """The distinct `names` in the order of `COLUMNS`; InputError for a name that is no column."""
    wanted = {column_named(name).name for name in names}
    return tuple(name for name in COLUMNS if name in wanted)
