"""Where the work of a search is done: it says who measures and who executes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from hwn2n.hardware.target import Target
from hwn2n.search.executors.base import Executor
from hwn2n.search.executors.in_process import InProcess
from hwn2n.search.workshop import Workshop


class Site(ABC):
    """A place with workers, or this process alone."""

    @abstractmethod
    def target(self, target: Target, needed: Sequence[str]) -> Target:
        """What measures in place of `target`, which may be `target` itself.

        `needed` are the columns that the budget asks for. Raises `InputError` where the place lacks
        what has to measure them.
        """

    @abstractmethod
    def executor(self, workshop: Workshop) -> Executor:
        """What does the tasks of a search; the workshop's target is one of this site."""


class Here(Site):
    """This process."""

    def target(self, target: Target, needed: Sequence[str]) -> Target:
        """The target itself."""
        return target

    def executor(self, workshop: Workshop) -> Executor:
        """One task after the other."""
        return InProcess(workshop)
