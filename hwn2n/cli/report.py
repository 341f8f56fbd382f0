"""`hwn2n report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hwn2n.cli import options
from hwn2n.cli.console import print_json, show


def report(
    context: typer.Context,
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run.")],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="FILE", help="The page.  [default: RUN/report.html]"),
    ] = None,
    baseline: Annotated[
        list[str] | None,
        typer.Option(
            "--baseline",
            metavar="RUN|FILE",
            help="Draw another run's student too, or networks of a JSON file; may be repeated.",
        ),
    ] = None,
    teacher: Annotated[
        str | None,
        typer.Option("--teacher", metavar="FILE", help="Where it is not where the run found it."),
    ] = None,
    measure_layers: Annotated[
        bool,
        typer.Option(
            "--measure-layers",
            help="Time each layer of teacher and student, alone, on the CPU of this machine.",
        ),
    ] = False,
    json: options.AsJson = False,
) -> int:
    """Write a run's report: one HTML file, offline.

    The verdict, accuracy against cost of all candidates, the search, the layers, the time, and how
    to repeat it. compress writes it at its end; a run that was interrupted has one too. A file of
    baselines holds {"name": ..., "cost": {"params": ..., "accuracy": ...}}, or a list of these.

    \b
    Example:
      hwn2n report runs/first
      hwn2n report runs/first --baseline runs/second --out both.html
    """
    context.obj.json = json

    from hwn2n.commands.report import report as write

    written = write(
        run, out=out, baselines=baseline or (), teacher=teacher, measure_layers=measure_layers
    )
    if json:
        print_json(written.to_json())
    else:
        lines = [
            f"{written.headline} ({written.candidates} candidates)",
            f"report: {written.path} ({written.bytes / 1e6:.1f} MB)",
        ]
        show(None, lines)
    return 0
