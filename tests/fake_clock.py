"""Time that passes only when a test says so, and a device whose energy over it is known exactly."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable

import numpy as np

from hwn2n.hardware.power.clock import Background, Clock


class _Task(Background):
    def __init__(self) -> None:
        self.stopped = False

    def stop(self) -> None:
        self.stopped = True


class FakeClock(Clock):
    """A clock whose background work is done, in order, while time is moved on."""

    def __init__(self, start: float = 100.0) -> None:
        self._now = start
        self._due: list[tuple[float, int, _Task, Callable[[], float]]] = []
        self._number = itertools.count()
        self.tasks: list[_Task] = []

    def now(self) -> float:
        return self._now

    def sleep(self, seconds: float) -> None:
        end = self._now + max(0.0, seconds)
        while self._due and self._due[0][0] <= end:
            self._now, _, task, step = heapq.heappop(self._due)
            if not task.stopped:
                self._push(self._now + step(), task, step)
        self._now = end

    def background(self, step: Callable[[], float]) -> Background:
        task = _Task()
        self.tasks.append(task)
        self._push(self._now + step(), task, step)
        return task

    def _push(self, moment: float, task: _Task, step: Callable[[], float]) -> None:
        heapq.heappush(self._due, (moment, next(self._number), task, step))

    @property
    def running(self) -> int:
        return sum(not task.stopped for task in self.tasks)


class Draw:
    """What a device draws, changed at moments; its energy is known at each moment of the past."""

    def __init__(self, clock: FakeClock, watts: float) -> None:
        self._clock = clock
        self._times = [clock.now()]
        self._joules = [0.0]
        self.watts = watts

    def set(self, watts: float) -> None:
        now = self._clock.now()
        self._joules.append(self.energy(now))
        self._times.append(now)
        self.watts = watts

    def energy(self, moment: float) -> float:
        """Joules from the start until `moment`."""
        if moment >= self._times[-1]:
            return self._joules[-1] + self.watts * (moment - self._times[-1])
        return float(np.interp(moment, self._times, self._joules))


class Work:
    """A `run` that takes a known time and draws a known power, with some scatter."""

    def __init__(
        self,
        clock: FakeClock,
        draw: Draw,
        watts: float,
        *,
        seconds: float = 0.013,
        scatter: float = 0.01,
    ) -> None:
        self.clock, self.draw = clock, draw
        self.watts, self.seconds, self.scatter = watts, seconds, scatter
        self.random = np.random.default_rng(0)
        self.runs = 0

    def __call__(self) -> None:
        self.runs += 1
        self.draw.set(self.watts * (1 + self.scatter * self.random.standard_normal()))
        self.clock.sleep(self.seconds)
