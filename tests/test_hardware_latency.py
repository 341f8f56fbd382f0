"""Percentiles, intervals and throughput of raw timings."""

import json
import math

import numpy as np
import pytest

from hwn2n.errors import InputError, MeasurementError
from hwn2n.hardware.latency import LatencySample, samples_needed
from hwn2n.hardware.latency.correlation import inflation, inflation_at
from hwn2n.hardware.latency.samples import ranks


def shuffled(count: int) -> np.ndarray:
    """1 ... count in an order that means nothing."""
    return np.random.default_rng(0).permutation(np.arange(1.0, count + 1))


def drifting(random: np.random.Generator, runs: int, count: int, memory: float) -> np.ndarray:
    """(runs, count) normal values, correlated by `memory` from one to the next."""
    values = np.empty((runs, count))
    values[:, 0] = random.standard_normal(runs)
    innovations = random.standard_normal((runs, count)) * math.sqrt(1 - memory**2)
    for index in range(1, count):
        values[:, index] = memory * values[:, index - 1] + innovations[:, index]
    return values


@pytest.mark.parametrize(
    ("q", "confidence", "sides", "needed"),
    [
        (90, 0.95, 1, 29),
        (95, 0.95, 1, 59),
        (99, 0.95, 1, 299),
        (50, 0.95, 1, 5),
        (50, 0.95, 2, 6),
        (90, 0.95, 2, 36),
        (95, 0.95, 2, 72),
        (99, 0.95, 2, 368),
        (5, 0.95, 2, 72),
        (99, 0.5, 1, 69),
    ],
)
def test_samples_needed(q, confidence, sides, needed):
    assert samples_needed(q, confidence=confidence, sides=sides) == needed


def test_a_percentile_is_refused_below_its_sample_count():
    for q, needed in [(90, 29), (95, 59), (99, 299)]:
        assert LatencySample(samples_s=np.ones(needed)).percentile(q) == 1.0
        with pytest.raises(MeasurementError, match=f"p{q} needs at least {needed} samples"):
            LatencySample(samples_s=np.ones(needed - 1)).percentile(q)


def test_an_interval_is_refused_below_its_sample_count():
    assert LatencySample(samples_s=shuffled(72)).interval(95)[1] == 72.0
    with pytest.raises(MeasurementError, match="at least 72 samples; found 71"):
        LatencySample(samples_s=shuffled(71)).interval(95)
    with pytest.raises(MeasurementError, match="p95 at 99% needs at least 104 samples; found 72"):
        LatencySample(samples_s=shuffled(72)).interval(95, 0.99)


def test_intervals_are_the_textbook_order_statistics():
    # Ranks 40 and 61 of 100 for the median: P(40 <= binomial(100, 0.5) <= 60) = 0.965.
    assert ranks(100, 100, 50, 0.95) == (40, 61)
    assert LatencySample(samples_s=shuffled(100)).percentile(50) == 50.5
    # The smallest sample that has an interval for the median uses both extremes.
    assert ranks(6, 6, 50, 0.95) == (1, 6)


def test_ranks_of_correlated_samples_are_those_of_fewer_spread_over_all():
    # Of 20 the ranks 6 and 15 bound the median; 15 of 20 is 75 of 100.
    assert ranks(20, 20, 50, 0.95) == (6, 15)
    assert ranks(100, 20, 50, 0.95) == (26, 75)
    assert ranks(100, 1, 50, 0.95) == (1, 100)
    assert ranks(300, 10, 95, 0.95)[1] == 300


def test_inflation_of_an_alternation_and_of_a_staircase():
    assert inflation(np.ones(50)) == 1.0
    assert inflation(np.array([1.0, 2.0])) == 1.0
    assert inflation(np.tile([0.0, 1.0], 50)) == 1.0  # the mean of these hardly varies
    # 10 levels of 10 samples each are worth about 10.
    stairs = np.repeat(np.random.default_rng(3).standard_normal(40), 10)
    assert 6 < inflation(stairs) < 14


@pytest.mark.parametrize("memory", [0.0, 0.5, 0.9])
def test_inflation_of_ar1_is_that_of_the_formula(memory):
    random = np.random.default_rng(4)
    found = [inflation(row) for row in drifting(random, 40, 4000, memory)]
    assert np.median(found) == pytest.approx((1 + memory) / (1 - memory), rel=0.15)


def test_inflation_of_a_tail_counts_that_of_the_median_where_the_tail_is_thin():
    values = drifting(np.random.default_rng(5), 1, 72, 0.9)[0]
    at_median = inflation(values <= np.median(values))
    assert inflation_at(values, 95) >= at_median > 2
    assert LatencySample(samples_s=values).worth(95) <= 72 / at_median


@pytest.mark.parametrize(
    ("q", "count", "memory", "least"),
    [
        (50, 30, 0.0, 0.94),
        (95, 200, 0.0, 0.94),
        (10, 80, 0.0, 0.94),
        (50, 300, 0.5, 0.93),
        (50, 300, 0.8, 0.92),
        (95, 300, 0.8, 0.90),
        (50, 72, 0.8, 0.90),
        (95, 1000, 0.9, 0.92),
    ],
)
def test_intervals_cover_as_often_as_they_say(q, count, memory, least):
    random = np.random.default_rng(1)
    truth = math.exp(0.1 * 1.6448536269514722 * {50: 0, 95: 1, 10: -0.7791547}[q])
    hits = 0
    for row in np.exp(0.1 * drifting(random, 500, count, memory)):
        low, high = LatencySample(samples_s=row).interval(q)
        hits += low <= truth <= high
    assert hits / 500 >= least


def test_without_regard_to_correlation_they_would_not():
    random, hits = np.random.default_rng(1), 0
    for row in drifting(random, 500, 300, 0.8):
        low, high = ranks(300, 300, 50, 0.95)
        ordered = np.sort(row)
        hits += ordered[low - 1] <= 0 <= ordered[high - 1]
    assert hits / 500 < 0.7


@pytest.mark.parametrize(("memory", "least"), [(0.0, 0.92), (0.8, 0.91)])
def test_throughput_covers_as_often_as_it_says(memory, least):
    random, hits = np.random.default_rng(2), 0
    for row in 0.01 + 0.001 * drifting(random, 500, 200, memory):
        value, low, high = LatencySample(samples_s=row).throughput(4)
        assert low <= value <= high
        hits += low <= 400 <= high
    assert hits / 500 >= least


def test_throughput_of_known_times():
    sample = LatencySample(samples_s=np.full(6, 0.02))
    assert sample.mean == pytest.approx(0.02)
    assert sample.throughput(8) == pytest.approx((400.0, 400.0, 400.0))
    # Never more than the fastest inference would give.
    wild = LatencySample(samples_s=np.array([0.01, 1.0, 0.01, 1.0, 0.01, 1.0]))
    assert wild.throughput(1)[2] == pytest.approx(100.0)
    with pytest.raises(MeasurementError, match="at least 6 samples; found 5"):
        LatencySample(samples_s=np.ones(5)).throughput(1)
    for wrong in ((0, 0.95), (1, 1.0)):
        with pytest.raises(InputError, match="a throughput needs a batch"):
            sample.throughput(*wrong)


def test_arguments_are_checked():
    sample = LatencySample(samples_s=np.ones(100))
    for q in (0, 100, -1, float("nan")):
        with pytest.raises(InputError, match="a percentile must be between 0 and 100"):
            sample.percentile(q)
    with pytest.raises(InputError, match="a confidence must be between 0 and 1"):
        sample.interval(50, 1.0)
    with pytest.raises(MeasurementError, match="need an accelerator"):
        sample.percentile(50, device=True)


def test_device_times_are_a_sample_of_their_own():
    sample = LatencySample(samples_s=np.full(6, 2.0), device_samples_s=np.full(6, 1.0))
    assert sample.percentile(50, device=True) == 1.0
    assert sample.interval(50, device=True) == (1.0, 1.0)


def test_notes_say_what_is_wrong_with_the_times():
    assert LatencySample(samples_s=shuffled(100)).notes == ()
    noted = LatencySample(
        samples_s=np.repeat(shuffled(10), 10),
        steady=False,
        warmup_runs=50,
        warmup_seconds=1.25,
        discarded=3,
        throttle_reasons=("GPU software thermal slowdown",),
    ).notes
    assert noted[0] == "times had not settled after a warm-up of 50 runs in 1.2 s"
    assert noted[1] == "3 rounds were thrown away because of GPU software thermal slowdown"
    assert noted[2].startswith("successive times resemble one another: 100 of them are worth")


def test_all_raw_samples_are_in_the_json():
    sample = LatencySample(
        samples_s=np.array([0.0123456789123, 0.02]), rounds=np.array([0, 1]), cpus=(1,), threads=3
    )
    content = json.loads(json.dumps(sample.to_json()))
    assert content["samples_s"] == [0.012345679, 0.02]
    assert content["rounds"] == [0, 1]
    assert content["device_samples_s"] is None
    assert (content["threads"], content["cpus"], content["steady"]) == (3, [1], True)
