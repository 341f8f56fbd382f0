"""Tasks one after the other, here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from hwn2n.search.executors.base import Executor
from hwn2n.search.workshop import Outcome, Task, Workshop


class InProcess(Executor):
    """Does a task when its outcome is asked for, so that an interruption loses one at most."""

    def __init__(self, workshop: Workshop) -> None:
        self.workshop = workshop

    def run(self, tasks: Sequence[Task]) -> Iterator[Outcome]:
        """One outcome for each task, in order."""
        for task in tasks:
            yield self.workshop.do(task)

    def read(self, tasks: Sequence[Task]) -> Iterator[Outcome]:
        """The readings of each, in order."""
        for task in tasks:
            yield self.workshop.read(task)
