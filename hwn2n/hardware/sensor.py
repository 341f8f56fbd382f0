"""Reading a sensor, and what to say where it does not answer.

sysfs and procfs hold one value a file. A file can be there and still refuse: for lack of rights,
because the bus behind it was busy, or because the unit that it describes is switched off.
"""

from __future__ import annotations

import errno
import math
from pathlib import Path

from hwn2n.errors import MeasurementError, one_line

# The bus or the driver was busy: the next read may well succeed.
_PASSING = frozenset(
    {errno.EAGAIN, errno.EBUSY, errno.EINTR, errno.EIO, errno.EREMOTEIO, errno.ETIMEDOUT}
)


class SensorError(MeasurementError):
    """A sensor did not answer, or answered what cannot be (exit code 3).

    `passing` says that the next read may succeed, so that one such error in a long window is no
    reason to throw the window away.
    """

    def __init__(self, message: str, *, passing: bool = False) -> None:
        super().__init__(message)
        self.passing = passing


def read_text(path: Path) -> str:
    """The text of a file of sysfs or procfs, without NULs and white space around it.

    Raises SensorError where it cannot be read.
    """
    try:
        raw = path.read_bytes()
    except PermissionError as error:
        raise SensorError(f"{path} is readable by root only") from error
    except OSError as error:
        reason = error.strerror or one_line(error)
        raise SensorError(
            f"{path} cannot be read: {reason}", passing=error.errno in _PASSING
        ) from error
    return raw.decode("utf-8", errors="replace").replace("\0", " ").strip()


def read_number(path: Path) -> float:
    """The number in a file. Raises SensorError where there is none, or none that is finite."""
    text = read_text(path)
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        found = repr(one_line(text, 40)) if text else "nothing"
        raise SensorError(f"{path} must hold a number; found {found}")
    return number


def text_or_none(path: Path) -> str | None:
    """The text of a file, None where it is empty or cannot be read."""
    try:
        return read_text(path) or None
    except SensorError:
        return None


def number_or_none(path: Path) -> float | None:
    """The number in a file, None where it cannot be read."""
    try:
        return read_number(path)
    except SensorError:
        return None
