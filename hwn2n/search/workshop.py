"""Where candidates are measured and trained, one at a time; an executor says where and when.

A task holds all that it takes, so that another process with the same workshop does the same work,
to the last bit of its accuracy.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from hwn2n.budget.cost import Cost
from hwn2n.distil.feed import DivergedError
from hwn2n.distil.state import TrainState
from hwn2n.hardware.measurement import Beside, Effort, complete
from hwn2n.hardware.target import Target
from hwn2n.network.architecture import Architecture
from hwn2n.network.decision import Decision
from hwn2n.search.limits import Limits
from hwn2n.search.reward import accuracy_matters
from hwn2n.search.school import School

SET_UP = "setup"
"""The phase to which a worker's making is booked, of the candidate that was its first."""
PHASES = ("project", "plan", "count", SET_UP, "measure", "build", "train")
"""What the seconds of a candidate are booked to."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """One network to measure and, if its reward can depend on it, to train.

    `cost` is what is known of it already, `compression` its C, `epsilon` the annealing in force.
    `epochs` stand in place of the search training's own (runoff.py), `effort` says how carefully it
    is measured. `measured` are earlier readings, None where it is to be measured. `until` stops the
    training after so many epochs in all, `state` goes on from there.
    """

    architecture: Architecture
    decision: Decision
    cost: Cost
    compression: float
    epsilon: float
    seed: int = 0
    epochs: int | None = None
    effort: Effort = "quick"
    measured: Beside | None = None
    until: int | None = None
    state: TrainState | None = None


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of a task. `accuracy` is None where it was not trained, or `diverged` says why.

    `stopped` says that others went on, and the accuracy is an estimate (halving.py). `state` lets
    a training that was stopped go on; `seconds` maps phases to seconds.
    """

    beside: Beside
    accuracy: float | None = None
    state: TrainState | None = None
    diverged: str | None = None
    stopped: bool = False
    seconds: dict[str, float] = field(default_factory=dict)


class Workshop:
    """Measures and trains students of one teacher for one budget on one target."""

    def __init__(
        self, *, school: School, target: Target, limits: Limits, measured: Sequence[str]
    ) -> None:
        self.school = school
        self.target = target
        self.limits = limits
        self.measured = tuple(measured)

    def do(self, task: Task) -> Outcome:
        """Measure, then train where it matters."""
        found = self.read(task)
        if not self.worth_training(task, found.beside):
            return found
        return self.train(task, found.beside, found.seconds)

    def read(self, task: Task) -> Outcome:
        """The measured columns that the budget needs, of a network that is not trained; none where
        counting has decided already."""
        seconds: dict[str, float] = {}
        with timed(seconds, "measure"):
            beside = self.known(task)
            if beside is None:
                beside = self.measure(task.architecture, task.decision, task.effort)
        return Outcome(beside=beside, seconds=seconds)

    def known(self, task: Task) -> Beside | None:
        """The readings where they take no measurement, or None."""
        if task.measured is not None:
            return task.measured
        countable = self.limits.at_first.only(task.cost)
        matters = accuracy_matters(task.compression, countable.satisfied(task.cost), task.epsilon)
        return None if matters and self.measured else Beside({}, {})

    def measure(
        self, architecture: Architecture, decision: Decision, effort: Effort, *, looks: int = 1
    ) -> Beside:
        """The measured columns that the budget needs, of an untrained student on real images.

        Its weights are those that its training would begin with: power depends on them a little.
        `looks` as in `School.protocol`. Raises `MeasurementError` where one is missing.
        """
        if not self.measured:
            return Beside({}, {})
        student = self.school.student(architecture, decision, seed=0)
        found = self.target.measure_beside(
            student,
            self.school.teacher,
            architecture.input_shape,
            self.measured,
            self.limits.drifting,
            # Brief readings steer; what is claimed of the winner is measured in full.
            self.school.protocol(effort, self.limits.at_first, looks=looks),
        )
        who, name = f"one of {architecture.key()}", self.target.name
        whole = complete(found.teacher, self.limits.drifting, target=name, who="the teacher")
        cost = complete(found.cost, self.measured, target=name, who=who)
        return replace(found, cost=cost, teacher=whole)

    def worth_training(self, task: Task, beside: Beside) -> bool:
        """Whether the reward of the network depends on its accuracy."""
        cost = {**task.cost, **beside.cost}
        constraints = self.limits.given(beside.teacher)
        if constraints.missing(cost):
            return False
        return accuracy_matters(task.compression, constraints.satisfied(cost), task.epsilon)

    def train(self, task: Task, beside: Beside, seconds: dict[str, float]) -> Outcome:
        """Search training, or the part of it that `until` allows."""
        return train_student(self.school, task, beside, seconds)


def train_student(school: School, task: Task, beside: Beside, seconds: dict[str, float]) -> Outcome:
    """Build and train the network of a task; `seconds` are those that it took so far."""
    with timed(seconds, "build"):
        student = school.student(task.architecture, task.decision, seed=task.seed)
    state = None
    try:
        with timed(seconds, "train"):
            if task.until is None and task.state is None:
                scored = school.train_briefly(student, seed=task.seed, epochs=task.epochs)
            else:
                scored, state = school.train_partly(
                    student, seed=task.seed, until=task.until, state=task.state
                )
    except DivergedError as error:
        return Outcome(beside=beside, diverged=str(error), seconds=seconds)
    return Outcome(beside=beside, accuracy=scored.top1, state=state, seconds=seconds)


@contextmanager
def timed(seconds: dict[str, float], phase: str) -> Iterator[None]:
    """Add the seconds that the block takes to those of its phase."""
    start = time.perf_counter()
    try:
        yield
    finally:
        seconds[phase] = seconds.get(phase, 0.0) + time.perf_counter() - start
