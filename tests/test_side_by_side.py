"""Tasks side by side without any cluster: order, who measures when, errors, and the kit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import small

from hwn2n.budget.cost import Reading
from hwn2n.errors import InputError, InterruptedRunError, MeasurementError
from hwn2n.hardware.measurement import Beside
from hwn2n.run.folder import RunFolder
from hwn2n.search.assemble import assemble
from hwn2n.search.executors.side_by_side import SideBySide, Ticket, Workers
from hwn2n.search.workshop import Outcome, Task

LIMIT = 5.0


def task(number: int, measured: float | None = None) -> Task:
    """One that is known by its seed; only that and `measured` matter here."""
    nothing: Any = None
    beside = None if measured is None else readings(measured)
    return Task(
        architecture=nothing,
        decision=nothing,
        cost={},
        compression=0.5,
        epsilon=0.0,
        seed=number,
        measured=beside,
    )


def readings(latency: float) -> Beside:
    return Beside({"latency_p50": Reading(latency, "measured")}, {})


@dataclass
class Log:
    """What happened, and a workshop whose networks have the latencies given."""

    latencies: dict[int, float] = field(default_factory=dict)
    events: list[str] = field(default_factory=list)
    broken: int | None = None

    def known(self, task: Task) -> Beside | None:
        return task.measured

    def read(self, task: Task) -> Outcome:
        if task.measured is not None:
            return Outcome(beside=task.measured)
        self.events.append(f"read {task.seed}")
        if task.seed == self.broken:
            raise MeasurementError("the clock stands still")
        return Outcome(beside=readings(self.latencies.get(task.seed, 1.0)), seconds={"measure": 2})

    def worth_training(self, task: Task, beside: Beside) -> bool:
        return beside.cost["latency_p50"].value <= LIMIT


class Fake(Workers):
    """Finishes one thing whenever it is waited for: the last that was handed out, or the first."""

    def __init__(self, log: Log, *, measures: bool = False, last_first: bool = True) -> None:
        self.log = log
        self.measures = measures
        self.last_first = last_first
        self.cancelled: list[Ticket] = []
        self.failing: dict[Ticket, Exception] = {}

    def begin(self) -> None:
        self.log.events.append("begin")

    def measure(self, task: Task) -> Ticket:
        self.log.events.append(f"measure {task.seed}")
        return ("measure", task.seed)

    def train(self, task: Task) -> Ticket:
        self.log.events.append(f"train {task.seed}")
        return ("train", task.seed)

    def wait(self, tickets: Sequence[Ticket], *, block: bool) -> list[Ticket]:
        if not block:
            return []
        return [tickets[-1 if self.last_first else 0]]

    def result(self, ticket: Ticket) -> Outcome:
        kind, seed = ticket  # type: ignore[misc]
        self.log.events.append(f"{kind} {seed} done")
        if ticket in self.failing:
            raise self.failing[ticket]
        if kind == "measure":
            found = readings(self.log.latencies.get(seed, 1.0))
            return Outcome(beside=found, seconds={"measure": 2.0})
        return Outcome(beside=Beside({}, {}), accuracy=seed / 10, seconds={"train": 3.0})

    def cancel(self, tickets: Sequence[Ticket]) -> None:
        self.cancelled += tickets


def executor(log: Log, **how: Any) -> tuple[SideBySide, Fake]:
    workers = Fake(log, **how)
    return SideBySide(log, workers), workers  # type: ignore[arg-type]


def test_this_process_measures_all_before_any_training() -> None:
    log = Log({1: 9.0})
    run, _ = executor(log)
    outcomes = list(run.run([task(0), task(1), task(2), task(3, measured=1.0)]))
    reads = ["begin", "read 0", "read 1", "read 2"]
    assert log.events[:4] == reads
    assert log.events[4:7] == ["train 0", "train 2", "train 3"], "1 is too slow to be trained"
    assert [outcome.accuracy for outcome in outcomes] == [0.0, None, 0.2, 0.3]
    assert outcomes[1].beside.cost["latency_p50"].value == 9.0
    assert outcomes[2].seconds["train"] == 3.0 and "measure" in outcomes[2].seconds


def test_outcomes_come_in_order_whoever_is_first() -> None:
    log = Log()
    run, _ = executor(log)
    found = [outcome.accuracy for outcome in run.run([task(i) for i in range(5)])]
    assert found == [0.0, 0.1, 0.2, 0.3, 0.4]
    assert log.events[-5:] == [f"train {i} done" for i in (4, 3, 2, 1, 0)]


def test_workers_measure_and_train_as_soon_as_a_reading_is_there() -> None:
    log = Log({2: 9.0})
    run, _ = executor(log, measures=True, last_first=False)
    outcomes = list(run.run([task(0), task(1, measured=2.0), task(2)]))
    assert log.events == [
        "begin",
        "measure 0",
        "train 1",  # it was measured before
        "measure 2",
        "measure 0 done",
        "train 0",
        "train 1 done",
        "measure 2 done",
        "train 0 done",
    ]
    assert [outcome.accuracy for outcome in outcomes] == [0.0, 0.1, None]
    assert outcomes[0].seconds == {"measure": 2.0, "train": 3.0}
    assert outcomes[0].beside == readings(1.0) and outcomes[1].beside == readings(2.0)


def test_an_error_counts_when_its_turn_comes_and_ends_the_rest() -> None:
    log = Log()
    run, workers = executor(log)
    workers.failing[("train", 1)] = InputError("no such network")
    outcomes = run.run([task(i) for i in range(3)])
    assert next(outcomes).accuracy == 0.0
    with pytest.raises(InputError, match=r"^no such network$"):
        next(outcomes)
    assert not workers.cancelled, "all was done by then"
    run, workers = executor(log, last_first=False)
    workers.failing[("train", 0)] = InputError("no such network")
    with pytest.raises(InputError):
        next(run.run([task(i) for i in range(3)]))
    assert workers.cancelled == [("train", 1), ("train", 2)]


def test_what_cannot_be_measured_ends_the_batch_after_those_before_it() -> None:
    log = Log(broken=2)
    run, _ = executor(log)
    outcomes = run.run([task(i) for i in range(4)])
    assert [next(outcomes).accuracy, next(outcomes).accuracy] == [0.0, 0.1]
    with pytest.raises(MeasurementError, match="stands still"):
        next(outcomes)
    assert "read 3" not in log.events and "train 3" not in log.events


def test_who_stops_listening_cancels() -> None:
    run, workers = executor(Log(), last_first=False)
    outcomes = run.run([task(i) for i in range(3)])
    assert next(outcomes).accuracy == 0.0 and not workers.cancelled
    outcomes.close()  # type: ignore[attr-defined]
    assert workers.cancelled == [("train", 1), ("train", 2)]
    assert not run.ready()
    again = run.run([task(i) for i in range(3)])
    next(again)
    run.close()
    assert len(workers.cancelled) == 4


def test_ready_says_whether_the_next_one_is_there() -> None:
    run, _ = executor(Log())
    outcomes = run.run([task(i) for i in range(2)])
    assert not run.ready()
    next(outcomes)  # the last one was finished first
    assert run.ready()
    next(outcomes)
    assert not run.ready()


def test_no_tasks_are_no_batch() -> None:
    log = Log()
    run, _ = executor(log)
    assert list(run.run([])) == list(run.read([])) == [] and not log.events


def test_reading_alone_trains_nothing_whoever_measures() -> None:
    for measures, said in ((False, "read"), (True, "measure")):
        log = Log({1: 9.0})
        run, _ = executor(log, measures=measures)
        found = list(run.read([task(0), task(1), task(2, measured=3.0)]))
        assert [o.beside.cost["latency_p50"].value for o in found] == [1.0, 9.0, 3.0]
        assert {o.accuracy for o in found} == {None}
        assert not [event for event in log.events if event.startswith("train")]
        assert [event for event in log.events if event in (f"{said} 0", f"{said} 1")]


def stopping(bench: Any, folder: Path, ready: Callable[[], bool]) -> int:
    """How many rows a search writes that is asked to stop in its first batch of four."""
    bench.evaluator.executor.ready = ready
    original = bench.ledger.add
    stop = small.Stop()

    def add(candidate: Any) -> Any:
        stop.request()
        return original(candidate)

    bench.ledger.add = add
    with pytest.raises(InterruptedRunError):
        small.search(bench, folder, stop=stop)
    rows = len(bench.ledger.candidates())
    bench.ledger.close()
    return rows


@pytest.mark.parametrize(("ready", "rows"), [(True, 4), (False, 1)])
def test_a_stop_keeps_what_is_finished(tmp_path: Path, ready: bool, rows: int) -> None:
    how = small.settings(anchor=False, removal__rollouts=4)
    bench = assemble(
        teacher=small.small_teacher(),
        data=small.small_data(),
        budget=small.budget(),
        target=small.CalmTarget(),
        settings=how,
        folder=RunFolder.create(tmp_path / "run"),
    )
    assert stopping(bench, tmp_path / "run", lambda: ready) == rows


def test_a_stop_keeps_a_batch_that_was_halved(tmp_path: Path) -> None:
    how = small.settings(anchor=False, removal__rollouts=4, train__epochs=2, halving_epochs=1)
    bench = assemble(
        teacher=small.small_teacher(),
        data=small.small_data(),
        budget=small.budget(),
        target=small.CalmTarget(),
        settings=how,
        folder=RunFolder.create(tmp_path / "run"),
    )
    assert stopping(bench, tmp_path / "run", lambda: False) == 4
