"""Tasks side by side without any cluster: order, who measures when, errors, and the kit."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import small
import torch

from hwn2n.budget.cost import Reading
from hwn2n.errors import InputError, InterruptedRunError, MeasurementError
from hwn2n.hardware.local_target import LocalTarget
from hwn2n.hardware.measurement import Beside
from hwn2n.hardware.target import Target
from hwn2n.run.folder import RunFolder
from hwn2n.search.assemble import assemble
from hwn2n.search.executors import Executor, Here
from hwn2n.search.executors.kit import TRAINING, Kit, PackedTarget, check_versions
from hwn2n.search.executors.side_by_side import SideBySide, Ticket, Workers
from hwn2n.search.workshop import Outcome, Task, Workshop, train_student

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

    def readings(self, task: Task) -> Beside:
        if task.measured is not None:
            return task.measured
        self.events.append(f"read {task.seed}")
        if task.seed == self.broken:
            raise MeasurementError("the clock stands still")
        return readings(self.latencies.get(task.seed, 1.0))

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
    assert list(run.run([])) == [] and not log.events


class Boxed(Workers):
    """Trains with what a kit is after its journey, and finishes the last task first."""

    measures = False

    def __init__(self, workshop: Workshop) -> None:
        self.workshop = workshop
        self.school: Any = None
        self.tasks: dict[int, Task] = {}

    def begin(self) -> None:
        if self.school is None:
            kit: Kit = pickle.loads(pickle.dumps(Kit.of(self.workshop)))
            self.school = kit.school()

    def measure(self, task: Task) -> Ticket:
        raise AssertionError("measured in the driver")

    def train(self, task: Task) -> Ticket:
        number = len(self.tasks)
        self.tasks[number] = pickle.loads(pickle.dumps(task))
        return number

    def wait(self, tickets: Sequence[Ticket], *, block: bool) -> list[Ticket]:
        return [tickets[-1]]

    def result(self, ticket: Ticket) -> Outcome:
        return train_student(self.school, self.tasks[ticket], Beside({}, {}), {})  # type: ignore[index]

    def cancel(self, tickets: Sequence[Ticket]) -> None:
        return


class BoxedSite(Here):
    def executor(self, workshop: Workshop) -> Executor:
        return SideBySide(workshop, Boxed(workshop))


CASES: dict[str, dict[str, Any]] = {
    "policies": {},
    "augmented, fresh weights": {"train__augment": "crop", "weights": "fresh"},
    "fewer images": {"train__max_images": 32, "validation_images": 30},
    "fresh images": {"train__fresh": True, "train__epochs": 2},
    "halving": {"train__epochs": 3, "halving_epochs": 1},
}


@pytest.mark.parametrize("case", CASES)
def test_a_kit_trains_as_the_driver_would(tmp_path: Path, case: str) -> None:
    """All rows of a search, but for the clock."""
    found = []
    for name, site in (("here", Here()), ("boxed", BoxedSite())):
        bench = assemble(
            teacher=small.small_teacher(),
            data=small.small_data(),
            budget=small.budget(
                "{metric: params, max: 60%}", "{metric: latency, stat: p50, max: 90%}"
            ),
            target=small.CalmTarget(),
            settings=small.settings(**CASES[case]),
            folder=RunFolder.create(tmp_path / name),
            site=site,
        )
        small.search(bench, tmp_path / name)
        found.append([candidate.comparable() for candidate in bench.ledger.candidates()])
        bench.ledger.close()
    assert found[0] == found[1] and len(found[0]) == 9
    assert sum(row["trained_accuracy"] is not None for row in found[0]) > 2


def test_a_kit_holds_no_more_images_than_are_used(tmp_path: Path) -> None:
    bench = assemble(
        teacher=small.small_teacher(),
        data=small.small_data(),
        budget=small.budget(),
        target=small.CalmTarget(),
        settings=small.settings(train__max_images=40, validation_images=20),
        folder=RunFolder.create(tmp_path / "run"),
    )
    kit = Kit.of(bench.evaluator.workshop)
    bench.ledger.close()
    assert len(kit.train.images) == 40 and len(kit.validation.images) == 20
    assert len(kit.shown.images) == len(bench.data.validation) == 60
    assert kit.logits is not None and kit.logits.shape == (40, 3)
    assert kit.threads == torch.get_num_threads() == 1
    measuring = kit.workshop(small.CalmTarget())
    mine, theirs = (
        shop.school.protocol("quick", shop.limits.at_first).images
        for shop in (measuring, bench.evaluator.workshop)
    )
    assert mine is not None and theirs is not None and torch.equal(mine, theirs)


def test_precision_is_settled_by_the_driver(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hwn2n.search.executors.kit.choose_precision", lambda device: "bf16")
    bench = assemble(
        teacher=small.small_teacher(),
        data=small.small_data(),
        budget=small.budget(),
        target=small.CalmTarget(),
        settings=small.settings(train__precision="auto"),
        folder=RunFolder.create(tmp_path / "run"),
    )
    kit = Kit.of(bench.evaluator.workshop)
    bench.ledger.close()
    assert kit.settings.train.precision == "bf16"
    assert bench.settings.train.precision == "auto"


def test_a_local_target_travels_as_its_settings() -> None:
    target = LocalTarget("cpu", name="bench")
    packed = pickle.loads(pickle.dumps(PackedTarget.of(target)))
    assert packed.target is None
    again = packed.unpacked()
    assert again is not target and again.to_json() == target.to_json() and again.name == "bench"
    calm: Target = small.CalmTarget()
    assert PackedTarget.of(calm).unpacked() is calm


def test_nodes_with_other_versions_are_refused() -> None:
    from hwn2n.run.provenance import versions

    check_versions(versions(), TRAINING, "node7")
    other = {**versions(), "torch": "1.2.3"}
    with pytest.raises(
        InputError, match=r"each node .* must have torch 1\.2\.3, as the driver has, but node7 has"
    ):
        check_versions(other, TRAINING, "node7")


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
