"""What the phases of a run take, added up over all processes that worked on it."""

from __future__ import annotations

import time

from hwn2n.run.ledger import Ledger


class Clock:
    """Runs from when it is made; each lap books the seconds since the last one to a phase.

    Laps are kept in the ledger, so a resumed run knows what the processes before it took. What a
    killed process had begun and not finished is in no lap.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._last = time.perf_counter()

    def lap(self, phase: str) -> None:
        """Book the seconds since the last lap."""
        now = time.perf_counter()
        self._ledger.add_seconds(phase, now - self._last)
        self._last = now
