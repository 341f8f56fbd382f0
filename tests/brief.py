"""Clocks of tenths of a second, and the command line with them, as a process of its own.

brief.py COMMAND ...   as `hwn2n COMMAND ...`

A claim about a network takes seconds of timing. What is made of the times is the same after less.
"""

from __future__ import annotations

import sys

from hwn2n.hardware.latency import steady
from hwn2n.hardware.measurement import DURATIONS, Duration, Effort

BRIEF: dict[Effort, Duration] = {
    "quick": Duration(clock=0.05, warmup=0.01, power=0.1, idle=0.1),
    "full": Duration(clock=0.1, warmup=0.02, power=0.2, idle=0.2),
}
LONGEST_WARMUP_S = 0.1
SHIPPED = (dict(DURATIONS), steady._LONGEST_SECONDS)
"""What users get."""


def set_clocks(durations: dict[Effort, Duration], longest_warmup_s: float) -> None:
    """Measure for so long from now on, in this process."""
    DURATIONS.update(durations)
    steady._LONGEST_SECONDS = longest_warmup_s


if __name__ == "__main__":
    from hwn2n.cli import main

    set_clocks(BRIEF, LONGEST_WARMUP_S)
    sys.exit(main(sys.argv[1:]))
