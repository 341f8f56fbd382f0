"""What power windows say about one network: watts, joules, and how sure that is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hwn2n.errors import InputError, MeasurementError
from hwn2n.hardware.power.idle import IdleReading
from hwn2n.hardware.power.statistics import difference_interval, mean_interval, ratio_interval

COLUMNS = ("power_avg", "power_avg_net", "energy")

_USUAL_CONFIDENCE = 0.95


@dataclass(frozen=True, kw_only=True, eq=False)
class PowerSample:
    """The parts of one window in which one network ran back to back.

    `seconds`, `joules` and `images` (n,) are those of each part; `images` may be broken, since a
    part can end within an inference. `source` and `rail` are what was read, `idle` the idle power
    of the same, `runs` the inferences of the window, `missed` reads failed in passing, and `notes`
    are for a reader of the figures. `confidence` is the level by column, 0.95 where it names none.
    """

    source: str
    rail: str
    seconds: np.ndarray
    joules: np.ndarray
    images: np.ndarray
    idle: IdleReading
    runs: int
    missed: int = 0
    notes: tuple[str, ...] = ()
    confidence: Mapping[str, float] = field(default_factory=dict)

    @property
    def powers_w(self) -> np.ndarray:
        """The average power of each part, idle included: (n,)."""
        return self.joules / self.seconds

    def value(self, column: str) -> float:
        """`power_avg` in W with idle included, `power_avg_net` less idle, `energy` in J an image.

        Energy is the meter's joules, idle included, by the images of the same time: never power
        times latency. Raises InputError for another column, and MeasurementError where the
        device surely drew less under load than idle.
        """
        low, high = self.interval(column)
        # Intervals of means and ratios are symmetric, but for the last bit.
        value = self._middle(column)
        return min(max(value, low), high)

    def _middle(self, column: str) -> float:
        if column == "energy":
            return float(self.joules.sum() / self.images.sum())
        gross = float(self.powers_w.mean())
        return gross if column == "power_avg" else gross - self.idle.watts

    def interval(self, column: str, confidence: float | None = None) -> tuple[float, float]:
        """The interval of `value(column)`, from the scatter of the parts (Student's t).

        The one of net power has the uncertainty of idle power in it. Errors as of `value`.
        """
        if confidence is None:
            confidence = self.confidence.get(column, _USUAL_CONFIDENCE)
        if column == "power_avg":
            return mean_interval(self.powers_w, confidence)
        if column == "energy":
            return ratio_interval(self.joules, self.images, confidence)
        if column != "power_avg_net":
            raise InputError(
                f"a column of power must be one of {', '.join(COLUMNS)}; found {column!r}"
            )
        low, high = difference_interval(self.powers_w, self.idle.powers_w, confidence)
        if high < 0:
            raise MeasurementError(
                f"{self.source} ({self.rail}) must read more under load than idle; found "
                f"{self.powers_w.mean():.4g} W and {self.idle.watts:.4g} W: the device was not "
                "idle when idle power was read, or something else ran"
            )
        return low, high

    def to_json(self) -> dict[str, Any]:
        """The raw parts and what they were read from, as JSON values in SI units."""
        return {
            "source": self.source,
            "rail": self.rail,
            "seconds": self.seconds.tolist(),
            "joules": self.joules.tolist(),
            "images": self.images.tolist(),
            "runs": self.runs,
            "missed_reads": self.missed,
            "idle": self.idle.to_json(),
            "notes": list(self.notes),
        }
