"""`hwn2n check`."""

from __future__ import annotations

import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hwn2n.cli import options
from hwn2n.cli.console import results, show
from hwn2n.errors import Hwn2nError, InputError

if TYPE_CHECKING:
    from hwn2n.gate.outcome import Check


class Format(StrEnum):
    """How a check is written: for people, or in one of `gate.reports.REPORTS`."""

    TEXT = "text"
    JSON = "json"
    JUNIT = "junit"
    GITHUB = "github"
    MARKDOWN = "markdown"


def check(
    context: typer.Context,
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="A .pt2 of torch.export.save, a file of hwn2n teach, or weights with --arch.",
        ),
    ],
    budget: Annotated[str, typer.Option("--budget", metavar="FILE", help="Budget (YAML).")],
    teacher: Annotated[
        str | None,
        typer.Option(
            "--teacher",
            metavar="FILE",
            help="What percentages in the budget are relative to: a network, or its saved profile "
            "(.json).",
        ),
    ] = None,
    static_only: Annotated[
        bool,
        typer.Option(
            "--static-only", help="Judge only what can be counted, the same on every machine."
        ),
    ] = False,
    baseline: Annotated[
        str | None,
        typer.Option(
            "--baseline",
            metavar="FILE",
            help="Show changes against this profile, saved by hwn2n profile --save-baseline.",
        ),
    ] = None,
    max_increase: Annotated[
        str | None,
        typer.Option(
            "--max-increase",
            metavar="P%",
            help="Fail where a column of the budget got worse than the baseline by more.",
        ),
    ] = None,
    profile: Annotated[
        str | None,
        typer.Option(
            "--profile",
            metavar="FILE",
            help="Take measured columns from this saved profile of the same network and target.",
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            "--data",
            metavar="NAME",
            help="Labelled images, as of hwn2n teach: what accuracies are of, and what measured "
            "networks run on.  [default: noise]",
        ),
    ] = None,
    data_root: options.DataRoot = None,
    target: options.TargetName = None,
    input_shape: options.InputShape = None,
    arch: options.Arch = None,
    teacher_arch: Annotated[
        str | None,
        typer.Option(
            "--teacher-arch", metavar="NAME|MODULE:FACTORY", help="As --arch, for --teacher."
        ),
    ] = None,
    unsafe_pickle: options.UnsafePickle = False,
    threads: options.Threads = None,
    form: Annotated[
        Format | None,
        typer.Option(
            "--format",
            help="github writes annotations, and appends markdown to $GITHUB_STEP_SUMMARY.  "
            "[default: text]",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", metavar="FILE", help="Write the format there, and text to stdout."
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
) -> int:
    """Judge a network by a budget, for continuous integration.

    Exit codes: 0 inside; 1 a limit is violated; 2 bad usage or input; 3 a row could not be
    measured; 4 the interval of a measured value holds the limit, so nobody can tell. Of several,
    1 goes before 3 before 4.

    \b
    Example:
      hwn2n check student.pt2 --budget budgets/mnist-20k.yaml --static-only
      hwn2n check student.pt2 --budget budgets/demo.yaml --teacher teacher.pt --json
      hwn2n check student.pt2 --budget budgets/mnist-20k.yaml --baseline main.json --max-increase 5%
      hwn2n check student.pt2 --budget budgets/mnist-20k.yaml --format junit --out report.xml
    """
    chosen = _chosen(form, json)
    context.obj.json = chosen is Format.JSON and out is None
    options.output_file(out)
    shape = options.image_shape(input_shape)

    from hwn2n.commands.check import check as run

    try:
        found = run(
            model,
            budget=budget,
            teacher=teacher,
            static_only=static_only,
            baseline=baseline,
            max_increase=max_increase,
            profile=profile,
            data=data,
            data_root=data_root,
            target=target,
            input_shape=shape,
            arch=arch,
            teacher_arch=teacher_arch,
            unsafe_pickle=unsafe_pickle,
            threads=threads,
        )
    except Hwn2nError as error:
        if chosen is Format.GITHUB and out is None:
            from hwn2n.gate.github import failure

            print(failure(str(error)), end="", file=results(), flush=True)
        raise
    _write(found, chosen, out)
    return found.exit_code


def _chosen(form: Format | None, json: bool) -> Format:
    if json and form not in (None, Format.JSON):
        raise InputError(f"--json must not be given with another --format; found {form}")
    return Format.JSON if json else form or Format.TEXT


def _write(found: Check, form: Format, out: Path | None) -> None:
    """The report to stdout or to `out`, and a step's summary where there is one."""
    from hwn2n.atomic import write_atomic, writing
    from hwn2n.cli.check_tables import check_lines, check_table, check_text
    from hwn2n.gate.github import STEP_SUMMARY, append_summary
    from hwn2n.gate.markdown import markdown
    from hwn2n.gate.reports import REPORTS

    if out is not None or form is Format.TEXT:
        show(lambda plain: check_table(found, plain=plain), check_lines(found))
    else:
        print(REPORTS[form](found), end="", file=results(), flush=True)
    if out is not None:
        text = check_text(found) if form is Format.TEXT else REPORTS[form](found)
        with writing(out):
            write_atomic(out, lambda path: path.write_text(text, encoding="utf-8", newline="\n"))
    if form is Format.GITHUB and (summary := os.environ.get(STEP_SUMMARY)):
        try:
            append_summary(markdown(found), Path(summary))
        except OSError as error:  # the verdict stands without it
            print(f"warning: no step summary: {error}", file=sys.stderr)
