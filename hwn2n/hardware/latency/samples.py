"""The raw timings of one network, and percentiles that know their error.

Nothing is thrown away: a slow sample is what a p99 is about. Intervals come from order statistics,
which need no assumption about the distribution (Hahn and Meeker, Statistical Intervals, chapter
5): of n independent samples the number below the q-quantile is binomial(n, q). Samples in a row
are not independent, so n is what they are worth (correlation.py). On simulated samples with a
correlation of up to 0.8 from one to the next, 300 of them cover as they say, within 2 points; with
correlation ignored they would cover 60 instead of 95 times in a hundred.

What no statistics of one session can tell is how the next session differs, after a reboot or in
another process.

scipy.stats is imported where it is used: it takes a second, and most commands measure nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from hwn2n.errors import InputError, MeasurementError
from hwn2n.hardware.latency.correlation import inflation, inflation_at

# An interval of p90 at 95 % confidence needs so many independent samples.
_WORTH_A_NOTE = 36


@dataclass(frozen=True, kw_only=True)
class LatencySample:
    """The timings of one network on one device, in seconds for one batch, in the order taken.

    `samples_s` (n,) is end to end, `device_samples_s` (n,) between device events, None on a CPU;
    `rounds` (n,) numbers the round of each sample, from 0, thrown-away ones not counted.
    `steady` says whether the warm-up ended because the times had settled, not because it had
    lasted long enough. `discarded` rounds were thrown away for the `throttle_reasons`. `cpus` are
    those that the process was bound to, None where the system does not tell.
    """

    samples_s: np.ndarray
    device_samples_s: np.ndarray | None = None
    rounds: np.ndarray | None = None
    warmup_runs: int = 0
    warmup_seconds: float = 0.0
    steady: bool = True
    discarded: int = 0
    throttle_reasons: tuple[str, ...] = ()
    threads: int = field(default_factory=torch.get_num_threads)
    cpus: tuple[int, ...] | None = None

    def __len__(self) -> int:
        return len(self.samples_s)

    def percentile(self, q: float, *, device: bool = False) -> float:
        """The q-th percentile (0 < q < 100) in seconds, linearly interpolated.

        Raises MeasurementError below the number of samples that bounds it from above at 95 %
        confidence: 29 for p90, 59 for p95, 299 for p99.
        """
        samples = self._chosen(device)
        needed = samples_needed(q, confidence=0.95, sides=1)
        if len(samples) < needed:
            raise MeasurementError(f"p{q:g} needs at least {needed} samples; found {len(samples)}")
        return float(np.percentile(samples, q))

    def interval(
        self, q: float, confidence: float = 0.95, *, device: bool = False
    ) -> tuple[float, float]:
        """A two-sided interval of the q-th percentile in seconds, from order statistics.

        Half of the error lies on each side. Where the samples are worth fewer independent ones
        than the interval needs, it ends at the extremes, and covers less often than it says;
        `notes` tells. Raises MeasurementError below the number of samples that supports it if
        they were independent (`samples_needed`).
        """
        samples = self._chosen(device)
        needed = samples_needed(q, confidence=confidence, sides=2)
        if len(samples) < needed:
            raise MeasurementError(
                f"an interval of p{q:g} at {confidence:.0%} needs at least {needed} samples; "
                f"found {len(samples)}"
            )
        low, high = ranks(len(samples), self.worth(q, device=device), q, confidence)
        ordered = np.sort(samples)
        return float(ordered[low - 1]), float(ordered[high - 1])

    def worth(self, q: float = 50, *, device: bool = False) -> int:
        """How many independent samples tell as much about the q-th percentile as these do."""
        samples = self._chosen(device)
        return max(1, int(len(samples) / inflation_at(samples, q)))

    @property
    def mean(self) -> float:
        """The mean end-to-end time of one batch in seconds."""
        return float(np.mean(self.samples_s))

    def throughput(self, batch: int, confidence: float = 0.95) -> tuple[float, float, float]:
        """Images a second, one batch of `batch` images after the other: (value, low, high).

        Of the mean time and its Student interval, with the samples counted by what they are worth.
        Raises InputError for a wrong batch or confidence, MeasurementError below 6 samples.
        """
        if batch < 1 or not 0 < confidence < 1:
            raise InputError(
                "a throughput needs a batch of at least 1 and a confidence between 0 and 1; found "
                f"{batch=}, {confidence=}"
            )
        needed = samples_needed(50)
        if len(self) < needed:
            raise MeasurementError(f"throughput needs at least {needed} samples; found {len(self)}")
        from scipy.stats import t

        worth = max(2.0, len(self) / inflation(self.samples_s))
        error = float(np.std(self.samples_s, ddof=1)) / math.sqrt(worth)
        reach = float(t.ppf((1 + confidence) / 2, worth - 1)) * error
        # The mean is no less than the least sample, whatever the interval says.
        fastest = max(self.mean - reach, float(np.min(self.samples_s)))
        return batch / self.mean, batch / (self.mean + reach), batch / fastest

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of the figures should know."""
        found = []
        if not self.steady:
            found.append(
                f"times had not settled after a warm-up of {self.warmup_runs} runs in "
                f"{self.warmup_seconds:.1f} s"
            )
        if self.discarded:
            found.append(
                f"{self.discarded} rounds were thrown away because of "
                + ", ".join(self.throttle_reasons)
            )
        worth = self.worth()
        if worth < min(_WORTH_A_NOTE, len(self) / 2):
            found.append(
                f"successive times resemble one another: {len(self)} of them are worth about "
                f"{worth} independent ones, and the intervals are wider for it"
            )
        return tuple(found)

    def to_json(self) -> dict[str, Any]:
        """All raw samples, in seconds to the nanosecond, and how they were taken."""
        device = self.device_samples_s
        return {
            "samples_s": _rounded(self.samples_s),
            "device_samples_s": None if device is None else _rounded(device),
            "rounds": None if self.rounds is None else self.rounds.tolist(),
            "warmup_runs": self.warmup_runs,
            "warmup_seconds": round(self.warmup_seconds, 3),
            "steady": self.steady,
            "discarded_rounds": self.discarded,
            "throttle_reasons": list(self.throttle_reasons),
            "worth_independent": self.worth(),
            "threads": self.threads,
            "cpus": None if self.cpus is None else list(self.cpus),
        }

    def _chosen(self, device: bool) -> np.ndarray:
        if not device:
            return self.samples_s
        if self.device_samples_s is None:
            raise MeasurementError("device times need an accelerator; these were taken on a CPU")
        return self.device_samples_s


def samples_needed(q: float, *, confidence: float = 0.95, sides: int = 2) -> int:
    """The smallest number of independent samples whose extremes bound the q-th percentile.

    With `sides=1` the largest sample is at least the percentile with `confidence`: n with
    1 - (q/100)^n >= confidence. With `sides=2` each side may miss with half of the error.
    Raises InputError unless 0 < q < 100 and 0 < confidence < 1.
    """
    if not 0 < q < 100:
        raise InputError(f"a percentile must be between 0 and 100; found {q!r}")
    if not 0 < confidence < 1:
        raise InputError(f"a confidence must be between 0 and 1; found {confidence!r}")
    error = (1 - confidence) / sides
    share = q / 100 if sides == 1 else max(q / 100, 1 - q / 100)
    return math.ceil(math.log(error) / math.log(share))


def ranks(count: int, worth: int, q: float, confidence: float) -> tuple[int, int]:
    """Ranks from 1 of the order statistics that bound the q-th percentile of `count` samples.

    They are those of `worth` independent samples, spread over the `count`; at most the extremes.
    """
    from scipy.stats import binom

    error = (1 - confidence) / 2
    # P(X_(low) > quantile) = P(binomial < low) <= error, and likewise above.
    above = int(binom.ppf(1 - error, worth, q / 100)) + 1
    below = int(binom.ppf(1 - error, worth, 1 - q / 100)) + 1
    high = min(count, -(-above * count // worth))
    low = max(1, count + 1 - (-(-below * count // worth)))
    return low, high


def _rounded(seconds: np.ndarray) -> list[float]:
    return [round(float(value), 9) for value in seconds]
