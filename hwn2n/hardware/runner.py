"""Networks on the clocks and meters of this machine: one alone, or two in turns."""

from __future__ import annotations

import copy
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

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


@dataclass(frozen=True)
class _Ready:
    """A teacher that was made ready for these images; `weights` tell whether it is still that."""

    teacher: weakref.ref[nn.Module]
    weights: tuple[tuple[int, int], ...]
    images: Tensor
    executable: Executable


class Runner:
    """Runs networks that lie on `device` already, on images of the host.

    `prepare` makes one ready to run, `anew` says whether that is quick enough to do it many times.
    Where it is not, as with an exporter or a compiler, the teacher that students take turns with
    is made ready once and kept. `power_source` finds what reads power. Idle power is read once for
    each effort, and kept.
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
        self._ready: _Ready | None = None

    def alone(
        self, model: nn.Module, images: Tensor, columns: list[str], protocol: MeasurementProtocol
    ) -> Measurement:
        """The readings of `columns`, all of which need it to run."""
        before = conditions(self.device)
        with quiet(self.threads, pin=self.device.type == "cpu"), ExitStack() as stack:
            session = self._session(self._until(stack, model, images), columns, protocol)
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
        given: nn.Module,
    ) -> tuple[Cost, Cost, dict[str, tuple[float, float]]]:
        """The readings of a teacher's and of a student's columns, and shares as in `Beside`.

        `given` is the teacher as the caller has it, of which `models[0]` is a copy.
        """
        shares: dict[str, tuple[float, float]] = {}
        with quiet(self.threads, pin=self.device.type == "cpu"), ExitStack() as stack:
            whole = self._teachers(stack, given, models[0], images)
            teacher = self._session(whole, columns[0], protocol)
            student = self._session(self._until(stack, models[1], images), columns[1], protocol)
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

    def _until(self, stack: ExitStack, model: nn.Module, images: Tensor) -> Executable:
        """The network ready to run, until the stack is left."""
        executable = self.prepare(model, images)
        stack.callback(executable.close)
        return executable

    def _teachers(
        self, stack: ExitStack, given: nn.Module, model: nn.Module, images: Tensor
    ) -> Executable:
        """The teacher ready to run: as it was made ready before, if it is the same.

        One that runs in another program is made ready each time: its samples are of then.
        """
        if self.anew:
            return self._until(stack, model, images)
        weights, ready = _versions(given), self._ready
        if ready is not None:
            same = ready.teacher() is given and ready.weights == weights
            if same and ready.images.dtype == images.dtype and torch.equal(ready.images, images):
                return ready.executable
            ready.executable.close()
            self._ready = None
        executable = self.prepare(model, images)
        if executable.live:
            self._ready = _Ready(weakref.ref(given), weights, images, executable)
        else:
            stack.callback(executable.close)
        return executable

    def _session(
        self, executable: Executable, columns: list[str], protocol: MeasurementProtocol
    ) -> Session:
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


def _versions(model: nn.Module) -> tuple[tuple[int, int], ...]:
    """Tells apart the weights of one module before and after they were changed."""
    tensors = (*model.parameters(), *model.buffers())
    return tuple((id(t), -1 if t.is_inference() else t._version) for t in tensors)
