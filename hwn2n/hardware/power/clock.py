"""Time: what the meters need of it, so that tests need not wait for it.

A meter is read in the background while the network runs in the foreground. `SystemClock` does that
with a thread; a test's clock calls the readers whenever its time is moved on.
"""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable


class Background(ABC):
    """Something that runs beside the foreground until it is stopped."""

    @abstractmethod
    def stop(self) -> None:
        """Stop it and wait until it has stopped; again is harmless."""


class Clock(ABC):
    """A steady clock in seconds from an arbitrary start."""

    @abstractmethod
    def now(self) -> float:
        """The time."""

    @abstractmethod
    def sleep(self, seconds: float) -> None:
        """Let `seconds` pass."""

    @abstractmethod
    def background(self, step: Callable[[], float]) -> Background:
        """Call `step` now and again after as many seconds as it returns, until stopped.

        `step` must not raise.
        """


class _Thread(Background):
    def __init__(self, step: Callable[[], float]) -> None:
        self._step = step
        self._stopping = threading.Event()
        # A daemon: a window that is never closed must not keep the process alive.
        self._thread = threading.Thread(target=self._run, name="hwn2n-meter", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stopping.wait(self._step()):
            pass

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join()


class SystemClock(Clock):
    """The machine's own clock."""

    def now(self) -> float:
        return time.perf_counter()

    def sleep(self, seconds: float) -> None:
        time.sleep(max(0.0, seconds))

    def background(self, step: Callable[[], float]) -> Background:
        return _Thread(step)
