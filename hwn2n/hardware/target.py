"""A target: a device, a runtime and how a network is measured on it.

`Target` is what the search needs of one; `LocalTarget` runs networks with torch on this machine.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from hwn2n.budget.columns import COLUMNS, in_order
from hwn2n.budget.cost import Cost, Reading
from hwn2n.errors import InputError, MeasurementError
from hwn2n.hardware.counts import count
from hwn2n.hardware.fingerprint import fingerprint
from hwn2n.hardware.latency import LatencySample, measure_latency, samples_needed

Precision = Literal["fp32", "fp16", "bf16"]
_DTYPES: dict[str, torch.dtype] = {
    "fp32": torch.float32,
    "fp16": torch.float16,
    "bf16": torch.bfloat16,
}
_COUNTED = ("params", "flops", "weight_bytes")
_CONFIDENCE = 0.95


class Target(ABC):
    """What measures a network. A column that it cannot measure is unavailable, never 0."""

    @property
    @abstractmethod
    def name(self) -> str:
        """The name that stands in results, such as "cpu"."""

    @abstractmethod
    def fingerprint(self) -> dict[str, Any]:
        """The machine and the settings as JSON values; costs compare only where these agree."""

    @abstractmethod
    def available(self, columns: Iterable[str]) -> dict[str, str]:
        """For each of `columns` that cannot be had here, the reason why; empty if all can.

        Learned columns (the accuracies) are never among them: they come from training, and no
        target has a say in that.
        """

    @abstractmethod
    def measure(
        self, model: nn.Module, input_shape: tuple[int, ...], columns: Iterable[str]
    ) -> Cost:
        """The readings of `columns` for `model` on images of `input_shape` (C, H, W).

        Learned and unavailable columns are absent from the result. The model is left untouched.
        Raises MeasurementError where the model cannot be counted or run.
        """


class LocalTarget(Target):
    """This machine, with torch in eager mode.

    `device` is "cpu", "cuda" or "cuda:1"; a CUDA device that this machine lacks still counts, and
    reports its measured columns as unavailable. `batch` is the number of images of one inference,
    `threads` the CPU threads (None: as torch is set), `precision` that of weights and inputs.
    `seconds` is how long one latency measurement lasts; it goes on for longer where the
    percentile needs more samples.
    """

    def __init__(
        self,
        device: str = "cpu",
        *,
        batch: int = 1,
        threads: int | None = None,
        precision: Precision = "fp32",
        seconds: float = 0.3,
        warmup_seconds: float = 0.1,
    ) -> None:
        try:
            self.device = torch.device(device)
        except (RuntimeError, TypeError) as error:
            raise InputError(
                f"the device of a target must be cpu, cuda or cuda:N; found {device!r}"
            ) from error
        if self.device.type not in ("cpu", "cuda"):
            raise InputError(
                f"the device of a target must be cpu, cuda or cuda:N; found {device!r}"
            )
        if batch < 1 or (threads is not None and threads < 1):
            raise InputError(
                f"batch and threads of a target must be at least 1; found {batch=}, {threads=}"
            )
        if precision not in get_args(Precision):
            raise InputError(
                f"precision must be one of {', '.join(get_args(Precision))}; found {precision!r}"
            )
        self.batch = batch
        self.threads = threads
        self.precision: Precision = precision
        self.seconds = seconds
        self.warmup_seconds = warmup_seconds

    @property
    def name(self) -> str:
        """The device, and the settings that are not the usual ones: "cuda batch=64 bf16"."""
        parts = [str(self.device)]
        if self.batch != 1:
            parts.append(f"batch={self.batch}")
        if self.threads is not None:
            parts.append(f"threads={self.threads}")
        if self.precision != "fp32":
            parts.append(self.precision)
        return " ".join(parts)

    def fingerprint(self) -> dict[str, Any]:
        """The machine's fingerprint and this target's own settings."""
        return fingerprint() | {
            "device": str(self.device),
            "runtime": "eager",
            "batch": self.batch,
            "precision": self.precision,
            "set_threads": self.threads,
        }

    def available(self, columns: Iterable[str]) -> dict[str, str]:
        """Reasons for the columns that are unavailable here (see `Target.available`)."""
        reasons = {name: self._why_not(name) for name in in_order(columns)}
        return {name: reason for name, reason in reasons.items() if reason is not None}

    def _why_not(self, name: str) -> str | None:
        column = COLUMNS[name]
        if column.learned or name in _COUNTED:
            return None
        if column.metric in ("power", "energy"):
            return "no power source is read yet on this target"
        if column.metric != "latency":
            return f"{column.metric} is not measured yet on this target"
        if column.scope == "device" and self.device.type == "cpu":
            return "a CPU has no device clock apart from the wall clock; use the end-to-end latency"
        return self._device_missing()

    def _device_missing(self) -> str | None:
        if self.device.type == "cpu":
            return None
        if not torch.cuda.is_available():
            return "torch sees no CUDA device on this machine"
        index, known = self.device.index or 0, torch.cuda.device_count()
        return None if index < known else f"torch sees {known} CUDA devices, so no {self.device}"

    def measure(
        self, model: nn.Module, input_shape: tuple[int, ...], columns: Iterable[str]
    ) -> Cost:
        """The readings of `columns` (see `Target.measure`).

        Measured readings carry their 95 % interval. Counts are of the network in this target's
        precision, so half-precision weights take half of the bytes.
        """
        if len(input_shape) != 3 or min(input_shape) < 1:
            raise InputError(
                f"an input shape must be (channels, height, width); found {tuple(input_shape)}"
            )
        wanted = in_order(columns)
        unavailable = self.available(wanted)
        counted = [name for name in wanted if name in _COUNTED]
        timed = [n for n in wanted if COLUMNS[n].metric == "latency" and n not in unavailable]
        if not counted and not timed:
            return {}
        subject = self._placed(model)
        cost: dict[str, Reading] = {}
        if counted:
            counts = count(subject, self._images(input_shape, 1))
            cost |= {name: Reading(getattr(counts, name), "exact") for name in counted}
        if timed:
            cost |= self._latencies(subject, self._images(input_shape, self.batch), timed)
        return cost

    def _placed(self, model: nn.Module) -> nn.Module:
        """A copy of `model` on the device in the precision; on the CPU if there is no device."""
        device = torch.device("cpu") if self._device_missing() else self.device
        try:
            return copy.deepcopy(model).to(device=device, dtype=_DTYPES[self.precision])
        except Exception as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            raise MeasurementError(
                f"the model must be copyable to {self.name} to be measured; found {reason}"
            ) from error

    def _images(self, input_shape: tuple[int, ...], batch: int) -> Tensor:
        """Noise in 0..1: zeros would flatter sparse-aware kernels and power readings."""
        device = torch.device("cpu") if self._device_missing() else self.device
        generator = torch.Generator().manual_seed(0)
        images = torch.rand((batch, *input_shape), generator=generator)
        return images.to(device=device, dtype=_DTYPES[self.precision])

    def _latencies(
        self, model: nn.Module, images: Tensor, columns: list[str]
    ) -> dict[str, Reading]:
        quantiles = {name: float((COLUMNS[name].stat or "").lstrip("p")) for name in columns}
        devices = [self.device] if self.device.type == "cuda" else []
        # fork_rng: how often the loop runs depends on the clock, and must not shift the caller's
        # random numbers where a forward draws some.
        with torch.random.fork_rng(devices):
            sample = measure_latency(
                model,
                images,
                seconds=self.seconds,
                warmup_seconds=self.warmup_seconds,
                min_samples=max(
                    samples_needed(q, confidence=_CONFIDENCE) for q in quantiles.values()
                ),
                threads=self.threads,
            )
        return {name: _reading(sample, q, COLUMNS[name].scope) for name, q in quantiles.items()}


def _reading(sample: LatencySample, q: float, scope: str | None) -> Reading:
    on_device = scope == "device"
    value = sample.percentile(q, device=on_device)
    low, high = sample.interval(q, _CONFIDENCE, device=on_device)
    # Interpolation can put the estimate an ulp beside the order statistics around it.
    return Reading(value, "measured", low=min(low, value), high=max(high, value))


def build_target(target: str | Mapping[str, Any] | None) -> Target:
    """The target of a budget's `target:`, a device name, an inline mapping, or None for the CPU.

    Raises InputError where there is none of that name.
    """
    if target is None:
        return LocalTarget("cpu")
    if isinstance(target, str):
        return LocalTarget(target)
    settings = dict(target)
    runtime = settings.pop("runtime", "eager")
    if runtime != "eager":
        raise InputError(f"the runtime of a target must be eager; found {runtime!r}")
    known = ("device", "batch", "threads", "precision")
    unknown = sorted(set(settings) - set(known))
    if unknown:
        raise InputError(f"a target has the keys {', '.join(known)}; found {unknown[0]!r}")
    return LocalTarget(**settings)
