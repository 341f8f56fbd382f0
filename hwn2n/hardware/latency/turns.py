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
from hwn2n.hardware.latency.ratio import interval_of
from hwn2n.hardware.latency.samples import LatencySample
from hwn2n.hardware.latency.steady import Sampler
from hwn2n.hardware.latency.timing import measure_latency


@dataclass(frozen=True, kw_only=True)
class Turns:
    """The samples of A and B, and those of each turn: (turns,) of each."""

    a: LatencySample
    b: LatencySample
    turns_a: tuple[LatencySample, ...]
    turns_b: tuple[LatencySample, ...]

    def median_share(self, confidence: float, *, device: bool = False) -> tuple[float, float]:
        """The interval of B's median as a share of A's."""
        # However few samples a turn has: how sure it is shows in how the turns differ.
        a_s, b_s = (
            [_median(turn, device) for turn in turns] for turns in (self.turns_a, self.turns_b)
        )
        return self._interval(a_s, b_s, confidence)

    def mean_share(self, confidence: float) -> tuple[float, float]:
        """The interval of B's mean as a share of A's."""
        return self._interval(
            [x.mean for x in self.turns_a], [x.mean for x in self.turns_b], confidence
        )

    def _interval(
        self, a_s: Sequence[float], b_s: Sequence[float], confidence: float
    ) -> tuple[float, float]:
        effects = [math.log(b / a) for a, b in zip(a_s, b_s, strict=True)]
        return interval_of(effects, 1 - confidence)


def measure_in_turns(
    a: Sampler,
    b: Sampler,
    *,
    seconds: float,
    warmup_seconds: float,
    min_samples: int,
    throttled: Callable[[], Sequence[str]] | None = None,
    turns: int,
    now: Callable[[], float] = time.perf_counter,
    pause: Callable[[float], None] = time.sleep,
) -> Turns:
    """Time A and B for `seconds` and `min_samples` each, in `turns`, who comes first alternating.

    The arguments are those of `measure_latency`. Raises what that raises.
    """
    found: tuple[list[LatencySample], list[LatencySample]] = ([], [])
    for turn in range(turns):
        order = (0, 1) if turn % 2 == 0 else (1, 0)
        for which in order:
            found[which].append(
                measure_latency(
                    (a, b)[which],
                    seconds=seconds / turns,
                    warmup_seconds=None if found[which] else warmup_seconds,
                    min_samples=-(-min_samples // turns),
                    throttled=throttled,
                    now=now,
                    pause=pause,
                )
            )
    first, second = found
    return Turns(a=_merged(first), b=_merged(second), turns_a=tuple(first), turns_b=tuple(second))


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
