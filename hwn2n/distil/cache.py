"""Where data that takes long to decode or compute is kept between runs."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from hwn2n.distil.data_options import expanded


def cache_folder() -> Path:
    """The folder of hwn2n's cached data (it may not exist yet).

    The environment variable HWN2N_CACHE if set, else the platform's place for caches; for a user
    without a home a folder of temporary files.

    Raises:
        InputError: HWN2N_CACHE begins with ~ and a name that is no user here.
    """
    if chosen := os.environ.get("HWN2N_CACHE"):
        return expanded(chosen, "HWN2N_CACHE")
    try:
        return _place_of_caches() / "hwn2n"
    except RuntimeError:  # no home: HOME is not set, and the system does not know the user's number
        name = "hwn2n" if sys.platform == "win32" else f"hwn2n-{os.getuid()}"
        return Path(tempfile.gettempdir()) / name


def _place_of_caches() -> Path:
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
