"""Warm-up: until the times have settled, or until it has lasted long enough.

The first runs of a network allocate memory, choose algorithms and fill caches, and clocks rise or
fall over the seconds that follow. How long all that takes nobody knows beforehand, so the windows
that are compared grow with the warm-up: they are quarters of its later half. Of an exponential
approach to the steady state that half shows the more the earlier it is; where it neither spreads
nor moves by more than a few per cent, or than its own noise explains, next to nothing is left.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

Sampler = Callable[[], tuple[float, float | None]]
"""One inference: (end-to-end seconds, seconds on the device or None)."""

WINDOWS = 4
WINDOW_SAMPLES = 5
_SPREAD = 0.05
_TREND = 0.025
# How much longer than asked the warm-up may go on looking for a steady state, and at least (s).
_LONGEST = 10
_LONGEST_SECONDS = 2.0
# Until it has lasted so many times as long as asked, times too noisy to show a trend do not pass.
_STRICT = 3
# It is looked again after so many more runs, as a share of those so far.
_NEXT_LOOK = 0.1


@dataclass(frozen=True, kw_only=True)
class WarmUp:
    """How it went: its `runs` and `seconds`, and the median of its later half, `typical`."""

    runs: int
    seconds: float
    steady: bool
    typical: float


class Elapsed:
    """Seconds since it was made, by the clock or by the samples' own sum, whichever is longer.

    A runtime in another program serves times that it took before, in no time at all.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._start = now()
        self._sampled = 0.0

    def add(self, seconds: float) -> None:
        """One more sample was taken."""
        self._sampled += seconds

    @property
    def seconds(self) -> float:
        """The time until now."""
        return max(self._now() - self._start, self._sampled)


def warm_up(
    sample: Sampler, seconds: float, now: Callable[[], float] = time.perf_counter
) -> WarmUp:
    """Run for at least `seconds`, until `settled`, and at most ten times as long (and 2 s)."""
    elapsed = Elapsed(now)
    times: list[float] = []
    longest = max(_LONGEST * seconds, _LONGEST_SECONDS)
    steady, look = False, 0.0
    while not steady:
        times.append(sample()[0])
        elapsed.add(times[-1])
        lasted = elapsed.seconds
        if lasted >= seconds and len(times) >= look:
            steady = settled(times, strict=lasted < _STRICT * seconds)
            look = len(times) * (1 + _NEXT_LOOK)
        if lasted >= longest and len(times) > 1:
            break
    return WarmUp(
        runs=len(times),
        seconds=elapsed.seconds,
        steady=steady,
        typical=float(np.median(times[len(times) // 2 :])),
    )


def settled(times: Sequence[float], *, strict: bool = False) -> bool:
    """Whether the medians of the four quarters of the later half of `times` agree.

    They may lie 5 % apart, and the last two 2.5 % from the first two; or, unless `strict`, as far
    as four and two standard errors of such a median, where the times are noisier than that. A
    quarter has at least 5 samples.
    """
    size = len(times) // (2 * WINDOWS)
    if size < WINDOW_SAMPLES:
        return False
    windows = np.asarray(times[-size * WINDOWS :], dtype=float).reshape(WINDOWS, size)
    medians = np.median(windows, axis=1)
    # 1.4826 MAD estimates a normal deviation, and 1.2533 is what a median loses to a mean.
    noise = 1.2533 * 1.4826 * float(np.median(abs(windows - medians[:, None]))) / size**0.5
    centre, half = float(np.median(medians)), WINDOWS // 2
    trend = abs(float(medians[half:].mean() - medians[:half].mean()))
    spread = float(np.ptp(medians))
    if strict and 2 * noise > _TREND * centre:
        return False
    return spread <= max(_SPREAD * centre, 4 * noise) and trend <= max(_TREND * centre, 2 * noise)
