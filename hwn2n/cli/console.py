"""Where the commands write: results to stdout, progress and errors to stderr."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Any, TextIO

from rich.console import Console
from rich.table import Table

from hwn2n.run.progress import Reporter, reporter_for
from hwn2n.run.stop import Stop

_PLAIN_WIDTH = 100_000
"""Columns in a file or a pipe, where nothing must wrap."""
_BETWEEN = 3
"""Columns that a table puts between two of its own: padding on both sides, and its rule."""
_results: list[TextIO] = []
"""Where results go while all else that is printed goes to stderr."""


@contextmanager
def only_results_on_stdout() -> Iterator[None]:
    """What others print, such as modules of the user, libraries in C++ and child processes, goes to
    stderr: the result, or its JSON, has to be alone on stdout."""
    with _own_stdout() as stream:
        _results.append(stream)
        try:
            with redirect_stdout(sys.stderr):
                yield
        finally:
            _results.pop()


@contextmanager
def _own_stdout() -> Iterator[TextIO]:
    """The process's stdout as a stream of our own, while its descriptor leads to stderr. It is
    `sys.stdout` where that is no descriptor, as in a notebook."""
    stdout = sys.stdout
    try:
        descriptor, stderr = stdout.fileno(), sys.stderr.fileno()
    except (OSError, ValueError, AttributeError):
        yield stdout
        return
    stdout.flush()
    kept = os.dup(descriptor)
    raw = io.BufferedWriter(io.FileIO(os.dup(kept), "w"))
    stream = io.TextIOWrapper(raw, encoding=stdout.encoding, errors=stdout.errors)
    try:
        os.dup2(stderr, descriptor)
        yield stream
    finally:
        os.dup2(kept, descriptor)
        os.close(kept)
        stream.close()  # last: what is left may find nobody who reads


def results() -> TextIO:
    """The stream of results."""
    return _results[-1] if _results else sys.stdout


def show(table: Callable[[bool], Table] | None, lines: Iterable[str]) -> None:
    """Print a result to stdout: a table, made plain where there is no terminal, and lines."""
    console = _console(stderr=False)
    if table is not None:
        plain = not console.is_terminal
        built = table(plain)
        # numbers stay whole: a terminal that is too narrow for them breaks the lines itself
        least = sum((column.min_width or 0) + _BETWEEN for column in built.columns) + 1
        console.width = max(console.width, least)
        with console.capture() as captured:
            console.print(built)
        text = captured.get()
        # Rich fills the last column with spaces, which editors and diffs complain about.
        lines_of_table = (line.rstrip() if plain else line for line in text.splitlines())
        console.file.write("".join(f"{line}\n" for line in lines_of_table))
    for line in lines:
        console.print(line, soft_wrap=True)


def as_text(table: Table, lines: Iterable[str]) -> str:
    """What `show` prints of a plain table and lines where there is no terminal."""
    stream = io.StringIO()
    Console(file=stream, width=_PLAIN_WIDTH, highlight=False, markup=False, emoji=False).print(
        table
    )
    shown = [line.rstrip() for line in stream.getvalue().splitlines()]
    return "".join(f"{line}\n" for line in (*shown, *lines))


def progress(*, quiet: bool) -> Reporter:
    """Who shows the progress: bars or lines on stderr, nothing if `quiet`."""
    return reporter_for(_console(stderr=True), quiet=quiet)


def _console(*, stderr: bool) -> Console:
    stream = sys.stderr if stderr else results()
    width = None if stream.isatty() else _PLAIN_WIDTH
    return Console(file=stream, width=width, highlight=False, markup=False, emoji=False)


def print_json(document: Any) -> None:
    """One JSON document on stdout. NaN and infinity, which JSON has not, are refused."""
    print(json.dumps(document, indent=2, allow_nan=False), file=results(), flush=True)


class AnnouncedStop(Stop):
    """A stop that says what the first Ctrl-C does."""

    def request(self) -> None:
        super().request()
        # os.write: a signal handler may interrupt a print, and printing again then would raise.
        os.write(2, b"\nstopping after the current candidate or epoch; again to stop at once\n")
