"""Latency: a timing loop that warms up until steady, and percentiles that know their error.

Each sample is one forward pass of one batch in eval and inference mode. On a GPU two clocks run:
the wall clock around copying the input from the host, the forward pass and a synchronisation
(end to end), and a pair of events around the forward pass alone (device). Nothing is thrown away:
a slow sample is what a p99 is about.

Intervals come from order statistics, which need no assumption about the distribution (Hahn and
Meeker, Statistical Intervals, chapter 5): of n independent samples the number below the
q-quantile is binomial(n, q). Samples in a row are not quite independent, since clocks and other
processes drift, so an interval covers this session of measuring, not the next reboot.
"""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch
from scipy.stats import binom
from torch import Tensor, nn

from hwn2n.errors import InputError, MeasurementError

# Steady: the medians of two successive windows of samples differ by less than this share.
_WINDOW = 5
_STEADY = 0.05
# How much longer than asked the warm-up may go on looking for a steady state.
_MOST_WARMUPS = 10


@dataclass(frozen=True, kw_only=True)
class LatencySample:
    """The raw timings of one model on one device, in seconds for one batch.

    `samples_s` (n,) is end to end, `device_samples_s` (n,) between device events, None on a CPU.
    `steady` says whether the warm-up ended because the times had settled, not because it had
    lasted long enough.
    """

    samples_s: np.ndarray
    device_samples_s: np.ndarray | None = None
    warmup_rounds: int = 0
    steady: bool = True
    threads: int = field(default_factory=torch.get_num_threads)

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

        It covers with at least `confidence`, half of the error on each side. Raises
        MeasurementError below the number of samples that supports it (`samples_needed`).
        """
        samples = np.sort(self._chosen(device))
        needed = samples_needed(q, confidence=confidence, sides=2)
        if len(samples) < needed:
            raise MeasurementError(
                f"an interval of p{q:g} at {confidence:.0%} needs at least {needed} samples; "
                f"found {len(samples)}"
            )
        count, error = len(samples), (1 - confidence) / 2
        # Ranks from 1: P(X_(low) > quantile) = P(binomial < low) <= error, and likewise above.
        high = int(binom.ppf(1 - error, count, q / 100)) + 1
        low = count + 1 - (int(binom.ppf(1 - error, count, 1 - q / 100)) + 1)
        return float(samples[low - 1]), float(samples[high - 1])

    def _chosen(self, device: bool) -> np.ndarray:
        if not device:
            return self.samples_s
        if self.device_samples_s is None:
            raise MeasurementError("device times need an accelerator; these were taken on a CPU")
        return self.device_samples_s


def samples_needed(q: float, *, confidence: float = 0.95, sides: int = 2) -> int:
    """The smallest number of samples whose extremes bound the q-th percentile.

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


def measure_latency(
    model: nn.Module,
    example: Tensor,
    *,
    seconds: float = 0.3,
    warmup_seconds: float = 0.1,
    min_samples: int = samples_needed(95),
    threads: int | None = None,
) -> LatencySample:
    """Time `model` on `example` (batch, channels, height, width), which sets the batch.

    The loop ends when it has lasted `seconds` and taken `min_samples` samples, whichever is
    later. The model runs where its parameters are; on a GPU each sample copies the input from
    pinned host memory. `threads` sets torch's intra-op threads for the time of the measurement.
    Modes, threads and garbage collection are as before afterwards. Raises MeasurementError where
    the model does not run.
    """
    if seconds < 0 or warmup_seconds < 0 or min_samples < 1:
        raise InputError(
            "seconds must be at least 0 and min_samples at least 1; "
            f"found {seconds=}, {warmup_seconds=}, {min_samples=}"
        )
    if threads is not None and threads < 1:
        raise InputError(f"threads must be at least 1; found {threads}")
    first = next(model.parameters(), None)
    device = example.device if first is None else first.device
    with _quiet(model, threads), torch.inference_mode():
        try:
            once = _timer(model, example, device)
            warmup_rounds, steady = _warm_up(once, warmup_seconds)
            samples: list[tuple[float, float | None]] = []
            end = time.perf_counter() + seconds
            while len(samples) < min_samples or time.perf_counter() < end:
                samples.append(once())
        except Exception as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            raise MeasurementError(
                f"the model must run on an input of shape {tuple(example.shape)} to be timed; "
                f"found {reason}"
            ) from error
        used = torch.get_num_threads()
    on_device = [inner for _, inner in samples if inner is not None]
    return LatencySample(
        samples_s=np.array([outer for outer, _ in samples]),
        device_samples_s=np.array(on_device) if on_device else None,
        warmup_rounds=warmup_rounds,
        steady=steady,
        threads=used,
    )


def _timer(
    model: nn.Module, example: Tensor, device: torch.device
) -> Callable[[], tuple[float, float | None]]:
    """A function that runs one forward and gives (end to end, device or None) in seconds."""
    if device.type != "cuda":
        resident = example.to(device)

        def on_cpu() -> tuple[float, float | None]:
            start = time.perf_counter_ns()
            model(resident)
            return (time.perf_counter_ns() - start) * 1e-9, None

        return on_cpu

    host = example.cpu().pin_memory()
    begin = torch.cuda.Event(enable_timing=True)
    finish = torch.cuda.Event(enable_timing=True)

    def on_gpu() -> tuple[float, float | None]:
        torch.cuda.synchronize(device)
        start = time.perf_counter_ns()
        copied = host.to(device, non_blocking=True)
        begin.record(torch.cuda.current_stream(device))
        model(copied)
        finish.record(torch.cuda.current_stream(device))
        torch.cuda.synchronize(device)
        return (time.perf_counter_ns() - start) * 1e-9, begin.elapsed_time(finish) * 1e-3

    return on_gpu


def _warm_up(once: Callable[[], tuple[float, float | None]], seconds: float) -> tuple[int, bool]:
    """Run until `seconds` have passed and two windows of samples agree; (rounds, agreed)."""
    times: list[float] = []
    start = time.perf_counter()
    while True:
        times.append(once()[0])
        elapsed = time.perf_counter() - start
        if elapsed < seconds or len(times) < 2 * _WINDOW:
            # A model so slow that two windows would take forever is warm after the time limit.
            if elapsed > _MOST_WARMUPS * max(seconds, 0.1):
                return len(times), False
            continue
        before = float(np.median(times[-2 * _WINDOW : -_WINDOW]))
        after = float(np.median(times[-_WINDOW:]))
        if abs(after - before) <= _STEADY * before:
            return len(times), True
        if elapsed > _MOST_WARMUPS * max(seconds, 0.1):
            return len(times), False


@contextmanager
def _quiet(model: nn.Module, threads: int | None) -> Iterator[None]:
    """Eval mode, the asked threads and no garbage collection; all restored at the end.

    Modes are set module by module: networks from torch.export refuse .eval(), and .train() would
    not restore a network whose modules were in different modes. The garbage of a search with its
    thousands of ledger rows would be charged to whichever student happens to be timed.
    """
    modes = [(module, module.training) for module in model.modules()]
    threads_before, collecting = torch.get_num_threads(), gc.isenabled()
    try:
        for module, _ in modes:
            module.training = False
        if threads is not None:
            torch.set_num_threads(threads)
        gc.disable()
        yield
    finally:
        if collecting:
            gc.enable()
        if threads is not None:
            torch.set_num_threads(threads_before)
        for module, training in modes:
            module.training = training
