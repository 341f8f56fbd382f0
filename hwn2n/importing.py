"""Modules of the user's, named on the command line."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from hwn2n.errors import InputError


def import_user_module(name: str) -> ModuleType:
    """Import a module; those of the working folder count. Raises whatever the import raises.

    A console script's sys.path lacks the working folder, where users keep their modules.

    Raises:
        ImportError: also where the module calls `sys.exit`, which would end hwn2n with an exit
            code that says nothing of it, 0 perhaps.
    """
    here = str(Path.cwd())
    added = here not in sys.path and "" not in sys.path
    if added:
        sys.path.insert(0, here)
    try:
        importlib.invalidate_caches()
        return importlib.import_module(name)
    except SystemExit as error:
        raise ImportError(f"it calls sys.exit({error.code!r})") from error
    finally:
        if added and here in sys.path:
            sys.path.remove(here)


@contextmanager
def asked_in(folder: str | None) -> Iterator[None]:
    """Where a module of the user's is not found, the error says which folder it was asked for in.

    Modules are not looked for there: that folder stands in a file that may come from anybody, and
    a module is code.

    Args:
        folder: what was the working folder when the module was named; None where nobody knows.
    """
    try:
        yield
    except InputError as error:
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, ModuleNotFoundError):
            cause = cause.__cause__
        if cause is None or folder is None or Path(folder) == Path.cwd():
            raise
        raise InputError(
            f"{error} (the run was begun in {folder}: go on from there, or name it in PYTHONPATH)"
        ) from error
