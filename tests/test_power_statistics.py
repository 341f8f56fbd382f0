"""Intervals against textbook values and against how often they cover."""

import numpy as np
import pytest
from scipy import stats

from hwn2n.errors import InputError, MeasurementError
from hwn2n.hardware.power.statistics import difference_interval, mean_interval, ratio_interval


def test_the_interval_of_a_mean_is_students():
    # t_{3, 0.975} = 3.18245; s = sqrt(5/3); 3.18245 * s / 2 = 2.05427.
    low, high = mean_interval(np.array([1.0, 2.0, 3.0, 4.0]), 0.95)
    assert (low, high) == pytest.approx((2.5 - 2.05427, 2.5 + 2.05427), abs=1e-5)


def test_the_interval_of_a_difference_is_welchs():
    first = np.array([10.0, 12.0, 11.0, 13.0])
    second = np.array([4.0, 4.5, 5.0])
    test = stats.ttest_ind(first, second, equal_var=False).confidence_interval(0.9)
    assert difference_interval(first, second, 0.9) == pytest.approx((test.low, test.high))


def test_equal_readings_have_an_interval_of_no_width():
    same = np.full(5, 3.0)
    assert mean_interval(same, 0.95) == (3.0, 3.0)
    assert difference_interval(same, np.full(4, 1.0), 0.95) == (2.0, 2.0)
    assert ratio_interval(same, np.full(5, 2.0), 0.95) == (1.5, 1.5)


def test_a_ratio_of_proportional_pairs_is_certain():
    images = np.array([90.0, 100.0, 110.0])
    low, high = ratio_interval(0.25 * images, images, 0.95)
    assert (low, high) == pytest.approx((0.25, 0.25), abs=1e-12)


def test_the_interval_of_a_ratio_by_hand():
    # Ratio 6/6 = 1; residuals 1, 0, -1, so s = 1; half width 4.30265 * 1 / sqrt(3) / 2.
    low, high = ratio_interval(np.array([3.0, 2.0, 1.0]), np.full(3, 2.0), 0.95)
    assert (low, high) == pytest.approx((1 - 1.24207, 1 + 1.24207), abs=1e-5)


def test_intervals_cover_as_often_as_they_say():
    random = np.random.default_rng(2)
    hits = np.zeros(3)
    for _ in range(2000):
        gross, idle = random.normal(30, 1, 10), random.normal(10, 0.5, 5)
        images = random.normal(100, 5, 10)
        joules = 2.0 * images + random.normal(0, 3, 10)
        for k, ((low, high), truth) in enumerate(
            [
                (mean_interval(gross, 0.9), 30),
                (difference_interval(gross, idle, 0.9), 20),
                (ratio_interval(joules, images, 0.9), 2),
            ]
        ):
            hits[k] += low <= truth <= high
    assert (abs(hits / 2000 - 0.9) < 0.025).all()


def test_arguments_are_checked():
    with pytest.raises(MeasurementError, match="at least 2 readings; found 1"):
        mean_interval(np.ones(1), 0.95)
    for wrong in (0.0, 1.0, float("nan")):
        with pytest.raises(InputError, match="a confidence must be between 0 and 1"):
            mean_interval(np.arange(3.0), wrong)
