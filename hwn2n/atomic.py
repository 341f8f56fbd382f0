"""Files that are written whole or not at all."""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from hwn2n.errors import InputError


def write_atomic(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file beside `path`, then move it there, durably.

    A crash at any moment, or two writers at once, leave the old file or a new one, never a part.
    What `write` raises goes through, and so does `OSError`, where there is no such folder too and
    for what `destination` refuses.
    """
    path = destination(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
    try:
        write(temporary)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def writing(path: str | os.PathLike[str]) -> Iterator[None]:
    """An `OSError` while `path` is written is an `InputError` that says so of it."""
    try:
        yield
    except OSError as error:
        raise InputError(
            f"{os.fspath(path)}: must be writable, but: {error.strerror or error}"
        ) from error


def destination(path: Path) -> Path:
    """The file to write for `path`, which is that of a link.

    Raises `OSError` for a folder, and for devices, pipes and what stands for an open file, such as
    /dev/stdout: moving a file there would put it in the place of the device.
    """
    if not path.name or path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    folder = os.path.realpath(path.parent)
    stream = folder == "/dev" or (folder.startswith("/proc/") and folder.endswith("/fd"))
    if stream or (path.exists() and not stat.S_ISREG(path.stat().st_mode)):
        raise OSError(errno.EINVAL, "it is a device or a pipe, not a file", str(path))
    return Path(os.path.realpath(path))
