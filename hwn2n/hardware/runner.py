"""Networks on the clocks and meters of this machine: one alone, or two in turns."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn

from hwn2n.budget.cost import Cost
from hwn2n.hardware.conditions import conditions
from hwn2n.hardware.latency import Build, Sampler, quiet
from hwn2n.hardware.measurement import Duration, Effort, Measurement, MeasurementProtocol
from hwn2n.hardware.power import IdleReading, Missing, PowerSource
from hwn2n.hardware.runtimes import Executable
from hwn2n.hardware.session import Session, clock_in_turns
from hwn2n.hardware.throttle import ThrottleMonitor


class Runner:
    """Runs networks that lie on `device` already, on images of the host.

    `prepare` makes one ready to run, `anew` says whether that is quick enough to do it many times.
    `power_source` finds what reads power. Idle power is read once for each effort, and kept.
    """

    def __init__(
        self,
        *,
        device: torch.device,
        threads: int | None,
        durations: Mapping[Effort, Duration],
        prepare: Callable[[nn.Module, Tensor], Executable],
        power_source: Callable[[], PowerSource | Missing],
        anew: bool,
    ) -> None:
        self.device = device
        self.threads = threads
        self.durations = durations
        self.prepare = prepare
        self.power_source = power_source
        self.anew = anew
        self._idle: dict[Effort, IdleReading] = {}

    def alone(
        self, model: nn.Module, images: Tensor, columns: list[str], protocol: MeasurementProtocol
    ) -> Measurement:
        """The readings of `columns`, all of which need it to run."""
        before = conditions(self.device)
        with quiet(self.threads, pin=self.device.type == "cpu"), ExitStack() as stack:
            session = self._session(stack, model, images, columns, protocol)
            session.clock(ThrottleMonitor(self.device))
            self._meter(session)
        return Measurement(
            session.cost,
            session.samples,
            {"before": before, "after": conditions(self.device)},
            tuple(session.notes),
        )

    def in_turns(
        self,
        models: tuple[nn.Module, nn.Module],
        images: Tensor,
        columns: Sequence[list[str]],
        protocol: MeasurementProtocol,
    ) -> tuple[Cost, Cost, dict[str, tuple[float, float]]]:
        """The readings of a teacher's and of a student's columns, and shares as in `Beside`."""
        shares: dict[str, tuple[float, float]] = {}
        with quiet(self.threads, pin=self.device.type == "cpu"), ExitStack() as stack:
            teacher, student = (
                self._session(stack, model, images, names, protocol)
                for model, names in zip(models, columns, strict=True)
            )
            throttling = ThrottleMonitor(self.device)
            if teacher.timed and student.timed:
                builds = (self._builder(models[0], images), self._builder(models[1], images))
                shares = clock_in_turns(teacher, student, throttling, builds if self.anew else None)
            else:
                teacher.clock(throttling)
                student.clock(throttling)
            self._meter(teacher)
            self._meter(student)
        return teacher.cost, student.cost, shares

    def _session(
        self,
        stack: ExitStack,
        model: nn.Module,
        images: Tensor,
        columns: list[str],
        protocol: MeasurementProtocol,
    ) -> Session:
        executable = self.prepare(model, images)
        stack.callback(executable.close)
        duration = self.durations[protocol.effort]
        return Session(executable, columns, protocol=protocol, duration=duration)

    def _meter(self, session: Session) -> None:
        """Power, where a column asks for it."""
        source = self.power_source() if session.powered else None
        if isinstance(source, PowerSource):
            effort = session.protocol.effort
            self._idle[effort] = session.meter(source, self._idle.get(effort))

    def _builder(self, model: nn.Module, images: Tensor) -> Build:
        @contextmanager
        def build() -> Iterator[Sampler]:
            executable = self.prepare(copy.deepcopy(model), images.clone())
            try:
                yield executable.sample
            finally:
                executable.close()

        return build
