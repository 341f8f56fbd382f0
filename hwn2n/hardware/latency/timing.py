"""The timing loop: warm up until steady, then rounds of raw samples until there are enough.

After each round of 50 ms or more it is asked whether anything throttled. Rounds in which something
did are thrown away, since their times are those of a power supply or of a room, and said.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence

import numpy as np

from hwn2n.errors import InputError, MeasurementError, one_line
from hwn2n.hardware.latency.samples import LatencySample, samples_needed
from hwn2n.hardware.latency.steady import Elapsed, Sampler, WarmUp, warm_up

_ROUND_SECONDS = 0.05
_ROUND_SAMPLES = 5
_RUNS_AGAIN = 3
# How long a device may go on throttling, in seconds: so much, or so many times what was asked.
_MOST_LOST_SECONDS = 10.0
_MOST_LOST = 3
# After a throttled round the device is left alone, for longer each time, to cool.
_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.05, 1.0

_Times = list[tuple[float, float | None]]


def measure_latency(
    sample: Sampler,
    *,
    seconds: float = 0.3,
    warmup_seconds: float | None = 0.1,
    min_samples: int = samples_needed(95),
    throttled: Callable[[], Sequence[str]] | None = None,
    now: Callable[[], float] = time.perf_counter,
    pause: Callable[[float], None] = time.sleep,
) -> LatencySample:
    """Time `sample`, one inference a call, which gives its own (end-to-end, device) seconds.

    The loop ends when it has kept `seconds` of rounds and `min_samples` samples, whichever is
    later. `warmup_seconds` None is for a network that was warm a moment ago: a few runs bring its
    weights back into the caches. `throttled` gives the reasons of throttling since it was last
    called, none if it is empty. `now` and `pause` are the clock that bounds the loop. Run it
    inside `quiet`.

    Raises InputError for wrong arguments; MeasurementError where `sample` fails, and where
    throttling does not stop.
    """
    if seconds < 0 or (warmup_seconds or 0) < 0 or min_samples < 1:
        raise InputError(
            "seconds must be at least 0 and min_samples at least 1; "
            f"found {seconds=}, {warmup_seconds=}, {min_samples=}"
        )
    try:
        return _measure(sample, seconds, warmup_seconds, min_samples, throttled, now, pause)
    except MeasurementError:
        raise
    except Exception as error:
        raise MeasurementError(
            f"the network must run to be timed; found {type(error).__name__}: {one_line(error)}"
        ) from error


def _measure(
    sample: Sampler,
    seconds: float,
    warmup_seconds: float | None,
    min_samples: int,
    throttled: Callable[[], Sequence[str]] | None,
    now: Callable[[], float],
    pause: Callable[[float], None],
) -> LatencySample:
    warmed = _again(sample) if warmup_seconds is None else warm_up(sample, warmup_seconds, now)
    if throttled is not None:
        throttled()  # what throttled until now is no reason against what comes
    kept: list[_Times] = []
    reasons: dict[str, None] = {}
    spent = lost = 0.0
    discarded = streak = 0
    most_lost = max(_MOST_LOST * seconds, _MOST_LOST_SECONDS)
    while (count := sum(map(len, kept))) < min_samples or spent < seconds:
        elapsed, times = _round(sample, min_samples - count, seconds - spent, now)
        found = [] if throttled is None else list(throttled())
        if not found:
            kept.append(times)
            spent += elapsed
            streak = 0
            continue
        reasons |= dict.fromkeys(found)
        discarded += 1
        rest = min(_LONGEST_PAUSE, _SHORTEST_PAUSE * 2**streak)
        streak += 1
        lost += elapsed + rest
        if lost > most_lost:
            raise MeasurementError(
                "a latency needs a device that does not throttle; found "
                f"{', '.join(reasons)} in {discarded} of {discarded + len(kept)} rounds, "
                f"{lost:.0f} s of them"
            )
        pause(rest)
    return _sample_of(kept, warmed, discarded, tuple(reasons))


def _again(sample: Sampler) -> WarmUp:
    times = [sample()[0] for _ in range(_RUNS_AGAIN)]
    return WarmUp(
        runs=_RUNS_AGAIN, seconds=sum(times), steady=True, typical=float(np.median(times))
    )


def _round(
    sample: Sampler, samples_left: int, seconds_left: float, now: Callable[[], float]
) -> tuple[float, _Times]:
    """One round: its seconds and its samples. It is short where it is the last one."""
    elapsed, times = Elapsed(now), []
    while True:
        times.append(sample())
        elapsed.add(times[-1][0])
        lasted = elapsed.seconds
        if len(times) >= _ROUND_SAMPLES and lasted >= _ROUND_SECONDS:
            return lasted, times
        if len(times) >= samples_left and lasted >= seconds_left:
            return lasted, times


def _sample_of(
    kept: list[_Times], warmed: WarmUp, discarded: int, reasons: tuple[str, ...]
) -> LatencySample:
    pairs = [pair for times in kept for pair in times]
    on_device = [inner for _, inner in pairs if inner is not None]
    return LatencySample(
        samples_s=np.array([outer for outer, _ in pairs]),
        device_samples_s=np.array(on_device) if on_device else None,
        rounds=np.repeat(np.arange(len(kept)), [len(times) for times in kept]),
        warmup_runs=warmed.runs,
        warmup_seconds=warmed.seconds,
        steady=warmed.steady,
        discarded=discarded,
        throttle_reasons=reasons,
        cpus=tuple(sorted(os.sched_getaffinity(0))) if hasattr(os, "sched_getaffinity") else None,
    )
