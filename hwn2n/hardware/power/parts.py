"""The parts that a window is cut into: enough for an interval, long enough for the sensor."""

from __future__ import annotations

import numpy as np

from hwn2n.hardware.power.base import PowerSource

PARTS = 10
LEAST_PARTS = 3

# A part of so many periods of the sensor is nearly independent of its neighbours.
_PERIODS = 3


def part_seconds(source: PowerSource) -> float:
    """How long a part must be at least, in s."""
    return _PERIODS * max(source.period_s, 2 * source.poll_s)


def least_seconds(source: PowerSource) -> float:
    """How long a window must be at least, in s: `LEAST_PARTS` parts."""
    return LEAST_PARTS * part_seconds(source)


def part_edges(start_s: float, end_s: float, source: PowerSource) -> np.ndarray:
    """The ends of equal parts from `start_s` to `end_s`, `PARTS` of them or as many as fit."""
    fit = int((end_s - start_s) / part_seconds(source) + 1e-6)
    return np.linspace(start_s, end_s, max(LEAST_PARTS, min(PARTS, fit)) + 1)
