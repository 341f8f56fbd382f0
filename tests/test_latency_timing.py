"""The warm-up and the timing loop, on a clock that only the samples move."""

import math
import random

import numpy as np
import pytest
from simulated_timings import Machine

from hwn2n.errors import InputError, MeasurementError
from hwn2n.hardware.latency import measure_latency
from hwn2n.hardware.latency.steady import settled, warm_up

pytestmark = pytest.mark.usefixtures("unhurried")  # the bounds of the warm-up are told here


def timed(machine, sample, **settings):
    return measure_latency(sample, now=machine.now, pause=machine.pause, **settings)


class Throttle:
    """Reasons in the calls that are named, counted from 1."""

    def __init__(self, *calls, reasons=("too hot",)):
        self.calls, self.reasons, self.count = calls, reasons, 0

    def __call__(self):
        self.count += 1
        return list(self.reasons) if self.count in self.calls else []


def test_rounds_of_50_ms_and_at_least_5_samples():
    machine = Machine(0)
    sample = timed(machine, machine.sampler(0.02), seconds=0.3, warmup_seconds=0.0, min_samples=15)
    assert len(sample) == 15
    assert sample.rounds.tolist() == [0] * 5 + [1] * 5 + [2] * 5
    fast = timed(machine, machine.sampler(0.002), seconds=0.1, warmup_seconds=0.0, min_samples=1)
    assert np.bincount(fast.rounds).tolist() == [25, 25]
    assert fast.percentile(50) == pytest.approx(0.002)


def test_the_loop_lasts_as_long_as_asked_and_takes_as_many_samples_as_needed():
    machine = Machine(0)
    start = machine.time
    sample = timed(machine, machine.sampler(0.01), seconds=2.0, warmup_seconds=0.5)
    assert machine.time - start == pytest.approx(2.5, abs=0.02)
    assert sample.samples_s.sum() == pytest.approx(2.0, abs=0.02)
    assert sample.warmup_seconds >= 0.5
    slow = timed(machine, machine.sampler(1.0), seconds=0.0, warmup_seconds=0.0, min_samples=3)
    assert len(slow) == 3
    assert len(timed(machine, machine.sampler(0.001), seconds=0, warmup_seconds=0)) >= 72


def test_times_of_another_program_count_as_time():
    # trtexec's times are served at once: nothing passes on our own clock
    sample = measure_latency(
        lambda: (0.01, 0.008), seconds=1.0, warmup_seconds=0.1, now=lambda: 5.0
    )
    assert len(sample) == pytest.approx(100, abs=1)
    assert sample.device_samples_s.tolist() == [0.008] * len(sample)
    assert sample.warmup_runs == 41


def test_outliers_are_kept():
    machine = Machine(1, stumbles=0.1)
    sample = timed(machine, machine.sampler(0.01), seconds=1.0, warmup_seconds=0.0)
    assert 3 <= (sample.samples_s > 0.015).sum() <= 25


def test_throttled_rounds_are_thrown_away_and_said():
    machine = Machine(0)
    steps = iter(range(10_000))
    # The call after the warm-up clears what was before; the second and third round are throttled.
    sample = timed(
        machine,
        lambda: (machine.run(0.01) + next(steps) * 1e-9, None),
        seconds=0.2,
        warmup_seconds=0.0,
        min_samples=20,
        throttled=Throttle(1, 3, 4),
    )
    assert sample.discarded == 2
    assert sample.throttle_reasons == ("too hot",)
    assert sample.rounds.tolist() == [0] * 5 + [1] * 5 + [2] * 5 + [3] * 5
    numbers = np.round((sample.samples_s - 0.01) * 1e9).astype(int) - sample.warmup_runs
    assert numbers.tolist() == [*range(5), *range(15, 30)]
    assert sample.notes[0] == "2 rounds were thrown away because of too hot"
    assert machine.pauses == [0.05, 0.1]  # longer each time


def test_throttling_that_does_not_stop_is_an_error():
    machine = Machine(0)
    start = machine.time
    with pytest.raises(MeasurementError, match="does not throttle; found too hot, weak") as caught:
        timed(
            machine,
            machine.sampler(0.01),
            seconds=0.3,
            throttled=lambda: ["too hot", "weak supply"],
        )
    assert 9 < machine.time - start < 13
    assert "\n" not in str(caught.value)


def test_a_network_that_fails_is_one_line():
    def broken():
        raise RuntimeError("mat1 and mat2\nshapes cannot be multiplied")

    with pytest.raises(
        MeasurementError, match=r"must run to be timed; found RuntimeError: mat1 and"
    ):
        measure_latency(broken)

    def refusing():
        raise MeasurementError("the runtime's own words")

    with pytest.raises(MeasurementError, match=r"^the runtime's own words$"):
        measure_latency(refusing)


@pytest.mark.parametrize("wrong", [{"seconds": -1}, {"min_samples": 0}, {"warmup_seconds": -0.1}])
def test_arguments_are_checked(wrong):
    with pytest.raises(InputError, match="seconds must be at least 0 and min_samples at least 1"):
        measure_latency(lambda: (1.0, None), **wrong)


def test_constant_times_settle_after_forty_runs():
    # Quarters of 5 in the later half, looked at after 1, 2, 3 ... 10, 11, 13 ... 37, 41 runs.
    machine = Machine(0)
    warmed = warm_up(machine.sampler(0.001), 0.0, machine.now)
    assert (warmed.runs, warmed.steady) == (41, True)
    warmed = warm_up(machine.sampler(0.001), 0.8, machine.now)
    assert warmed.steady
    assert 0.8 <= warmed.seconds < 0.81


@pytest.mark.parametrize(
    ("noise", "span"),
    [(0.0, 5), (0.0, 40), (0.0, 150), (0.03, 5), (0.03, 40), (0.03, 150), (0.1, 5)],
)
def test_a_warm_up_curve_is_followed_down_to_its_plateau(noise, span):
    machine, draws, run = Machine(0), random.Random(0), 0

    def sample():
        nonlocal run
        curve = 1 + 2 * math.exp(-run / span)
        run += 1
        return machine.run(0.001 * curve * math.exp(noise * draws.gauss(0, 1))), None

    warmed = warm_up(sample, 0.05, machine.now)
    assert warmed.steady
    # What is left of the curve is a few per cent, or less than the noise of single samples.
    assert 2 * math.exp(-run / span) <= max(0.06, 1.5 * noise)


def test_a_rising_clock_never_settles():
    machine, run = Machine(0), 0

    def sample():
        nonlocal run
        run += 1
        return machine.run(0.001 * 1.01**run), None

    warmed = warm_up(sample, 0.0, machine.now)
    assert not warmed.steady
    assert warmed.seconds >= 2.0


def test_noise_and_two_levels_settle():
    machine = Machine(2, stumbles=0.3)
    assert warm_up(machine.sampler(0.001, noise=0.2), 0.2, machine.now).steady


def test_a_network_slower_than_the_warm_up_is_run_twice_and_not_steady():
    machine = Machine(0)
    warmed = warm_up(machine.sampler(3.0), 0.1, machine.now)
    assert (warmed.runs, warmed.steady, warmed.typical) == (2, False, 3.0)


def test_settled_by_hand():
    def quarters(*levels):
        return [9.0] * 20 + [level for level in levels for _ in range(5)]

    assert settled(quarters(1, 1, 1, 1))  # the earlier half does not count
    assert not settled([1.0] * 39)
    assert settled(quarters(1, 1.04, 1, 1.04))  # spread 4 %, no trend
    assert not settled(quarters(1, 1.06, 1, 1.06))  # spread 6 %
    assert not settled(quarters(1.04, 1.03, 1, 1))  # trend 3.5 %
    # Levels 6 % apart are nothing beside noise of 20 %, which hides a trend: not if it is strict.
    noisy = [9.0] * 20 + [
        level * x for level in (1, 1.06, 1, 1.06) for x in (0.8, 0.8, 1, 1.2, 1.2)
    ]
    assert settled(noisy)
    assert not settled(noisy, strict=True)
