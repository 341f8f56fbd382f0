"""One network on the clocks, and two in turns: what a session asks for, and what it claims."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from hwn2n.hardware.latency import samples_needed
from hwn2n.hardware.measurement import DURATIONS, Effort, MeasurementProtocol
from hwn2n.hardware.runtimes import Executable
from hwn2n.hardware.session import Session, clock_in_turns

CALM: Any = SimpleNamespace(blind=[], reasons=list)
"""A monitor of a machine that never throttles."""


class Scripted(Executable):
    """Says how long it took, and takes no time."""

    batch = 1

    def __init__(self, seconds: float, *, live: bool = True) -> None:
        self.seconds = seconds
        self.live = live
        self.random = np.random.default_rng(0)

    def sample(self) -> tuple[float, float | None]:
        return self.seconds * float(self.random.normal(1.0, 0.01)), None

    def run(self) -> None: ...

    def logits(self) -> Any: ...

    def close(self) -> None: ...


def session(
    executable: Executable, *columns: str, effort: Effort = "full", **confidence: float
) -> Session:
    protocol = MeasurementProtocol(effort=effort, confidence=confidence)
    return Session(executable, columns, protocol=protocol, duration=DURATIONS[effort])


@pytest.mark.parametrize("column", ["latency_p90", "latency_p95", "latency_p99"])
@pytest.mark.parametrize("confidence", [0.5, 0.8, 0.95, 0.99])
def test_a_slow_network_has_its_percentiles_at_any_confidence(
    column: str, confidence: float
) -> None:
    found = session(Scripted(0.05), column, **{column: confidence})
    found.clock(CALM)
    reading = found.cost[column]
    assert reading.low is not None and reading.high is not None
    assert reading.low <= reading.value <= reading.high


def test_a_p95_takes_the_samples_that_the_page_names() -> None:
    assert session(Scripted(0.05), "latency_p95").samples_wanted == samples_needed(95) == 72


@pytest.mark.parametrize("live", [(True, False), (False, True), (False, False)])
def test_no_share_is_in_turns_where_a_program_timed_itself_before(live: tuple[bool, bool]) -> None:
    teacher, student = (
        session(Scripted(0.002, live=alive), "latency_p50", "throughput", effort="quick")
        for alive in live
    )
    assert clock_in_turns(teacher, student, CALM) == {}
    assert set(teacher.cost) == set(student.cost) == {"latency_p50", "throughput"}


def test_shares_are_of_what_took_turns() -> None:
    teacher, student = (
        session(Scripted(seconds), "latency_p50", "throughput", effort="quick")
        for seconds in (0.002, 0.001)
    )
    shares = clock_in_turns(teacher, student, CALM)
    assert shares["latency_p50"] == pytest.approx((0.5, 0.5), rel=0.05)
    assert shares["throughput"] == pytest.approx((2.0, 2.0), rel=0.05)
