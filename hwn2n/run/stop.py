"""Stopping a run from outside: finish the candidate in hand, then stop resumable."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from hwn2n.errors import InterruptedRunError


class Stop:
    """A request to stop, which the work looks at between candidates and between epochs."""

    def __init__(self) -> None:
        self.requested = False

    def request(self) -> None:
        """Ask for a stop at the next opportunity."""
        self.requested = True

    def check(self) -> None:
        """Raise `InterruptedRunError` if a stop was asked for; what is done so far is on disk."""
        if self.requested:
            raise InterruptedRunError("stopped as asked")

    @contextmanager
    def on_ctrl_c(self) -> Iterator[None]:
        """The first Ctrl-C (or SIGTERM) asks for a stop, a second one breaks off at once."""

        def handler(number: int, frame: FrameType | None) -> None:
            if self.requested:
                raise KeyboardInterrupt
            self.request()

        before = {s: signal.signal(s, handler) for s in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, previous in before.items():
                # None is a handler that was not set from Python, and cannot be set back from it.
                signal.signal(number, signal.SIG_DFL if previous is None else previous)
