"""Modules of the user's, named on the command line."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType


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
