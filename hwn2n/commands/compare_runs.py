"""`hwn2n compare RUN RUN...`: what several runs found, in one table and one page."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hwn2n.errors import InputError
from hwn2n.run.folder import RunFolder

if TYPE_CHECKING:
    from hwn2n.reporting.runs import RunLine


@dataclass(frozen=True, kw_only=True)
class ComparedRuns:
    """Runs in the order in which they were named. `html` is the page that was written, if any."""

    lines: tuple[RunLine, ...]
    html: str | None = None

    def to_json(self) -> dict[str, Any]:
        """JSON-able form."""
        return {
            "format": "hwn2n-runs",
            "version": 1,
            "runs": [line.to_json() for line in self.lines],
            "html": self.html,
        }


def compare_runs(
    runs: Sequence[str | os.PathLike[str]], *, html: str | os.PathLike[str] | None = None
) -> ComparedRuns:
    """Read runs, complete or not, and write `html` if it is asked for.

    Nothing is measured: their figures compare where they have the same data, split and machine.
    Raises `InputError` for fewer than two runs, for one that is named twice, and for a folder that
    is none.
    """
    from hwn2n.commands.run_facts import read_run
    from hwn2n.reporting import page
    from hwn2n.reporting.runs import build, run_line

    if len(runs) < 2:
        raise InputError(f"at least two runs must be given to compare them; found {len(runs)}")
    paths = [Path(run) for run in runs]
    for path in paths:
        if sum(path.resolve() == other.resolve() for other in paths) > 1:
            raise InputError(f"{path}: each run must be named once, but this one is twice")
    facts = [read_run(RunFolder.open(path), layers=False) for path in paths]
    if html is not None:
        page.save(build(facts), html)
    return ComparedRuns(
        lines=tuple(run_line(found) for found in facts),
        html=None if html is None else os.fspath(html),
    )
