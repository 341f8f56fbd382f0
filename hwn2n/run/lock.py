"""One process at a time works on a run."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from hwn2n.errors import InputError
from hwn2n.run.folder import RunFolder


@contextmanager
def working_on(folder: RunFolder) -> Iterator[None]:
    """Hold the run's lock, which ends with the process however it ends; `InputError` if it is held.

    Temporary files that a killed process left are removed: with the lock held they are nobody's.
    Where the system or the file system has no such locks, there is none, and they stay.
    """
    try:
        opened = (folder.path / ".lock").open("w")
    except OSError as error:
        raise InputError(f"{folder.path}: must be writable: {error.strerror}") from error
    with opened as file:
        if _locked(file.fileno(), folder):
            for leftover in folder.path.rglob(".*.tmp"):
                if leftover.is_dir():
                    shutil.rmtree(leftover)
                else:
                    leftover.unlink(missing_ok=True)
        yield


def _locked(descriptor: int, folder: RunFolder) -> bool:
    if sys.platform == "win32":
        return False
    import fcntl

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise InputError(f"{folder.path}: another process is working on this run") from error
    except OSError:
        return False
    return True
