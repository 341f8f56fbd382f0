"""Intervals of a mean from a few parts of one window, by Student's t.

The parts of a window are taken for independent and alike, which a power reading is once the device
has settled and a part is several times longer than the sensor's memory.

scipy.stats is imported where it is used: it takes a second, and most commands measure nothing.
"""

from __future__ import annotations

import math

import numpy as np

from hwn2n.errors import InputError, MeasurementError


def mean_interval(values: np.ndarray, confidence: float) -> tuple[float, float]:
    """The interval of the mean of `values` (n,): mean -+ t_{n-1} s / sqrt(n)."""
    error, freedom = standard_error(values)
    return _around(float(np.mean(values)), error, freedom, confidence)


def difference_interval(
    first: np.ndarray, second: np.ndarray, confidence: float
) -> tuple[float, float]:
    """The interval of mean(first) - mean(second), for (n,) and (m,) of unlike spread.

    Welch's: the variances of the means add up, and the degrees of freedom are Satterthwaite's.
    """
    (a, freedom_a), (b, freedom_b) = standard_error(first), standard_error(second)
    variance = a**2 + b**2
    freedom = math.inf
    if variance > 0:
        freedom = variance**2 / (a**4 / freedom_a + b**4 / freedom_b)
    middle = float(np.mean(first) - np.mean(second))
    return _around(middle, math.sqrt(variance), freedom, confidence)


def ratio_interval(above: np.ndarray, below: np.ndarray, confidence: float) -> tuple[float, float]:
    """The interval of sum(above) / sum(below), both (n,), of pairs that vary together.

    Cochran, Sampling Techniques, chapter 6: the residuals above - ratio * below have the spread,
    s / (sqrt(n) mean(below)) is the standard error.
    """
    ratio = float(above.sum() / below.sum())
    # The residuals' mean is zero by the definition of the ratio.
    error, freedom = standard_error(above - ratio * below)
    return _around(ratio, error / float(below.mean()), freedom, confidence)


def standard_error(values: np.ndarray) -> tuple[float, int]:
    """s / sqrt(n) of (n,), and its n - 1 degrees of freedom; MeasurementError below two values."""
    if len(values) < 2:
        raise MeasurementError(f"an interval needs at least 2 readings; found {len(values)}")
    return float(np.std(values, ddof=1)) / math.sqrt(len(values)), len(values) - 1


def _around(middle: float, error: float, freedom: float, confidence: float) -> tuple[float, float]:
    if not 0 < confidence < 1:
        raise InputError(f"a confidence must be between 0 and 1; found {confidence!r}")
    if error == 0:
        return middle, middle
    from scipy.stats import t

    reach = float(t.ppf((1 + confidence) / 2, freedom)) * error
    return middle - reach, middle + reach
