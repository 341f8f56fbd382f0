"""How much samples in a row are worth: they resemble one another, since machines drift.

The mean of n correlated samples varies `inflation` times as much as that of n independent ones, so
they are worth n / inflation of those. The same holds for a percentile, of the 0s and 1s that say
which samples lie below it.
"""

from __future__ import annotations

import numpy as np

# Rarer than this on one side of a quantile, the 0s and 1s say little of how they hang together.
_FEWEST_BEYOND = 15


def inflation(values: np.ndarray) -> float:
    """1 + 2 * (sum of autocorrelations) of `values` (n,) in the order they were taken, at least 1.

    The sum ends by Geyer's initial monotone sequence (Practical Markov Chain Monte Carlo, Statist.
    Sci. 7, 1992, section 3.3): sums of neighbouring pairs of autocorrelations, as long as they are
    positive, and none larger than the one before. Where no value differs, it is 1.
    """
    centred = np.asarray(values, dtype=float) - np.mean(values)
    count, variance = len(centred), float(np.mean(centred**2))
    if count < 4 or variance == 0:
        return 1.0
    spectrum = np.fft.rfft(centred, 2 * count)
    lags = np.fft.irfft(spectrum * np.conj(spectrum))[:count] / (count * variance)
    pairs = lags[: count - count % 2].reshape(-1, 2).sum(axis=1)
    ends = np.flatnonzero(pairs <= 0)
    kept = np.minimum.accumulate(pairs[: ends[0] if len(ends) else None])
    return max(1.0, 2 * float(kept.sum()) - 1)


def inflation_at(values: np.ndarray, q: float) -> float:
    """The same for the q-th percentile (0 < q < 100) of `values`.

    With few samples beyond the percentile that of the median counts too, if it is larger.
    """
    share = q / 100
    below = inflation(values <= np.percentile(values, q))
    if len(values) * min(share, 1 - share) >= _FEWEST_BEYOND:
        return below
    return max(below, inflation(values <= np.median(values)))
