"""Samplers: meters that tell the power of a moment.

They are read at random intervals, so that the reads do not fall into step with the network's own
rhythm, and the trapezoid rule makes energy of them.
"""

from __future__ import annotations

import math
from abc import abstractmethod

import numpy as np

from hwn2n.hardware.power.base import PowerSource, Window
from hwn2n.hardware.power.clock import Clock
from hwn2n.hardware.power.trace import EnergyTrace
from hwn2n.hardware.sensor import SensorError

_TRIES = 5


class Sampler(PowerSource):
    """A meter that tells the power of a moment."""

    @abstractmethod
    def read(self) -> float:
        """The power in W. Raises SensorError."""

    def checked(self) -> float:
        """`read`, or SensorError where the reading cannot be true."""
        watts = self.read()
        if not math.isfinite(watts) or not self.least_w <= watts <= self.most_w:
            raise SensorError(
                f"{self} must read {self.least_w:g} to {self.most_w:g} W; found {watts:.6g} W"
            )
        return watts

    def prove(self, clock: Clock) -> None:
        for attempt in range(_TRIES):
            try:
                watts = self.checked()
            except SensorError as error:
                if attempt == _TRIES - 1 or not error.passing:
                    raise
            else:
                if watts > 0 or self.least_w < 0:
                    return
                if attempt == _TRIES - 1:
                    raise SensorError(f"{self} must read more than 0 W; found {watts:g} W")
            clock.sleep(self.period_s)

    def open_window(self, clock: Clock) -> Window:
        return SamplerWindow(self, clock)


class SamplerWindow(Window):
    """A sampler that is being read at random intervals."""

    def __init__(self, source: Sampler, clock: Clock) -> None:
        self._sampler = source
        self._watts: list[float] = []
        super().__init__(source, clock)

    def _take(self) -> None:
        before = self.clock.now()
        watts = self._sampler.checked()
        # A read over a slow bus takes milliseconds: its middle is the best guess.
        now = (before + self.clock.now()) / 2
        if self._times and now <= self._times[-1]:
            return
        self._watts.append(watts)
        self._times.append(now)
        self.covered_s = now

    def so_far(self) -> EnergyTrace:
        # The reader may add to the lists meanwhile: `_times` gets each entry last.
        count = len(self._times)
        times, watts = np.array(self._times[:count]), np.array(self._watts[:count])
        steps = np.diff(times) * (watts[1:] + watts[:-1]) / 2
        joules = np.concatenate([np.zeros(min(1, count)), np.cumsum(steps)])
        return EnergyTrace(times_s=times, joules=joules, watts=watts, missed=self._missed)
