"""Errors as a person sees them: one line on stderr, and the exit code that belongs to it."""

from __future__ import annotations

import errno
import os
import sys
import traceback
from contextlib import suppress
from dataclasses import dataclass

import typer

from hwn2n.cli.console import print_json
from hwn2n.errors import Hwn2nError, one_line

EXIT_USAGE = 2
EXIT_UNEXPECTED = 70
"""EX_SOFTWARE of sysexits.h: a fault of the program, not of what it was given."""
EXIT_INTERRUPTED = 130
"""What shells report for Ctrl-C."""
EXIT_UNREAD = 141
"""What shells report for SIGPIPE."""


@dataclass
class Invocation:
    """What the error handling must know of the command line, filled in as it is parsed."""

    debug: bool = False
    json: bool = False


def failed(error: BaseException, invocation: Invocation) -> int:
    """Say what went wrong on one line of stderr (and as JSON on stdout if asked for JSON)."""
    message, code = _described(error)
    if code == EXIT_UNEXPECTED and invocation.debug:
        traceback.print_exception(error)
    elif code == EXIT_UNEXPECTED:
        message += "; this is a fault of hwn2n: set HWN2N_DEBUG=1 to see where it comes from"
    message = one_line(message, limit=4000)
    with suppress(OSError):  # stdout may be what is full or closed
        if invocation.json:
            print_json({"error": message, "kind": type(error).__name__, "exit_code": code})
    with suppress(OSError):
        print(f"error: {message}", file=sys.stderr, flush=True)
    return code


def nobody_reads() -> int:
    """What to exit with where stdout was closed, as by `| head`: the code that shells give SIGPIPE,
    which is no verdict. Nothing is written to it any more, at the interpreter's end neither."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return EXIT_UNREAD


def _described(error: BaseException) -> tuple[str, int]:
    if isinstance(error, Hwn2nError):
        return str(error), error.exit_code
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return f"there must be space to write to: {one_line(error)}", EXIT_USAGE
    if _out_of_memory(error):
        return (
            "there must be memory for what was asked, such as the size of images or of batches: "
            f"{one_line(error)}",
            EXIT_USAGE,
        )
    if isinstance(error, KeyboardInterrupt | typer.Abort):
        return "interrupted", EXIT_INTERRUPTED
    # The parser's own errors. Their base class moved from click into typer with typer 0.26 or so;
    # what they can do is the same in both.
    if callable(shown := getattr(error, "format_message", None)):
        context = getattr(error, "ctx", None)
        command = context.command_path if context is not None else "hwn2n"
        return f"{shown().rstrip('.')} (see {command} --help)", EXIT_USAGE
    return f"unexpected {type(error).__name__}: {error}", EXIT_UNEXPECTED


def _out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, of this machine or of a GPU; torch has no class of its own for the
    former, and is not imported to know the latter."""
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or (isinstance(error, RuntimeError) and "can't allocate memory" in str(error))
    )
