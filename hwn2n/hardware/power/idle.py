"""Idle power: what the device draws with the network loaded and nothing to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from hwn2n.errors import InputError
from hwn2n.hardware.power.base import PowerSource, Window
from hwn2n.hardware.power.clock import Clock, SystemClock
from hwn2n.hardware.power.parts import least_seconds, part_edges, part_seconds
from hwn2n.hardware.power.statistics import mean_interval
from hwn2n.hardware.power.trace import check_window

# Settled: the power of two successive pieces of time differs by less than this share, or by less
# than a sensor's last digits.
_STEADY = 0.03
_STEADY_W = 0.1

# How many times longer than the window the wait for that may last.
_LONGEST_WAIT = 3.0


@dataclass(frozen=True, kw_only=True, eq=False)
class IdleReading:
    """Idle power of one source and rail.

    `powers_w` (n,) are the averages of the parts of a window of `seconds`; `settled` says that it
    began because the power had come to rest, not because the wait had been long enough. One
    reading serves many networks of one process: keep it, and give it to `measure_power`.
    """

    source: str
    rail: str
    powers_w: np.ndarray
    seconds: float
    settled: bool = True

    @property
    def watts(self) -> float:
        """The average."""
        return float(self.powers_w.mean())

    def interval(self, confidence: float = 0.95) -> tuple[float, float]:
        """The interval of the average."""
        return mean_interval(self.powers_w, confidence)

    def to_json(self) -> dict[str, Any]:
        """All of it as JSON values."""
        low, high = self.interval()
        return {
            "source": self.source,
            "rail": self.rail,
            "watts": self.watts,
            "low": low,
            "high": high,
            "confidence": 0.95,
            "seconds": self.seconds,
            "settled": self.settled,
            "powers_w": self.powers_w.tolist(),
        }


def measure_idle(source: PowerSource, seconds: float, *, clock: Clock | None = None) -> IdleReading:
    """Wait until the device has settled, and average its power over `seconds`.

    The wait ends after three times as long as the window if the power has not come to rest by
    then. The window is longer where the source needs it (see `least_seconds`).
    Raises MeasurementError where the source fails or says what cannot be.
    """
    if not seconds > 0:
        raise InputError(f"an idle window must last longer than 0 s; found {seconds!r}")
    clock = clock or SystemClock()
    seconds = max(seconds, least_seconds(source))
    with source.open_window(clock) as window:
        settled = _settle(window, seconds)
        start = clock.now()
        window.wait(start + seconds)
        trace = window.close()
    edges = part_edges(start, start + seconds, source)
    check_window(trace, edges, str(source), working=False)
    powers = trace.energy(edges) / np.diff(edges)
    return IdleReading(
        source=source.name, rail=source.rail, powers_w=powers, seconds=seconds, settled=settled
    )


def _settle(window: Window, seconds: float) -> bool:
    """Wait until two successive pieces of time have about the same power; whether they had."""
    piece = max(part_seconds(window.source), seconds / 10)
    limit = window.clock.now() + _LONGEST_WAIT * seconds
    # The last work of whoever ran before is still in the sensor's average.
    window.wait(window.clock.now() + piece)
    before: float | None = None
    while window.clock.now() < limit:
        start = window.clock.now()
        window.wait(start + piece)
        now = float(window.so_far().energy(np.array([start, start + piece]))[0]) / piece
        if before is not None and abs(now - before) <= max(_STEADY * abs(before), _STEADY_W):
            return True
        before = now
    return False
