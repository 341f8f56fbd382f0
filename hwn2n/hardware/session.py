"""One network on the clocks and the meters: the columns that only running it can tell."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import nullcontext
from typing import Any

from hwn2n.budget.columns import COLUMNS
from hwn2n.budget.cost import Reading
from hwn2n.errors import MeasurementError
from hwn2n.hardware.latency import (
    Build,
    LatencySample,
    measure_in_turns,
    measure_latency,
    samples_needed,
)
from hwn2n.hardware.measurement import Duration, Effort, MeasurementProtocol
from hwn2n.hardware.power import IdleReading, PowerSample, PowerSource, measure_power
from hwn2n.hardware.runtimes import Executable
from hwn2n.hardware.throttle import ThrottleMonitor

TURNS: dict[Effort, int] = {"quick": 8, "full": 24}
"""How often two networks take turns in the same seconds. The more there are, the better is shared
what drifts, and the narrower is a ratio's interval; its bootstrap needs 7 (latency/ratio.py)."""

PLACEMENTS = 8
"""Of full readings, where building a network is quick."""

POWER = ("power_avg", "power_avg_net", "energy")


class Session:
    """Reads `columns` of a network that is ready to run; `cost`, `samples` and `notes` grow.

    Clock first, then meter: power windows heat the device.
    """

    def __init__(
        self,
        executable: Executable,
        columns: Iterable[str],
        *,
        protocol: MeasurementProtocol,
        duration: Duration,
    ) -> None:
        self.executable = executable
        self.protocol = protocol
        self.duration = duration
        self.powered = [name for name in columns if name in POWER]
        self.timed = [name for name in columns if name not in POWER]
        self.cost: dict[str, Reading] = {}
        self.samples: dict[str, Any] = {}
        self.notes: list[str] = [executable.note] if executable.note else []

    def clock(self, throttling: ThrottleMonitor) -> None:
        """Latencies and throughput, with as many samples as the rarest percentile needs.

        Raises MeasurementError where the network does not run, or throttling does not stop.
        """
        if not self.timed:
            return
        sample = measure_latency(
            self.executable.sample,
            seconds=self.duration.clock,
            warmup_seconds=self.duration.warmup,
            min_samples=self.samples_wanted,
            throttled=throttling.reasons,
        )
        self.book(sample, throttling)

    @property
    def samples_wanted(self) -> int:
        """How many samples the rarest percentile among the columns needs.

        The percentile itself needs some, however little its interval has to hold.
        """
        needed = [samples_needed(50)]
        for name in self.timed:
            if (q := _quantile(name)) is not None:
                needed.append(samples_needed(q, sides=1))
                needed.append(samples_needed(q, confidence=self.protocol.confidence_of(name)))
        return max(needed)

    def book(self, sample: LatencySample, throttling: ThrottleMonitor) -> None:
        """The readings of the timed columns from `sample`, which `throttling` watched over."""
        self.cost |= {name: self._clocked(sample, name) for name in self.timed}
        self.samples["latency"] = sample.to_json()
        self.notes += [*sample.notes, *throttling.blind]

    def _clocked(self, sample: LatencySample, name: str) -> Reading:
        confidence = self.protocol.confidence_of(name)
        if (q := _quantile(name)) is None:
            value, low, high = sample.throughput(self.executable.batch, confidence)
        else:
            on_device = COLUMNS[name].scope == "device"
            value = sample.percentile(q, device=on_device)
            low, high = sample.interval(q, confidence, device=on_device)
        # Interpolation can put the estimate an ulp beside the order statistics around it.
        return Reading(value, "measured", low=min(low, value), high=max(high, value))

    def meter(self, source: PowerSource, idle: IdleReading | None) -> IdleReading:
        """Power and energy by `source`; returns idle power, read first where `idle` is None.

        Raises MeasurementError for a network that runs in another program, and for readings that
        cannot be true.
        """
        if not self.executable.live:
            raise MeasurementError(
                "power must be read while the network runs in this process, but this runtime runs "
                "it in another program"
            )
        sample = measure_power(
            self.executable.run,
            source,
            images_per_run=self.executable.batch,
            seconds=self.duration.power,
            idle_seconds=self.duration.idle,
            idle=idle,
            confidence=self.protocol.confidence,
        )
        self.cost |= {name: self._metered(sample, name) for name in self.powered}
        self.samples["power"] = sample.to_json()
        self.notes += sample.notes
        return sample.idle

    def _metered(self, sample: PowerSample, name: str) -> Reading:
        low, high = sample.interval(name, self.protocol.confidence_of(name))
        return Reading(sample.value(name), "measured", low=low, high=high)


def clock_in_turns(
    teacher: Session,
    student: Session,
    throttling: ThrottleMonitor,
    builds: tuple[Build, Build] | None = None,
) -> dict[str, tuple[float, float]]:
    """Clock both sessions in turns; returns, by column, the interval of the student's share.

    `builds` make both ready anew, for full readings in `PLACEMENTS` places of the memory.
    Only medians and throughput have one: the other percentiles need more samples than a turn has.
    None has where a network does not run here and now: what another program timed before, all at
    once, took no turns, and the machine may have drifted in between.
    """
    effort = student.protocol.effort
    anew = builds is not None and effort == "full"
    found = measure_in_turns(
        *(
            builds
            if builds is not None and anew
            else (_as_it_is(teacher.executable), _as_it_is(student.executable))
        ),
        seconds=student.duration.clock,
        warmup_seconds=student.duration.warmup,
        min_samples=max(teacher.samples_wanted, student.samples_wanted),
        throttled=throttling.reasons,
        turns=TURNS[effort],
        placements=PLACEMENTS if anew else 1,
    )
    teacher.book(found.a, throttling)
    student.book(found.b, throttling)
    shares: dict[str, tuple[float, float]] = {}
    if not (teacher.executable.live and student.executable.live):
        return shares
    for name in set(teacher.timed) & set(student.timed):
        confidence = student.protocol.confidence_of(name)
        if name == "throughput":
            low, high = found.mean_share(confidence)
            batches = student.executable.batch / teacher.executable.batch
            shares[name] = (batches / high, batches / low)
        elif _quantile(name) == 50:
            shares[name] = found.median_share(confidence, device=COLUMNS[name].scope == "device")
    return shares


def _as_it_is(executable: Executable) -> Build:
    return lambda: nullcontext(executable.sample)


def _quantile(name: str) -> float | None:
    """95.0 of latency_p95; None for columns that are no percentile."""
    stat = COLUMNS[name].stat or ""
    return float(stat[1:]) if stat.startswith("p") else None
