"""All that hwn2n refuses or fails at, one class per exit code.

Library code raises these; only the command line turns them into a message and an exit code.
Each message is one line that says what must hold, what was found, and where.
"""

from __future__ import annotations

from typing import Any


class Hwn2nError(Exception):
    """Root of all errors that hwn2n raises on purpose.

    `result` is the `commands.compress.Result` of a student that was trained, measured again, and is
    what this is said of; None where there is no such student.
    """

    exit_code = 2

    def __init__(self, message: str = "", *, result: Any = None) -> None:
        super().__init__(message)
        self.result = result


class InputError(Hwn2nError):
    """A file, an option or a value that cannot be used (exit code 2)."""

    exit_code = 2


class BudgetNotMetError(Hwn2nError):
    """No network inside the budget was found, or none can exist (exit code 1)."""

    exit_code = 1


class MeasurementError(Hwn2nError):
    """A column that the budget needs cannot be measured here (exit code 3)."""

    exit_code = 3


class InconclusiveError(Hwn2nError):
    """A limit lies in the interval of a measured value, so nobody can tell (exit code 4)."""

    exit_code = 4


class InterruptedRunError(Hwn2nError):
    """The user stopped the run; it can be resumed (exit code 130, as shells use for Ctrl-C)."""

    exit_code = 130


def one_line(error: BaseException | str, limit: int = 300) -> str:
    """The text of an error on one line of at most `limit` characters that print.

    Other libraries' messages have line breaks, and control characters could steer a terminal; an
    error without a text gives its type.
    """
    printable = "".join(sign if sign.isprintable() else " " for sign in str(error))
    text = " ".join(printable.split()) or type(error).__name__
    return text if len(text) <= limit else text[: limit - 3] + "..."
