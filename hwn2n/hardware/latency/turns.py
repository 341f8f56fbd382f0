"""Two networks timed in turns, so that a machine that drifts is as slow for one as for the other.

A machine's speed changes within seconds by more than a limit leaves room for. What holds still is
the ratio: of each turn one ratio is taken, and its interval comes from how the turns differ.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from hwn2n.errors import MeasurementError
from hwn2n.hardware.latency.placement import Build, placed
from hwn2n.hardware.latency.ratio import interval_of
from hwn2n.hardware.latency.samples import LatencySample
from hwn2n.hardware.latency.timing import measure_latency


@dataclass(frozen=True, kw_only=True)
class Turns:
    """The samples of A and B, and those of each turn, by placement: (placements,) of (turns,)."""

    a: LatencySample
    b: LatencySample
    turns_a: tuple[tuple[LatencySample, ...], ...]
    turns_b: tuple[tuple[LatencySample, ...], ...]

    def median_share(self, confidence: float, *, device: bool = False) -> tuple[float, float]:
        """The interval of B's median as a share of A's."""
        # However few samples a turn has: how sure it is shows in how the turns differ.
        return self._interval(lambda turn: _median(turn, device), confidence)

    def mean_share(self, confidence: float) -> tuple[float, float]:
        """The interval of B's mean as a share of A's."""
        return self._interval(lambda turn: turn.mean, confidence)

    def _interval(
        self, value: Callable[[LatencySample], float], confidence: float
    ) -> tuple[float, float]:
        """Of placements, where there are more than one: they differ by more than turns do."""
        effects = [
            [math.log(value(b) / value(a)) for a, b in zip(turns_a, turns_b, strict=True)]
            for turns_a, turns_b in zip(self.turns_a, self.turns_b, strict=True)
        ]
        if len(effects) > 1:
            return interval_of([float(np.mean(turns)) for turns in effects], 1 - confidence)
        return interval_of(effects[0], 1 - confidence)


def measure_in_turns(
    build_a: Build,
    build_b: Build,
    *,
    seconds: float,
    warmup_seconds: float,
    min_samples: int,
    turns: int,
    placements: int = 1,
    throttled: Callable[[], Sequence[str]] | None = None,
    seed: int = 0,
    now: Callable[[], float] = time.perf_counter,
    pause: Callable[[float], None] = time.sleep,
) -> Turns:
    """Time A and B for `seconds` and `min_samples` each, in `turns`, who comes first alternating.

    Both are built `placements` times, each with its share of the turns: where a network lies in
    memory makes it faster or slower for as long as it lies there (ratio.py). The other arguments
    are those of `measure_latency`. Raises what that raises.
    """
    random = np.random.default_rng(seed)
    each = -(-turns // placements)
    parts = each * placements
    found: tuple[list[tuple[LatencySample, ...]], list[tuple[LatencySample, ...]]] = ([], [])
    for placement in range(placements):
        taken: tuple[list[LatencySample], list[LatencySample]] = ([], [])
        b_first = placement % 2 == 1
        with placed(build_a, build_b, b_first=b_first, random=random) as samplers:
            for turn in range(each):
                for which in (0, 1) if (turn % 2 == 0) != b_first else (1, 0):
                    cold = placement == 0 and not taken[which]
                    taken[which].append(
                        measure_latency(
                            samplers[which],
                            seconds=seconds / parts,
                            warmup_seconds=warmup_seconds if cold else None,
                            min_samples=-(-min_samples // parts),
                            throttled=throttled,
                            now=now,
                            pause=pause,
                        )
                    )
        for which in (0, 1):
            found[which].append(tuple(taken[which]))
    first, second = found
    return Turns(
        a=_merged([turn for turns in first for turn in turns]),
        b=_merged([turn for turns in second for turn in turns]),
        turns_a=tuple(first),
        turns_b=tuple(second),
    )


def _median(turn: LatencySample, device: bool) -> float:
    times = turn.device_samples_s if device else turn.samples_s
    if times is None:
        raise MeasurementError("device times need an accelerator; these were taken on a CPU")
    return float(np.median(times))


def _merged(parts: Sequence[LatencySample]) -> LatencySample:
    """All samples as one, in the order taken; its warm-up is that of the first turn."""
    device = [part.device_samples_s for part in parts]
    rounds, offset = [], 0
    for part in parts:
        numbers = np.zeros(len(part), dtype=int) if part.rounds is None else part.rounds
        rounds.append(numbers + offset)
        offset += int(numbers.max(initial=-1)) + 1
    return replace(
        parts[0],
        samples_s=np.concatenate([part.samples_s for part in parts]),
        device_samples_s=None
        if any(times is None for times in device)
        else np.concatenate([times for times in device if times is not None]),
        rounds=np.concatenate(rounds),
        discarded=sum(part.discarded for part in parts),
        throttle_reasons=tuple(
            dict.fromkeys(reason for part in parts for reason in part.throttle_reasons)
        ),
    )
