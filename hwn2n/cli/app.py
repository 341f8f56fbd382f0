"""The application: its commands, and from whatever happens in them to an exit code."""

from __future__ import annotations

import errno
import io
import os
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from hwn2n import __version__
from hwn2n.cli.budget import budget
from hwn2n.cli.check import check
from hwn2n.cli.compare import compare
from hwn2n.cli.compress import compress
from hwn2n.cli.console import only_results_on_stdout
from hwn2n.cli.export import export
from hwn2n.cli.failure import EXIT_INTERRUPTED, Invocation, failed, nobody_reads
from hwn2n.cli.inspect import inspect
from hwn2n.cli.profile import profile
from hwn2n.cli.report import report
from hwn2n.cli.teach import teach

app = typer.Typer(
    name="hwn2n",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
)
for command in (teach, inspect, compress, profile, check, compare, export, report):
    app.command()(only_results_on_stdout()(command))
app.add_typer(budget, name="budget")


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"hwn2n {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def hwn2n(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Show the version and exit.", callback=_show_version, is_eager=True
        ),
    ] = False,
    debug: Annotated[
        bool,
        typer.Option(
            "--debug", help="Show the traceback of an unexpected error (or set HWN2N_DEBUG=1)."
        ),
    ] = False,
) -> None:
    """The most accurate smaller network inside a measured hardware budget.

    Exit codes: 0 done; 1 budget not met; 2 bad usage or input; 3 something could not be measured;
    4 inconclusive; 70 unexpected error; 130 interrupted.

    \b
    Example:
      hwn2n teach digits-cnn --data digits -o teacher.pt
      hwn2n compress teacher.pt --budget budgets/demo.yaml --data digits
    """
    if debug:
        context.obj.debug = True
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line `arguments` (by default the process's own); returns the exit code."""
    invocation = Invocation(debug=os.environ.get("HWN2N_DEBUG", "") not in ("", "0"))
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by who called, as by `>&-`
            setattr(sys, name, Path(os.devnull).open("w"))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # of an ASCII terminal, or a locale without µ
            stream.reconfigure(errors="backslashreplace")
    application = typer.main.get_command(app)
    with warnings.catch_warnings():
        if not sys.warnoptions and not invocation.debug:
            # Those of torch and its exporter speak to programmers, of code that is not the user's.
            warnings.simplefilter("ignore")
        try:
            code = application.main(
                args=None if arguments is None else list(arguments),
                prog_name="hwn2n",
                standalone_mode=False,
                obj=invocation,
            )
        except SystemExit as ended:
            cause = ended.__context__  # typer makes a 1 of a closed pipe, which is a verdict here
            if isinstance(cause, OSError) and cause.errno == errno.EPIPE:
                return nobody_reads()
            raise
        except BrokenPipeError:
            return nobody_reads()
        except Exception as error:
            return failed(error, invocation)
    if code == EXIT_INTERRUPTED:  # what typer makes of a KeyboardInterrupt
        return failed(KeyboardInterrupt(), invocation)
    return code or 0
