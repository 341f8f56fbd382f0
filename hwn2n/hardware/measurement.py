"""What is asked of a measurement, and what comes back besides the numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from torch import Tensor

from hwn2n.budget.cost import Cost
from hwn2n.errors import MeasurementError

Effort = Literal["quick", "full"]
"""quick: one of a search's many readings, with a wide error bar. full: a claim about one network,
measured alone."""

USUAL_CONFIDENCE = 0.95


@dataclass(frozen=True, kw_only=True)
class MeasurementProtocol:
    """How carefully to measure, and on what.

    `confidence` is the level of a column's interval, 0.95 where it names none. `images`
    (n, C, H, W) are real inputs, normalised as the network wants them, float32 on the host; the
    first ones make the batch. None stands for seeded noise in 0..1, which is good enough for
    clocks; power depends on the data, so a claim about power wants real ones.
    """

    effort: Effort = "full"
    confidence: Mapping[str, float] = field(default_factory=dict)
    images: Tensor | None = None

    def confidence_of(self, column: str) -> float:
        """The level of the interval of `column`."""
        return self.confidence.get(column, USUAL_CONFIDENCE)


QUICK = MeasurementProtocol(effort="quick")
FULL = MeasurementProtocol(effort="full")


@dataclass(frozen=True, kw_only=True)
class Duration:
    """How long the parts of a measurement last, in seconds.

    A clock goes on for longer where a percentile needs more samples than fit.
    """

    clock: float
    warmup: float
    power: float
    idle: float


DURATIONS: dict[Effort, Duration] = {
    "quick": Duration(clock=0.3, warmup=0.1, power=1.0, idle=2.0),
    "full": Duration(clock=2.0, warmup=0.5, power=10.0, idle=5.0),
}
"""A power claim within 2 % needs windows of 10 s and more; a search can do with less."""


@dataclass(frozen=True)
class Measurement:
    """A cost and how it came about, all of it JSON values but the cost.

    `samples` are the raw readings by their kind, in SI units; `conditions` what the machine was
    doing before and after; `notes` what a reader of the figures should know.
    """

    cost: Cost
    samples: dict[str, Any] = field(default_factory=dict)
    conditions: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Beside:
    """A student and its teacher, measured side by side.

    `shares` are intervals of the student's value as a share of the teacher's, by column, at the
    protocol's confidence, where the two were read in turns. They are narrower than the two
    intervals together, for a machine that drifts is as slow for one as for the other.
    """

    cost: Cost
    teacher: Cost
    shares: Mapping[str, tuple[float, float]] = field(default_factory=dict)


def complete(cost: Cost, columns: Sequence[str], *, target: str, who: str) -> Cost:
    """These columns of a cost. Raises `MeasurementError`, which names the target and whose cost it
    is, where one is missing: it is unavailable then, and never 0."""
    if missing := [name for name in columns if name not in cost]:
        raise MeasurementError(
            f"target {target} must measure {', '.join(columns)} of every candidate, "
            f"but gave no {missing[0]} for {who}"
        )
    return {name: cost[name] for name in columns}
