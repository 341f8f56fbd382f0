import gc
import time

import numpy as np
import pytest
import torch
from torch import nn

from hwn2n.errors import InputError, MeasurementError
from hwn2n.hardware.latency import LatencySample, measure_latency, samples_needed

FAST = {"seconds": 0.0, "warmup_seconds": 0.0, "min_samples": 3}


class Sleeper(nn.Module):
    """Takes a known time, and records how it was run."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds
        self.calls: list[tuple] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls.append(
            (
                self.training,
                torch.is_inference_mode_enabled(),
                torch.get_num_threads(),
                gc.isenabled(),
            )
        )
        time.sleep(self.seconds)
        return x


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
    assert LatencySample(samples_s=np.arange(72.0)).interval(95)[1] == 71.0
    with pytest.raises(MeasurementError, match="at least 72 samples; found 71"):
        LatencySample(samples_s=np.arange(71.0)).interval(95)


def test_intervals_are_the_textbook_order_statistics():
    # Ranks 40 and 61 of 100 for the median: P(40 <= binomial(100, 0.5) <= 60) = 0.965.
    shuffled = np.random.default_rng(0).permutation(np.arange(1.0, 101.0))
    sample = LatencySample(samples_s=shuffled)
    assert sample.interval(50) == (40.0, 61.0)
    assert sample.percentile(50) == 50.5
    # The smallest sample that has an interval for the median uses both extremes.
    assert LatencySample(samples_s=np.arange(6.0)).interval(50) == (0.0, 5.0)


@pytest.mark.parametrize(("q", "count"), [(50, 30), (95, 200), (10, 80)])
def test_intervals_cover_as_often_as_they_say(q, count):
    random = np.random.default_rng(1)
    truth = -np.log(1 - q / 100)  # the quantile of the exponential distribution
    hits = 0
    for _ in range(2000):
        low, high = LatencySample(samples_s=random.exponential(size=count)).interval(q)
        hits += low <= truth <= high
    assert hits / 2000 >= 0.95 - 0.012  # at least the confidence, less 2.5 standard errors


def test_arguments_are_checked():
    sample = LatencySample(samples_s=np.ones(100))
    for q in (0, 100, -1, float("nan")):
        with pytest.raises(InputError, match="a percentile must be between 0 and 100"):
            sample.percentile(q)
    with pytest.raises(InputError, match="a confidence must be between 0 and 1"):
        sample.interval(50, 1.0)
    with pytest.raises(MeasurementError, match="need an accelerator"):
        sample.percentile(50, device=True)
    for wrong in ({"seconds": -1}, {"min_samples": 0}, {"threads": 0}):
        with pytest.raises(InputError):
            measure_latency(nn.Identity(), torch.ones(1), **wrong)


def test_a_known_time_is_measured():
    sample = measure_latency(Sleeper(0.004), torch.ones(1, 1), **FAST | {"min_samples": 9})
    assert len(sample) == 9
    assert sample.samples_s.min() >= 0.004
    assert sample.percentile(50) < 0.02
    assert sample.device_samples_s is None
    assert sample.warmup_rounds >= 10


def test_the_loop_lasts_as_long_as_asked_and_takes_as_many_samples_as_needed():
    start = time.perf_counter()
    long = measure_latency(Sleeper(0.001), torch.ones(1), seconds=0.1, warmup_seconds=0.05)
    assert time.perf_counter() - start >= 0.15
    assert len(long) >= 72  # the default supports an interval of p95
    assert len(measure_latency(Sleeper(0.0), torch.ones(1), **FAST)) == 3


def test_outliers_are_kept():
    class Stumbles(Sleeper):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.calls.append(())
            time.sleep(0.05 if len(self.calls) % 7 == 0 else 0.0)
            return x

    sample = measure_latency(Stumbles(0.0), torch.ones(1), **FAST | {"min_samples": 14})
    assert (sample.samples_s > 0.04).sum() >= 2


def test_the_model_runs_quietly_and_everything_is_restored():
    model = Sleeper(0.0)
    model.child = nn.BatchNorm2d(3).eval()
    threads = torch.get_num_threads()
    asked = threads + 1
    sample = measure_latency(model, torch.ones(1), threads=asked, **FAST)
    assert set(model.calls) == {(False, True, asked, False)}
    assert sample.threads == asked
    assert (model.training, model.child.training) == (True, False)
    assert (torch.get_num_threads(), gc.isenabled()) == (threads, True)


def test_batch_norm_statistics_do_not_move():
    model = nn.BatchNorm2d(3).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    measure_latency(model, torch.rand(4, 3, 5, 5), **FAST)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    model(torch.rand(4, 3, 5, 5)).sum().backward()  # and it can still be trained


def test_a_model_that_fails_is_named_and_restored():
    model = nn.Linear(3, 3)
    threads = torch.get_num_threads()
    with pytest.raises(MeasurementError, match=r"on an input of shape \(1, 4\)") as caught:
        measure_latency(model, torch.ones(1, 4), threads=threads + 1, **FAST)
    assert "\n" not in str(caught.value)
    assert model.training
    assert (torch.get_num_threads(), gc.isenabled()) == (threads, True)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_gives_both_clocks():
    model = nn.Conv2d(3, 8, 3).cuda()
    sample = measure_latency(model, torch.rand(1, 3, 64, 64), **FAST | {"min_samples": 40})
    assert sample.device_samples_s is not None
    assert len(sample.device_samples_s) == len(sample) == 40
    assert (sample.device_samples_s > 0).all()
    assert sample.percentile(50, device=True) < sample.percentile(50)
