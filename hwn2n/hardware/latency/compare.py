"""Two networks side by side: is B faster or slower than A, or can nobody tell?

Both are timed in turns, because a machine drifts by more between two sessions than networks
differ; in many placements, because where a network lies in memory makes it faster or slower for as
long as it lies there (ratio.py). It ends at the first look at which the interval tells, at the
latest when the time is up; then the answer may be that nobody can tell.
"""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Sequence

import numpy as np

from hwn2n.errors import InputError, MeasurementError, one_line
from hwn2n.hardware.latency.comparison import Comparison, limit_verdict_of, verdict_of
from hwn2n.hardware.latency.placement import (
    Build,
    Placement,
    Rounds,
    burst_for,
    orders,
    placed,
    settle,
)
from hwn2n.hardware.latency.plan import PATIENCE, Plan, plan_for
from hwn2n.hardware.latency.ratio import fewest_placements, interval_of
from hwn2n.hardware.latency.steady import warm_up

MARGIN = 0.01
"""Differences up to this share are called none. Placement alone makes as much."""

MAX_SECONDS = 25.0
MOST_PLACEMENTS = 32
_WARMUP_SECONDS = 0.1


def compare(
    build_a: Build,
    build_b: Build,
    *,
    confidence: float = 0.95,
    margin: float = MARGIN,
    limit: float | None = None,
    max_seconds: float = MAX_SECONDS,
    most_placements: int = MOST_PLACEMENTS,
    seed: int = 0,
    throttled: Callable[[], Sequence[str]] | None = None,
    now: Callable[[], float] = time.perf_counter,
) -> Comparison:
    """Time the networks that `build_a` and `build_b` make ready, in turns, and compare.

    It stops when it can tell on which side of the margin the ratio B / A lies; with a `limit`
    (the largest ratio that is allowed), on which side of that. `max_seconds` bounds it, unless
    that is too short for the fewest placements. `seed` decides who comes first in each turn.
    `throttled` is as in `measure_latency`: rounds in which something throttled are taken again.
    Run it inside `quiet`. The error of calling two equal networks different is at most
    1 - `confidence`, and in practice far less, because of the margin.

    Raises InputError for wrong arguments; MeasurementError where a network fails, where throttling
    does not stop, and where `max_seconds` are too few.
    """
    _check(confidence, margin, limit, max_seconds, most_placements)
    try:
        return _compare(
            build_a,
            build_b,
            confidence=confidence,
            margin=margin,
            limit=limit,
            seconds=max_seconds,
            most=most_placements,
            random=np.random.default_rng(seed),
            rounds=Rounds(throttled, now),
            now=now,
        )
    except (InputError, MeasurementError):
        raise
    except Exception as error:
        raise MeasurementError(
            f"both networks must run to be compared; found {type(error).__name__}: "
            f"{one_line(error)}"
        ) from error


def _compare(
    build_a: Build,
    build_b: Build,
    *,
    confidence: float,
    margin: float,
    limit: float | None,
    seconds: float,
    most: int,
    random: np.random.Generator,
    rounds: Rounds,
    now: Callable[[], float],
) -> Comparison:
    started, order = now(), orders(random)
    with placed(build_a, build_b, b_first=next(order), random=random) as (a, b):
        typical = [warm_up(sample, _WARMUP_SECONDS, now).typical for sample in (a, b)]
    burst = burst_for(*typical)
    plan: Plan | None = None
    found: list[Placement] = []
    looks: list[int] = []
    while True:
        # Collection is off while networks are timed, and some hold themselves in circles. Those
        # of the placement before are young still.
        gc.collect(1)
        began = now()
        with placed(build_a, build_b, b_first=next(order), random=random) as (a, b):
            settle(a, b, burst)
            if plan is None:
                plan = plan_for(
                    now() - began,
                    burst.all * sum(typical),
                    # However long the warm-up took, half of the time is for the placements.
                    max(seconds - (began - started), seconds / 2),
                    confidence=confidence,
                    most=most,
                )
            found.append(rounds.take(a, b, burst, plan.rounds, orders(random)))
        spent, last = now() - started, now() - began
        enough = len(found) >= plan.looks[0]
        if not enough and spent > PATIENCE * seconds:
            raise MeasurementError(
                f"a comparison at {confidence:.4g} confidence needs at least {plan.looks[0]} "
                f"placements; found time for {len(found)} in {spent:.0f} s, instead of the "
                f"{seconds:g} s that it was given"
            )
        over = enough and spent + last > seconds
        if len(found) not in plan.looks and not over:
            continue
        looks.append(len(found))
        effects = [placement.effect for placement in found]
        low, high = interval_of(effects, (1 - confidence) / len(plan.looks))
        if over or len(found) >= plan.looks[-1] or _tells(low, high, margin, limit):
            return Comparison(
                ratio=math.exp(float(np.mean(effects))),
                low=low,
                high=high,
                confidence=confidence,
                margin=margin,
                limit=limit,
                placements=tuple(found),
                burst=burst,
                looks=tuple(looks),
                discarded=rounds.discarded,
                throttle_reasons=tuple(rounds.reasons),
                seconds=now() - started,
            )


def _tells(low: float, high: float, margin: float, limit: float | None) -> bool:
    """Whether the interval answers what was asked: the limit, or else the margin."""
    if limit is not None:
        return limit_verdict_of(low, high, limit) != "inconclusive"
    return verdict_of(low, high, margin) != "inconclusive"


def _check(
    confidence: float, margin: float, limit: float | None, seconds: float, most: int
) -> None:
    if not 0.5 <= confidence < 1:
        raise InputError(f"a confidence must be at least 0.5 and below 1; found {confidence!r}")
    if not 0 <= margin < 1:
        raise InputError(f"a margin must be at least 0 and below 1; found {margin!r}")
    if limit is not None and not 0 < limit < math.inf:
        raise InputError(f"the limit of a ratio must be above 0; found {limit!r}")
    if not 0 < seconds < math.inf:
        raise InputError(f"the seconds of a comparison must be above 0; found {seconds!r}")
    if most < (fewest := fewest_placements(confidence)):
        raise InputError(
            f"a comparison at {confidence:.4g} confidence needs at least {fewest} placements; "
            f"found at most {most} allowed"
        )
