"""The folder of a run: which file holds what, and how files are written whole or not at all."""

from __future__ import annotations

import contextlib
import json
import shlex
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from hwn2n.atomic import write_atomic
from hwn2n.errors import InputError, one_line

STARTING = "start-"
"""What names of policies begin with that a run started from."""
IN_MEMORY = "(given as an object)"
"""What stands in `config.json` for a teacher, data or a target that had no file and no name."""


@dataclass(frozen=True)
class RunFolder:
    """Paths inside a run's folder."""

    path: Path
    made: tuple[Path, ...] = ()
    """The folders that `create` made on the way to `path`, from the outermost to itself."""

    @property
    def config(self) -> Path:
        """The resolved configuration, with all that `--resume` needs."""
        return self.path / "config.json"

    @property
    def resume_command(self) -> str:
        """What a user types to go on with it."""
        return f"hwn2n compress --resume {shlex.quote(str(self.path))}"

    @property
    def ledger(self) -> Path:
        """Every candidate (SQLite)."""
        return self.path / "ledger.sqlite"

    @property
    def result(self) -> Path:
        """The outcome; its existence says that the run is complete."""
        return self.path / "result.json"

    @property
    def student(self) -> Path:
        """The student as an exported program, which needs neither hwn2n nor the teacher."""
        return self.path / "student.pt2"

    @property
    def choice(self) -> Path:
        """Which candidate becomes the student, or that none is inside, once that is settled."""
        return self.path / "checkpoints" / "choice.json"

    @property
    def alignment(self) -> Path:
        """The step of widths that the target was found to like, where it was asked."""
        return self.path / "alignment.json"

    @property
    def weights(self) -> Path:
        """The student's state dict."""
        return self.path / "student.safetensors"

    @property
    def architecture(self) -> Path:
        """The student's architecture."""
        return self.path / "architecture.json"

    @property
    def teacher_architecture(self) -> Path:
        """The teacher's architecture, for the report; it is not read by the search."""
        return self.path / "teacher-architecture.json"

    @property
    def report(self) -> Path:
        """The page that people look at."""
        return self.path / "report.html"

    @property
    def budget(self) -> Path:
        """The budget as it was given; not there where there is none."""
        return self.path / "budget.yaml"

    @property
    def policies(self) -> Path:
        """Those that the run started from, and those that it learned."""
        return self.path / "policies"

    def policy(self, stage: str) -> Path:
        """The learned policy of a stage."""
        return self.policies / f"{stage}.safetensors"

    def checkpoint(self, name: str) -> Path:
        """Where a stage or the final training stands."""
        return self.path / "checkpoints" / f"{name}.pt"

    @classmethod
    def create(cls, path: Path) -> RunFolder:
        """A new, empty folder, or one in which a process was killed before there was a run.

        Raises `InputError` if there is something else in it already.
        """
        try:
            missing = [p for p in (path, *path.parents) if not p.exists()]
            folder = cls(path, made=tuple(reversed(missing)))
            if path.exists() and (not path.is_dir() or any(map(_is_not_ours, path.iterdir()))):
                raise InputError(
                    f"{path}: the run folder must be new or empty; "
                    f"go on with an interrupted run by {folder.resume_command}"
                )
            for sub in ("policies", "checkpoints"):
                (path / sub).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{path}: must be writable: {error.strerror}") from error
        return folder

    def begin_anew(self) -> None:
        """Remove what a process left that was killed before there was a run; with the lock held."""
        self.budget.unlink(missing_ok=True)
        for policy in self.policies.iterdir():
            policy.unlink()

    def discard(self) -> None:
        """Put things back to before `create`: what lies in the folder goes, what was there stays.

        So does a folder above it in which something else has appeared since.
        """
        for entry in list(self.path.iterdir()):
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
        with contextlib.suppress(OSError):
            for folder in reversed(self.made):
                folder.rmdir()

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """The folder of an existing run. Raises `InputError` if it is none."""
        folder = cls(path)
        try:
            found = folder.config.is_file()
        except OSError as error:  # too long a name, or no right to look
            raise InputError(
                f"{path}: must be the folder of a run, but: {error.strerror}"
            ) from error
        if not found:
            raise InputError(f"{path}: must be the folder of a run, but has no config.json")
        return folder


def _is_not_ours(entry: Path) -> bool:
    """Whether an entry is anything but what stands in a folder before its `config.json` does."""
    if entry.name == "policies" and entry.is_dir():
        return any(not p.name.lstrip(".").startswith(STARTING) for p in entry.iterdir())
    if entry.name == "checkpoints" and entry.is_dir():
        return any(entry.iterdir())
    if entry.name == "budget.yaml":  # a process that copies one has the lock; else it is the user's
        return not (entry.parent / ".lock").exists()
    return entry.name != ".lock" and not entry.match(".*.tmp")


def default_folder(teacher: str, budget: str) -> Path:
    """`runs/DATE-TIME-teacher-budget`."""
    stamp = time.strftime("%Y%m%d-%H%M%S")
    return Path("runs") / f"{stamp}-{Path(teacher).stem}-{budget}"


def write_json(path: Path, data: Any) -> None:
    """Write indented JSON, whole or not at all."""
    text = json.dumps(data, indent=2) + "\n"
    write_atomic(path, lambda temporary: temporary.write_text(text))


def read_json(path: Path) -> Any:
    """Read JSON; `InputError` if it is missing or damaged."""
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: must be a readable JSON file: {error}") from error


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint, whole or not at all. Raises `InputError` where it cannot be written."""
    try:
        write_atomic(path, lambda temporary: torch.save(state, temporary))
    except (OSError, RuntimeError) as error:  # torch makes the latter of a full disk
        raise InputError(f"{path}: must be writable, but: {one_line(error)}") from error


def load_checkpoint(path: Path) -> dict[str, Any] | None:
    """The checkpoint, or None if there is none yet; nothing in it can run code."""
    if not path.exists():
        return None
    try:
        return torch.load(path, weights_only=True, map_location="cpu")
    except Exception as error:
        raise InputError(f"{path}: damaged checkpoint ({type(error).__name__})") from error
