"""Counters: meters that add up energy in hardware.

A counter misses nothing between two reads, but it moves in steps: a window that starts and ends at
reads instead of steps is wrong by up to a step at each end, 100 ms of NVML's. So its window notes
when the counter moved, and what lies between two steps is interpolated.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence

import numpy as np

from hwn2n.hardware.power.base import DEAD_AFTER_S, PowerSource, Window
from hwn2n.hardware.power.clock import Clock
from hwn2n.hardware.power.trace import EnergyTrace
from hwn2n.hardware.sensor import SensorError


class Counter(PowerSource):
    """A meter that adds up energy.

    `ranges_j` has for each of its counters the energy at which it starts again from 0, or None
    where it never does; `read` gives as many values.
    """

    ranges_j: Sequence[float | None] = (None,)

    @abstractmethod
    def read(self) -> tuple[float, ...]:
        """The counters in J. Raises SensorError."""

    def rise(self, before: Sequence[float], after: Sequence[float], seconds: float) -> float:
        """The joules between two reads, all counters together.

        A counter that went down has started again if it has a range and the energy this makes is
        possible in `seconds`; otherwise it was reset, and SensorError is raised, as it is where
        the energy is impossible anyway.
        """
        total = 0.0
        for old, new, full in zip(before, after, self.ranges_j, strict=True):
            if not math.isfinite(new):
                raise SensorError(f"{self} must count finite joules; found {new}")
            step = new - old
            if step < 0 and full is not None and step + full <= self.most_w * seconds:
                step += full
            if step < 0:
                raise SensorError(
                    f"{self} must not go down; it went from {old:.6g} J to {new:.6g} J"
                )
            total += step
        if total > self.most_w * seconds:
            raise SensorError(
                f"{self} must count at most {self.most_w:g} W; found {total:.6g} J in "
                f"{seconds:.3g} s"
            )
        return total

    def prove(self, clock: Clock) -> None:
        start, first = clock.now(), self.read()
        if not all(math.isfinite(value) and value >= 0 for value in first):
            raise SensorError(f"{self} must count joules from 0 on; found {max(first, key=abs)} J")
        while clock.now() < start + DEAD_AFTER_S:
            clock.sleep(self.poll_s)
            # A step holds the energy of a whole period, however soon after the first read it came.
            seconds = max(clock.now() - start, 0.0) + self.period_s
            if self.rise(first, self.read(), seconds) > 0:
                return
        raise SensorError(f"{self} must move; it stood still for {DEAD_AFTER_S:g} s")

    def open_window(self, clock: Clock) -> Window:
        return CounterWindow(self, clock)


class CounterWindow(Window):
    """A counter whose steps are being noted."""

    def __init__(self, source: Counter, clock: Clock) -> None:
        self._counter = source
        self._joules: list[float] = []
        self._values: tuple[float, ...] | None = None
        self._read_s = clock.now()
        self._moved_s = clock.now()
        super().__init__(source, clock)

    def _take(self) -> None:
        before, self._read_s = self._read_s, self.clock.now()
        values = self._counter.read()
        # A counter that steps more often than it is read is known as of the read.
        fast = self._counter.period_s < self._counter.poll_s
        if self._values is None:
            self._values = values
            if fast:
                self._note(self._read_s, 0.0)
            return
        # A step holds the energy of a whole period, however soon after the last read it comes.
        seconds = self._read_s - self._moved_s + self._counter.period_s
        joules = self._counter.rise(self._values, values, seconds)
        if joules <= 0:
            return
        self._values, self._moved_s = values, self._read_s
        moment = self._read_s if fast else (before + self._read_s) / 2
        self._note(moment, self._joules[-1] + joules if self._joules else 0.0)

    def _note(self, moment: float, joules: float) -> None:
        self._joules.append(joules)
        self._times.append(moment)
        self.covered_s = moment

    def so_far(self) -> EnergyTrace:
        # The reader may add to the lists meanwhile: `_times` gets each entry last.
        count = len(self._times)
        return EnergyTrace(
            times_s=np.array(self._times[:count]),
            joules=np.array(self._joules[:count]),
            missed=self._missed,
        )
