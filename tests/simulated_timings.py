"""Networks that run on a clock of their own, on a machine that drifts, stumbles and throttles."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from hwn2n.hardware.latency import Sampler


class Machine:
    """Time that passes only while networks are built and run.

    Times are multiplied by exp(drift), an AR(1) process of standard deviation `drift` whose
    correlation from one sample to the next is `memory`; one in `stumbles` takes twice as long.
    """

    def __init__(
        self, seed: int, *, drift: float = 0.0, memory: float = 0.9, stumbles: float = 0.0
    ) -> None:
        self.random = random.Random(seed)
        self.drift, self.memory, self.stumbles = drift, memory, stumbles
        self.time = 1000.0
        self._state = self.random.gauss(0, 1)
        self.built: list[str] = []
        self.open = 0
        self.pauses: list[float] = []

    def now(self) -> float:
        return self.time

    def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.time += seconds

    def run(self, seconds: float) -> float:
        """How long something of `seconds` takes now; that much time passes."""
        innovation = math.sqrt(1 - self.memory**2)
        self._state = self.memory * self._state + innovation * self.random.gauss(0, 1)
        spent = seconds * math.exp(self.drift * self._state)
        if self.random.random() < self.stumbles:
            spent *= 2
        self.time += spent
        return spent

    def sampler(self, seconds: float, noise: float = 0.0) -> Sampler:
        return lambda: (self.run(seconds * math.exp(noise * self.random.gauss(0, 1))), None)

    def network(
        self,
        seconds: float,
        *,
        name: str = "",
        noise: float = 0.0,
        placement: float = 0.0,
        build_seconds: float = 0.02,
    ) -> Build:
        """A network of `seconds`, times exp(N(0, placement)) for as long as it stays built."""
        return Build(self, name, seconds, noise, placement, build_seconds)


class Build:
    """What `compare` calls to have a network made ready."""

    def __init__(
        self,
        machine: Machine,
        name: str,
        seconds: float,
        noise: float,
        placement: float,
        build_seconds: float,
    ) -> None:
        self.machine, self.name = machine, name
        self.seconds, self.noise, self.placement = seconds, noise, placement
        self.build_seconds = build_seconds
        self.samples = 0

    def __call__(self) -> AbstractContextManager[Sampler]:
        return self._ready()

    @contextmanager
    def _ready(self) -> Iterator[Sampler]:
        machine = self.machine
        machine.time += self.build_seconds
        machine.built.append(self.name)
        machine.open += 1
        here = self.seconds * math.exp(self.placement * machine.random.gauss(0, 1))

        def sample() -> tuple[float, float | None]:
            self.samples += 1
            return machine.run(here * math.exp(self.noise * machine.random.gauss(0, 1))), None

        try:
            yield sample
        finally:
            machine.open -= 1
