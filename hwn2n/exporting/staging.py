"""Several files that appear together once all of them are written and checked."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from hwn2n.atomic import destination, writing
from hwn2n.errors import InputError


def write_together(out: Path, beside: Sequence[Path], write: Callable[[Path], None]) -> None:
    """Let `write` make and check the files in a folder of its own, then move them into place.

    `write` gets the path of `out` in that folder, and makes the files of `beside` next to it.
    What it raises goes through, and nothing is left behind; files that were there stay as they
    were. Raises `InputError` where `out` cannot be written.
    """
    if out.is_dir():
        raise InputError(f"{out}: must be a file to write, but is a folder")
    with writing(out):
        # `out` last: where it is new, so are the others
        places = {path: destination(path) for path in (*beside, out)}
    folder = places[out].parent
    staging = folder / f".{out.name}.{os.getpid()}.{secrets.token_hex(4)}.tmp"
    missing = [parent for parent in (folder, *folder.parents) if not parent.exists()]
    done = False
    try:
        with writing(out):
            staging.mkdir(parents=True)
            write(staging / out.name)
            for path, place in places.items():
                with (staging / path.name).open("rb") as file:
                    os.fsync(file.fileno())
                (staging / path.name).replace(place)
        done = True
    finally:
        shutil.rmtree(staging, ignore_errors=True)
        if not done:
            for parent in missing:
                if parent.is_dir() and not any(parent.iterdir()):
                    parent.rmdir()
