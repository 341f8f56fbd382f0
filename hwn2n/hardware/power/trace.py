"""What a meter said during a window: energy over time, whichever kind of meter it was.

A counter gives energy at the moments when it moved; a sampler gives power, which the trapezoid
rule adds up to energy. From either, the energy between any two moments inside follows by linear
interpolation, that is with the power between two readings taken for constant.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hwn2n.hardware.sensor import SensorError

# A reading so many times what nine of ten in its window stay within is no reading: a sensor's range
# from idle to full load is about ten. Of nine in ten, for on a part's rail most may be idle ones.
_JUMP = 20.0
_USUAL = 0.9

# W. A part may idle at hundredths of a watt and still wake for a moment.
_LEAST_USUAL = 1.0

# As many equal readings in a row are no coincidence: sensors are noisy in their last digit.
_STUCK = 10


@dataclass(frozen=True, kw_only=True, eq=False)
class EnergyTrace:
    """Energy since the first moment of the trace.

    `times_s` (n,) rises strictly; `joules` (n,) starts at 0. `watts` (n,) are a sampler's raw
    readings at these times, None of a counter. `missed` reads failed in passing.
    """

    times_s: np.ndarray
    joules: np.ndarray
    watts: np.ndarray | None = None
    missed: int = 0

    def __len__(self) -> int:
        return len(self.times_s)

    def energy(self, edges_s: np.ndarray) -> np.ndarray:
        """The joules between each two neighbours of `edges_s` (n + 1,): (n,).

        Raises SensorError where the trace does not cover the edges.
        """
        if not len(self) or edges_s[0] < self.times_s[0] or edges_s[-1] > self.times_s[-1]:
            raise SensorError("the meter's readings do not cover the window")
        return np.diff(np.interp(edges_s, self.times_s, self.joules))

    def between(self, start_s: float, end_s: float) -> np.ndarray:
        """Which of the trace's moments lie in start..end, both included: (n,) of bool."""
        return (self.times_s >= start_s) & (self.times_s <= end_s)


def check_window(trace: EnergyTrace, edges_s: np.ndarray, who: str, *, working: bool) -> None:
    """Raise SensorError where the readings of a window cannot be true.

    `edges_s` (n + 1,) are the ends of its parts, `working` says that the device had work to do:
    an idle device may draw the same power, or on one rail none at all, for a while.
    """
    inside = trace.between(float(edges_s[0]), float(edges_s[-1]))
    count = int(inside.sum())
    parts = len(edges_s) - 1
    if count < parts:
        raise SensorError(
            f"{who} must give at least {parts} readings in {edges_s[-1] - edges_s[0]:.3g} s; "
            f"found {count}"
        )
    powers = trace.energy(edges_s) / np.diff(edges_s)
    if working and powers.mean() <= 0:
        raise SensorError(f"{who} must read more than 0 W under load; found {powers.mean():.3g} W")
    readings = powers if trace.watts is None else trace.watts[inside]
    # "lower": of ten readings the one that jumps must have no part in what is usual.
    usual = max(float(np.quantile(readings, _USUAL, method="lower")), _LEAST_USUAL)
    if readings.max() > _JUMP * usual:
        raise SensorError(
            f"{who} must not jump; found {readings.max():.3g} W among readings up to {usual:.3g} W"
        )
    if working and trace.watts is not None and count >= _STUCK and np.ptp(readings) == 0:
        raise SensorError(
            f"{who} must move; found {readings[0]:.6g} W {count} times in a row: it is stuck"
        )
