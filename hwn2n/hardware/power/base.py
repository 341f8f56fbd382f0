"""Meters of power: what they are called, what they meter, and how a window of them is read.

There are two kinds, counters of energy (counter.py) and samplers of power (sampler.py). Either is
read in the background while the network runs, and either window gives an `EnergyTrace`, so that
nothing above this knows which kind it was.
"""

from __future__ import annotations

import math
import random
from abc import ABC, abstractmethod
from dataclasses import dataclass

from hwn2n.errors import MeasurementError, one_line
from hwn2n.hardware.power.clock import Clock
from hwn2n.hardware.power.trace import EnergyTrace
from hwn2n.hardware.sensor import SensorError

MOST_WATTS = 1e5
"""No single device draws 100 kW: a reading above is in another unit, or broken."""

DEAD_AFTER_S = 2.0
"""How long a meter may have nothing new to say before it is taken for dead. NVML's counter moves
every 20 to 100 ms."""

# A window in which more reads than this share failed in passing is thrown away.
_MOST_MISSED = 0.1


@dataclass(frozen=True, kw_only=True)
class Missing:
    """There is no power source, and why, on one line."""

    reason: str


class PowerSource(ABC):
    """A meter. Its name and its rail stand in every result.

    `name` is what settings call it ("nvml-energy"), `rail` what it meters ("GPU", "VDD_IN"),
    `note` what a reader of its figures should know, `calibration` how far the sensor itself may be
    off, as far as is known. `period_s` is how often it has something new to say, `poll_s` how
    often it is read. `least_w` is the lowest reading that can be true (below 0 for a sensor with
    an offset), `most_w` the highest.
    """

    name: str
    rail: str
    note: str = ""
    calibration: str = "not known"
    period_s: float = 0.1
    poll_s: float = 0.05
    least_w: float = 0.0
    most_w: float = MOST_WATTS

    def __str__(self) -> str:
        return f"{self.name} ({self.rail})"

    @abstractmethod
    def open_window(self, clock: Clock) -> Window:
        """Start to read in the background."""

    @abstractmethod
    def prove(self, clock: Clock) -> None:
        """Read it once, and raise SensorError unless it works and says what can be true."""


class Window(ABC):
    """A meter that is being read; a context, so that reading ends whatever happens."""

    def __init__(self, source: PowerSource, clock: Clock) -> None:
        self.source = source
        self.clock = clock
        self.failed: Exception | None = None
        self.covered_s = -math.inf
        """Up to when the energy is known; it says nothing once `failed` is set."""
        self._opened_s = clock.now()
        self._reads = 0
        self._missed = 0
        # Not the global generator: reads in the background must not shift the caller's numbers.
        self._random = random.Random()
        self._times: list[float] = []
        self._background = clock.background(self._step)

    def _step(self) -> float:
        """Read once; the seconds until the next read: uniform in 0.5 to 1.5 times `poll_s`."""
        if self.failed is None:
            self._reads += 1
            try:
                self._take()
            except SensorError as error:
                if error.passing:
                    self._missed += 1
                    if self._missed > max(3, _MOST_MISSED * self._reads):
                        self.failed = error
                else:
                    self.failed = error
            except Exception as error:  # raised in the foreground, at close
                self.failed = error
        return self.source.poll_s * self._random.uniform(0.5, 1.5)

    @abstractmethod
    def _take(self) -> None:
        """Read the meter and note what it says."""

    @abstractmethod
    def so_far(self) -> EnergyTrace:
        """What was noted until now; it can be asked while the meter is being read."""

    def check_alive(self) -> None:
        """Raise MeasurementError where the meter failed, or says nothing new any more."""
        if isinstance(self.failed, MeasurementError):
            raise MeasurementError(f"{self.source} failed during a window: {self.failed}")
        if self.failed is not None:
            raise MeasurementError(
                f"{self.source} failed during a window: {type(self.failed).__name__}: "
                f"{one_line(self.failed)}"
            ) from self.failed
        silent = self.clock.now() - max(self.covered_s, self._opened_s)
        if silent > max(DEAD_AFTER_S, 5 * self.source.period_s):
            raise MeasurementError(f"{self.source} had nothing new to say for {silent:.3g} s")

    def wait(self, until_s: float) -> None:
        """Let time pass until the energy is known up to `until_s`; see `check_alive`."""
        self.clock.sleep(until_s - self.clock.now())
        while self.covered_s < until_s:
            self.check_alive()
            self.clock.sleep(self.source.poll_s)

    def close(self) -> EnergyTrace:
        """Stop reading; what the meter said. Raises MeasurementError where it failed."""
        self._background.stop()
        if self.failed is not None:
            self.check_alive()
        return self.so_far()

    def __enter__(self) -> Window:
        return self

    def __exit__(self, *_: object) -> None:
        self._background.stop()
