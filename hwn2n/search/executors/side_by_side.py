"""Tasks side by side: who measures, who trains, when, and in which order outcomes come back.

Nothing here knows what the workers are. The plan of a batch:

1. Where workers measure on a device of their own, each task that needs a reading is measured
   there; it is trained elsewhere as soon as its reading is there and says that it is worth it.
2. Otherwise this process measures, one task after the other, while no training of the batch is
   under way: a clock beside a training tells the time of both. Then all trainings are begun.
3. An outcome is given back when it and all before it are there, so that the ledger has the same
   rows in the same order whoever works. An error counts when its task's turn comes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, replace

from hwn2n.hardware.measurement import Beside
from hwn2n.search.executors.base import Executor
from hwn2n.search.workshop import Outcome, Task, Workshop

Ticket = Hashable
"""Stands for work that was handed out."""


class Workers(ABC):
    """What does work outside of this process."""

    measures = False
    """Whether they have devices of their own to measure on."""

    @abstractmethod
    def begin(self) -> None:
        """A batch begins, and nothing is under way."""

    @abstractmethod
    def measure(self, task: Task) -> Ticket:
        """Hand out a measurement, whose result is an `Outcome` that was not trained."""

    @abstractmethod
    def train(self, task: Task) -> Ticket:
        """Hand out a training, whose result is an `Outcome` without readings."""

    @abstractmethod
    def wait(self, tickets: Sequence[Ticket], *, block: bool) -> list[Ticket]:
        """Those of `tickets` that are done, at least one if it is to `block`."""

    @abstractmethod
    def result(self, ticket: Ticket) -> Outcome:
        """What came of work that is done; raises what the work raised."""

    @abstractmethod
    def cancel(self, tickets: Sequence[Ticket]) -> None:
        """Forget about work, and end what of it has begun."""


class SideBySide(Executor):
    """Runs all tasks that it is given at once, as far as the workers go."""

    def __init__(self, workshop: Workshop, workers: Workers) -> None:
        self.workshop = workshop
        self.workers = workers
        self._batch: _Batch | None = None

    def run(self, tasks: Sequence[Task]) -> Iterator[Outcome]:
        """One outcome for each task, in order; work that nobody waits for any more is ended."""
        return self._outcomes(tasks, train=True)

    def read(self, tasks: Sequence[Task]) -> Iterator[Outcome]:
        """The readings of each, in order, taken where those of `run` are."""
        return self._outcomes(tasks, train=False)

    def _outcomes(self, tasks: Sequence[Task], *, train: bool) -> Iterator[Outcome]:
        if not tasks:
            return
        batch = self._batch = _Batch(self.workshop, self.workers, tasks, train=train)
        try:
            batch.begin()
            for index in range(len(tasks)):
                yield batch.outcome(index)
        finally:
            batch.cancel()
            self._batch = None

    def ready(self) -> bool:
        """Whether the next outcome is there."""
        return self._batch is not None and self._batch.ready()

    def close(self) -> None:
        """End all work that is under way."""
        if self._batch is not None:
            self._batch.cancel()


@dataclass(frozen=True)
class _Part:
    """A measurement or a training of a task; `known` is what is known of its outcome."""

    index: int
    measuring: bool
    known: Outcome


class _Batch:
    """The tasks of one call of `run`, or of `read`, which trains nothing."""

    def __init__(
        self, workshop: Workshop, workers: Workers, tasks: Sequence[Task], *, train: bool
    ) -> None:
        self.workshop = workshop
        self.workers = workers
        self.tasks = tasks
        self.train = train
        self.ended: dict[int, Outcome | Exception] = {}
        self.under_way: dict[Ticket, _Part] = {}
        self.given = 0

    def begin(self) -> None:
        """Measure what is to be measured here, and hand out all that can be done at once."""
        self.workers.begin()
        read: list[Outcome | Exception | None] = []
        for task in self.tasks:
            if self.workers.measures and self.workshop.known(task) is None:
                read.append(None)
                continue
            read.append(self._read(task))
            if isinstance(read[-1], Exception):
                break  # no later task will have its turn
        for index, found in enumerate(read):
            if isinstance(found, Exception):
                self.ended[index] = found
            elif found is not None:
                self._train(index, found)
            else:
                nothing = Outcome(beside=Beside({}, {}))
                part = _Part(index, measuring=True, known=nothing)
                self.under_way[self.workers.measure(self.tasks[index])] = part

    def _read(self, task: Task) -> Outcome | Exception:
        try:
            return self.workshop.read(task)
        except Exception as error:
            return error

    def _train(self, index: int, known: Outcome) -> None:
        """Hand out the training of a task whose readings are there, if it is worth it."""
        task = self.tasks[index]
        if self.train and self.workshop.worth_training(task, known.beside):
            ticket = self.workers.train(task)
            self.under_way[ticket] = _Part(index, measuring=False, known=known)
        else:
            self.ended[index] = known

    def ready(self) -> bool:
        """Whether the next outcome, or the error in its place, is there."""
        if self.under_way:
            self._collect(block=False)
        return self.given in self.ended

    def outcome(self, index: int) -> Outcome:
        """The outcome of a task, once it is there; raises the error that is there instead."""
        while index not in self.ended:
            self._collect(block=True)
        self.given = index + 1
        found = self.ended.pop(index)
        if isinstance(found, Exception):
            raise found
        return found

    def _collect(self, *, block: bool) -> None:
        for ticket in self.workers.wait(list(self.under_way), block=block):
            part = self.under_way.pop(ticket)
            try:
                found = self.workers.result(ticket)
            except Exception as error:
                self.ended[part.index] = error
                continue
            seconds = part.known.seconds | found.seconds
            if part.measuring:
                self._train(part.index, replace(found, seconds=seconds))
            else:
                self.ended[part.index] = replace(found, beside=part.known.beside, seconds=seconds)

    def cancel(self) -> None:
        """End what is under way."""
        tickets, self.under_way = list(self.under_way), {}
        if tickets:
            self.workers.cancel(tickets)
