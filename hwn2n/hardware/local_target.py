"""This machine as a target: counts, clocks and meters around one network at a time."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from hwn2n.budget.columns import COLUMNS, in_order
from hwn2n.budget.cost import Cost, How, Reading
from hwn2n.budget.target_schema import TargetModel, settings_of
from hwn2n.errors import MeasurementError
from hwn2n.hardware.conditions import board_model, conditions
from hwn2n.hardware.counts import count
from hwn2n.hardware.fingerprint import RUNTIME_PACKAGES, fingerprint, installed
from hwn2n.hardware.matching import described, device_missing, why_not_this_machine
from hwn2n.hardware.measurement import (
    DURATIONS,
    FULL,
    Beside,
    Duration,
    Effort,
    Measurement,
    MeasurementProtocol,
)
from hwn2n.hardware.memory import peak_memory
from hwn2n.hardware.placing import check_shape, host_batch, placed
from hwn2n.hardware.power import Missing, PowerSource, find_source
from hwn2n.hardware.runner import Runner
from hwn2n.hardware.runtimes import RUNTIMES, Executable
from hwn2n.hardware.session import POWER
from hwn2n.hardware.target import Target

_DTYPES: dict[str, torch.dtype] = {
    "fp32": torch.float32,
    "fp16": torch.float16,
    "bf16": torch.bfloat16,
}
_PREFERENCES = ("round_to", "min_width")
_COUNTED = ("params", "flops", "weight_bytes")


class LocalTarget(Target):
    """This machine, or nothing but counts where it is not the one that `settings` describe.

    `name` is what stands in results, by default the device and the settings that are not the usual
    ones. A CUDA device that this machine lacks still counts, and reports its measured columns as
    unavailable. `durations` are for tests and for the impatient.
    """

    def __init__(
        self,
        settings: TargetModel | str = "cpu",
        *,
        name: str | None = None,
        durations: dict[Effort, Duration] | None = None,
    ) -> None:
        self.settings = TargetModel(device=settings) if isinstance(settings, str) else settings
        self.device = torch.device(self.settings.device)
        self.precision = self.settings.precision
        self._dtype = _DTYPES[self.precision]
        self.runtime = RUNTIMES[self.settings.runtime]
        self.batch = self.settings.batch or 1
        wanted = {name: getattr(self.settings, name) for name in _PREFERENCES}
        self.preferences = {name: value for name, value in wanted.items() if value is not None}
        self.durations = durations or DURATIONS
        self._name = name
        self._source: PowerSource | Missing | None = None
        self._runner = Runner(
            device=self.device,
            threads=self.settings.threads,
            durations=self.durations,
            # Not bound here: both may be another's.
            prepare=lambda model, images: self.prepare(model, images),
            power_source=lambda: self.power_source(),
            # Where building takes long, as with a compiler, once has to be enough.
            anew=self.settings.runtime == "eager",
        )

    @property
    def name(self) -> str:
        """The name given, or the settings that matter: "cuda tensorrt fp16 batch=64"."""
        return self._name or described(self.settings)

    def to_json(self) -> dict[str, Any]:
        """Name and settings, from which `targets.build_target` makes the same target."""
        return {"name": self._name, **settings_of(self.settings)}

    def fingerprint(self) -> dict[str, Any]:
        """The machine's fingerprint and this target's own settings."""
        own = self.to_json() | {"name": self.name, "batch": self.batch}
        own = {key: value for key, value in own.items() if key not in _PREFERENCES}
        speed = {"board": board_model(), "cudnn": None, "driver": None}
        if self._where().type == "cuda":
            speed["cudnn"] = torch.backends.cudnn.version()
            speed["driver"] = conditions(self.device).get("gpu", {}).get("driver")
        packages = {"runtime_packages": installed(RUNTIME_PACKAGES[self.settings.runtime])}
        return fingerprint() | speed | packages | {"target": own}

    def unavailable(self, columns: Iterable[str]) -> dict[str, str]:
        """Reasons for the columns that are unavailable here (see `Target.unavailable`)."""
        reasons = {name: self._why_not(name) for name in in_order(columns)}
        return {name: reason for name, reason in reasons.items() if reason is not None}

    def _why_not(self, name: str) -> str | None:
        column = COLUMNS[name]
        if column.learned or name in _COUNTED:
            return None
        if name == "file_bytes":
            return self.runtime.file_missing(self.device, self._dtype)
        if column.scope == "device" and self.device.type == "cpu":
            return "a CPU has no device clock apart from the wall clock; use the end-to-end latency"
        if reason := why_not_this_machine(self.settings):
            return reason
        if name == "peak_memory":
            return None
        if reason := self.runtime.missing(self.device, self._dtype):
            return reason
        if name in POWER and isinstance(source := self.power_source(), Missing):
            return source.reason
        return None

    def power_source(self) -> PowerSource | Missing:
        """What reads power here, or why nothing does; looked for once."""
        if self._source is None:
            self._source = find_source(self.settings.device, self.settings.power)
        return self._source

    def measure(
        self,
        model: nn.Module,
        input_shape: tuple[int, ...],
        columns: Iterable[str],
        protocol: MeasurementProtocol = FULL,
    ) -> Cost:
        """The readings of `columns` (see `Target.measure`)."""
        return self.examine(model, input_shape, columns, protocol).cost

    def examine(
        self,
        model: nn.Module,
        input_shape: tuple[int, ...],
        columns: Iterable[str],
        protocol: MeasurementProtocol = FULL,
    ) -> Measurement:
        """The readings of `columns` and how they came about (see `Target.examine`).

        Counts are of the network in this target's precision, so half-precision weights take half
        of the bytes. Clocks run before the power windows: those heat the device.
        """
        check_shape(input_shape)
        wanted = self._wanted(columns)
        if not wanted:
            return Measurement({})
        # How often a network runs depends on the clock, and must not shift the caller's random
        # numbers where a forward draws some.
        devices = [self.device] if self._where().type == "cuda" else []
        with torch.random.fork_rng(devices):
            subject = self._placed(model)
            images = self._images(input_shape, self.batch, protocol.images)
            cost = self._counted(subject, images, wanted)
            running = [name for name in wanted if name not in cost]
            if not running:
                return Measurement(cost)
            found = self._runner.alone(subject, images, running, protocol)
        return replace(found, cost=_in_order({**cost, **found.cost}))

    def _wanted(self, columns: Iterable[str]) -> list[str]:
        missing = self.unavailable(columns := in_order(columns))
        return [n for n in columns if n not in missing and not COLUMNS[n].learned]

    def _counted(self, subject: nn.Module, images: Tensor, wanted: list[str]) -> dict[str, Reading]:
        """The readings among `wanted` that need no clock."""
        cost: dict[str, Reading] = {}
        if counted := [name for name in wanted if name in _COUNTED]:
            counts = count(subject, images[:1].to(self._where()))
            cost |= {name: Reading(getattr(counts, name), "exact") for name in counted}
        if "file_bytes" in wanted:
            # An engine's size depends on the tactics that its builder measured to be the fastest.
            how: How = "measured" if self.settings.runtime == "tensorrt" else "exact"
            cost["file_bytes"] = Reading(self.runtime.file_bytes(subject, images), how)
        if "peak_memory" in wanted:
            memory = peak_memory(subject, images.to(self._where()))
            cost["peak_memory"] = Reading(memory, "measured")
        return cost

    def measure_beside(
        self,
        student: nn.Module,
        teacher: nn.Module,
        input_shape: tuple[int, ...],
        columns: Iterable[str],
        teacher_columns: Iterable[str],
        protocol: MeasurementProtocol = FULL,
    ) -> Beside:
        """Both networks (see `Target.measure_beside`), on the clock in turns."""
        check_shape(input_shape)
        whole, part = self._wanted(teacher_columns), self._wanted(columns)
        devices = [self.device] if self._where().type == "cuda" else []
        with torch.random.fork_rng(devices):
            images = self._images(input_shape, self.batch, protocol.images)
            models = self._placed(teacher), self._placed(student)
            known = [
                self._counted(model, images, wanted)
                for model, wanted in zip(models, (whole, part), strict=True)
            ]
            running = [
                [name for name in wanted if name not in cost]
                for wanted, cost in zip((whole, part), known, strict=True)
            ]
            if not all(running):
                return super().measure_beside(student, teacher, input_shape, part, whole, protocol)
            whole_cost, part_cost, shares = self._runner.in_turns(
                models, images, running, protocol, given=teacher
            )
        mine, theirs = {**known[1], **part_cost}, {**known[0], **whole_cost}
        return Beside(_in_order(mine), _in_order(theirs), shares)

    def executable(
        self, model: nn.Module, input_shape: tuple[int, ...], images: Tensor | None = None
    ) -> Executable:
        """`model` ready to run here, as the clocks see it. The caller closes it.

        Raises MeasurementError where this target cannot run networks here.
        """
        check_shape(input_shape)
        if reason := self.unavailable(["latency_p50"]).get("latency_p50"):
            raise MeasurementError(f"target {self.name} must run networks here, but: {reason}")
        return self.prepare(self._placed(model), self._images(input_shape, self.batch, images))

    def prepare(self, model: nn.Module, images: Tensor) -> Executable:
        """`model`, which is on the device, ready to run on a batch of `images` of the host."""
        return self.runtime.prepare(model, images)

    def _where(self) -> torch.device:
        return torch.device("cpu") if device_missing(self.device) else self.device

    def _placed(self, model: nn.Module) -> nn.Module:
        return placed(model, self._where(), self._dtype, self.name)

    def _images(self, input_shape: tuple[int, ...], batch: int, given: Tensor | None) -> Tensor:
        return host_batch(input_shape, batch, given, self._dtype)


def _in_order(cost: Cost) -> dict[str, Reading]:
    return {name: cost[name] for name in COLUMNS if name in cost}
