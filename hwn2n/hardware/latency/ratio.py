"""The interval of a ratio of two latencies, from placements, at a fixed schedule of looks.

Two identical networks in one process may differ by a per cent or more, and go on doing so: their
weights lie at other addresses, with other conflicts in the caches. More rounds do not tell that
from a real difference. So both are built anew many times, each time somewhere else, and a build of
both (a placement) is one observation: d_p, the trimmed mean over its rounds of log(b / a).

The interval is a bootstrap of the mean of d_1 ... d_n over placements, with replacement, what is
inside a placement staying as it is (Davison and Hinkley, Bootstrap Methods and Their Application,
1997, section 3.8: of nested data the outermost level alone). Percentiles of few observations are
too narrow, by sqrt((n - 1) / n) and by the normal distribution standing for Student's; so they are
taken further out by both (Hesterberg, What Teachers Should Know About the Bootstrap, The American
Statistician 69, 2015: expanded percentiles). With few placements of heavy tails that is still too
narrow, where Student's own interval is too wide; so the wider of both is taken on each side. From
7 placements on it covers as often as it says where they scatter evenly to both sides, as those of
two equal networks do, since they could be swapped. Where they are as skewed as an exponential
distribution, it misses up to twice as often.

A comparison may stop as soon as it can tell. Each look has its share of the error (Bonferroni), so
that all intervals of a comparison hold together with its confidence, whenever it stopped.

scipy.stats is imported where it is used: it takes a second, and most commands measure nothing.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import numpy as np

from hwn2n.hardware.latency.samples import samples_needed

LOOKS = 3
_RESAMPLES = 20_000
# Share of the rounds left out at either end: other processes double a round now and then.
_TRIM = 0.25


def effect_of(a_s: Sequence[float], b_s: Sequence[float]) -> float:
    """log(b / a) of one placement: the trimmed mean over its rounds, `a_s` and `b_s` (m,)."""
    from scipy.stats import trim_mean

    return float(trim_mean(np.log(np.asarray(b_s) / np.asarray(a_s)), _TRIM))


def interval_of(effects: Sequence[float], error: float) -> tuple[float, float]:
    """(low, high) of the ratio exp(mean) of the placements' `effects` (n,), n at least 2.

    `error` is the probability to miss, half of it on each side. The same effects give the same
    interval: resamples are drawn once.
    """
    from scipy.stats import norm, t

    values = np.asarray(effects, dtype=float)
    count = len(values)
    student = float(t.ppf(1 - error / 2, count - 1))
    tail = float(norm.cdf(-math.sqrt(count / (count - 1)) * student))
    low, high = np.quantile(_weights(count) @ values, [tail, 1 - tail])
    centre = float(values.mean())
    reach = student * float(values.std(ddof=1)) / math.sqrt(count)
    return math.exp(min(low, centre - reach)), math.exp(max(high, centre + reach))


@functools.lru_cache(maxsize=128)
def _weights(count: int) -> np.ndarray:
    """(resamples, count): the share of each observation in each resample."""
    random = np.random.default_rng(0)
    return random.multinomial(count, np.full(count, 1 / count), size=_RESAMPLES) / count


def fewest_placements(confidence: float) -> int:
    """The least number of placements to look at: their extremes alone must hold the middle."""
    return samples_needed(50, confidence=1 - (1 - confidence) / LOOKS)


def schedule(confidence: float, most: int) -> tuple[int, ...]:
    """After how many placements to look: the fewest, `most`, and in between; empty if too few."""
    first = fewest_placements(confidence)
    if most < first:
        return ()
    return tuple(sorted({first, round(math.sqrt(first * most)), most}))
