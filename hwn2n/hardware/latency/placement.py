"""Both networks built side by side, and timed in rounds that alternate between them."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field

import numpy as np

from hwn2n.errors import MeasurementError
from hwn2n.hardware.latency.ratio import effect_of
from hwn2n.hardware.latency.steady import Sampler

Build = Callable[[], AbstractContextManager[Sampler]]
"""Makes a network ready to run, anew at each call, and frees it at the end of the context."""

# A round gives each network so long in a row, so that a small one is timed with its own caches.
_BURST_SECONDS = 0.01
_LONGEST_BURST = 1001
_SETTLING = 3
# How many seconds of rounds may be lost to throttling.
_MOST_LOST_SECONDS = 10.0
# Blocks of memory held while a network is built, so that it lies elsewhere each time: without
# them an allocator hands out the addresses that were just given back.
_BLOCKS, _SMALLEST_BLOCK, _LARGEST_BLOCK = 16, 2.0**6, 2.0**19


@dataclass(frozen=True, kw_only=True)
class Burst:
    """How many inferences of one network are timed in a row, after `lead` that are not."""

    runs: int
    lead: int

    @property
    def all(self) -> int:
        """All inferences of one network in a round."""
        return self.runs + self.lead


@dataclass(frozen=True, kw_only=True)
class Placement:
    """The rounds of one build of both networks: medians in seconds, one of each per round."""

    a_s: tuple[float, ...]
    b_s: tuple[float, ...]

    @property
    def effect(self) -> float:
        """log(b / a), see `ratio.effect_of`."""
        return effect_of(self.a_s, self.b_s)


def burst_for(seconds_a: float, seconds_b: float) -> Burst:
    """Bursts for networks that take so long, the same for both: an odd number, for the median.

    A network that takes longer than a burst by itself finds no cache left of its last turn
    anyway, and gains more from short turns, which follow the machine's drift. Raises
    MeasurementError for a time of 0.
    """
    typical = math.sqrt(seconds_a * seconds_b)
    if not typical > 0:
        raise MeasurementError("an inference must take time; found 0 s")
    if typical >= _BURST_SECONDS:
        return Burst(runs=1, lead=0)
    runs = math.ceil(_BURST_SECONDS / typical)
    return Burst(runs=min(_LONGEST_BURST, runs | 1), lead=1)


@contextmanager
def placed(
    build_a: Build, build_b: Build, *, b_first: bool, random: np.random.Generator
) -> Iterator[tuple[Sampler, Sampler]]:
    """Samplers of both, built in this order in a memory that is laid out anew."""
    held: list[bytearray] = []
    with ExitStack() as stack:
        samplers: list[Sampler] = []
        for build in (build_b, build_a) if b_first else (build_a, build_b):
            exponents = random.uniform(np.log2(_SMALLEST_BLOCK), np.log2(_LARGEST_BLOCK), _BLOCKS)
            held += [bytearray(int(2**exponent)) for exponent in exponents]
            samplers.append(stack.enter_context(build()))
        first, second = samplers
        yield (second, first) if b_first else (first, second)


def settle(a: Sampler, b: Sampler, burst: Burst) -> None:
    """Let both make what they make at their first inferences, on a device that is warm."""
    for sample in (a, b):
        for _ in range(_SETTLING + burst.lead):
            sample()


@dataclass
class Rounds:
    """Takes rounds, again where something throttled; remembers what it threw away and why.

    `throttled` gives the reasons of throttling since it was last called.
    """

    throttled: Callable[[], Sequence[str]] | None = None
    now: Callable[[], float] = time.perf_counter
    discarded: int = 0
    lost_seconds: float = 0.0
    reasons: dict[str, None] = field(default_factory=dict)

    def take(
        self, a: Sampler, b: Sampler, burst: Burst, count: int, b_first: Iterator[bool]
    ) -> Placement:
        """`count` rounds of `a` and `b`. Raises MeasurementError if throttling does not stop."""
        if self.throttled is not None:
            self.throttled()  # what throttled until now is no reason against what comes
        kept: list[tuple[float, float]] = []
        while len(kept) < count:
            began = self.now()
            times = one_round(a, b, burst, b_first=next(b_first))
            found = [] if self.throttled is None else list(self.throttled())
            if found:
                self._discard(found, self.now() - began)
            else:
                kept.append(times)
        return Placement(a_s=tuple(a_s for a_s, _ in kept), b_s=tuple(b_s for _, b_s in kept))

    def _discard(self, found: list[str], seconds: float) -> None:
        self.reasons |= dict.fromkeys(found)
        self.discarded += 1
        self.lost_seconds += seconds
        if self.lost_seconds > _MOST_LOST_SECONDS:
            raise MeasurementError(
                f"a comparison needs a device that does not throttle; found "
                f"{', '.join(self.reasons)} in {self.discarded} rounds, {self.lost_seconds:.0f} s"
            )


def one_round(a: Sampler, b: Sampler, burst: Burst, *, b_first: bool) -> tuple[float, float]:
    """The median seconds of a and of b in one burst each."""
    if b_first:
        second, first = _burst(b, burst), _burst(a, burst)
    else:
        first, second = _burst(a, burst), _burst(b, burst)
    return first, second


def _burst(sample: Sampler, burst: Burst) -> float:
    for _ in range(burst.lead):
        sample()
    median = float(np.median([sample()[0] for _ in range(burst.runs)]))
    if not median > 0:
        raise MeasurementError(f"an inference must take time; found {median:g} s")
    return median


def orders(random: np.random.Generator) -> Iterator[bool]:
    """Who comes first, without end: at random, and each as often in every two."""
    while True:
        first = bool(random.random() < 0.5)
        yield first
        yield not first
