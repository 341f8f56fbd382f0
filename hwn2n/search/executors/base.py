"""An executor runs the tasks of an update, wherever it likes, and gives back what came of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence

from hwn2n.search.workshop import Outcome, Task


class Executor(ABC):
    """Runs tasks. The same tasks have the same outcomes whichever executor runs them, but for
    readings of a real clock or meter."""

    @abstractmethod
    def run(self, tasks: Sequence[Task]) -> Iterator[Outcome]:
        """One outcome for each task, in the order of the tasks, as soon as it is there.

        Raises what the workshop raises (`MeasurementError`).
        """

    @abstractmethod
    def read(self, tasks: Sequence[Task]) -> Iterator[Outcome]:
        """The readings of each task's network, which is not trained, in the order of the tasks.

        None where counting has decided already. Raises what the workshop raises.
        """

    def ready(self) -> bool:
        """Whether the next outcome of `run` is there already, so that asking takes no time."""
        return False

    def close(self) -> None:
        """Let go of what the executor holds."""
        return
