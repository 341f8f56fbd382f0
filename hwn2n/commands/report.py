"""`hwn2n report`: a run as one HTML file that opens anywhere, offline."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hwn2n.errors import Hwn2nError, InterruptedRunError, one_line
from hwn2n.run.folder import RunFolder, write_json
from hwn2n.run.progress import Reporter

if TYPE_CHECKING:
    from hwn2n.network.planner import Planner

__all__ = ["Report", "report", "reported"]


@dataclass(frozen=True, kw_only=True)
class Report:
    """A report that was written: where, how large, and of what (`reporting.facts.State`)."""

    path: str
    bytes: int
    state: str
    headline: str
    candidates: int

    def to_json(self) -> dict[str, Any]:
        """JSON-able form."""
        return {"format": "hwn2n-report", "version": 1, **vars(self)}


def report(
    run: str | os.PathLike[str],
    *,
    out: str | os.PathLike[str] | None = None,
    baselines: Sequence[str | os.PathLike[str]] = (),
    teacher: str | os.PathLike[str] | None = None,
    measure_layers: bool = False,
) -> Report:
    """Write the report of a run, complete or not, to `out` (by default `RUN/report.html`).

    `baselines` are drawn beside the candidates: folders of other complete runs, of which it is the
    student, or JSON files (`reporting.points.load_baselines`). `teacher` is the teacher's file
    where it is not where the run found it. `measure_layers` times the layers of teacher and
    student, one by one, on the CPU of this machine.

    Raises `InputError` for what cannot be used, `MeasurementError` for layers that cannot be timed.
    """
    folder = RunFolder.open(Path(run))
    path = folder.report if out is None else Path(out)
    return _write(folder, path, baselines=baselines, teacher=teacher, measure_layers=measure_layers)


@contextmanager
def reported(folder: RunFolder, planner: Planner, reporter: Reporter) -> Iterator[None]:
    """Around a run: its report is written however it ends, unless it is killed or broken off.

    A report that cannot be drawn is one line of warning, and nothing for the run to fail at.
    """
    _kept(folder, planner, reporter)
    try:
        yield
    except InterruptedRunError as error:
        if not isinstance(error.__cause__, KeyboardInterrupt):
            with suppress(KeyboardInterrupt):  # the second Ctrl-C: at once, without a report
                _drawn(folder, planner, reporter)
        raise
    except Hwn2nError as error:
        _drawn(folder, planner, reporter, note=one_line(error))
        raise
    _drawn(folder, planner, reporter)


def _kept(folder: RunFolder, planner: Planner, reporter: Reporter) -> None:
    """Write down the teacher's architecture: its file may be elsewhere when a report is drawn."""
    try:
        if not folder.teacher_architecture.exists():
            write_json(folder.teacher_architecture, planner.teacher.to_json())
    except (OSError, TypeError, ValueError) as error:
        reporter.message(f"warning: the teacher's architecture is not kept: {one_line(error)}")


def _drawn(
    folder: RunFolder, planner: Planner, reporter: Reporter, *, note: str | None = None
) -> None:
    try:
        _write(folder, folder.report, planner=planner, note=note)
    except Exception as error:
        reporter.message(f"warning: no report could be drawn: {one_line(error)}")


def _write(
    folder: RunFolder,
    path: Path,
    *,
    baselines: Sequence[str | os.PathLike[str]] = (),
    teacher: str | os.PathLike[str] | None = None,
    planner: Planner | None = None,
    note: str | None = None,
    measure_layers: bool = False,
) -> Report:
    # plotly takes half a second to import: only what draws needs it
    from hwn2n.commands.baselines import read_baselines
    from hwn2n.commands.run_facts import read_run, repeat_command
    from hwn2n.reporting import page
    from hwn2n.reporting.report import build
    from hwn2n.reporting.verdict import headline

    facts = read_run(folder, teacher=teacher, planner=planner, note=note)
    text = build(
        facts,
        command=repeat_command(folder),
        baselines=read_baselines(baselines),
        measure_layers=measure_layers,
    )
    page.save(text, path)
    return Report(
        path=str(path),
        bytes=path.stat().st_size,
        state=facts.state.value,
        headline=headline(facts),
        candidates=len(facts.candidates),
    )
