"""The command line in this process or another, on a problem of seconds: digits, two epochs."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

from hwn2n.cli import main

ROOT = Path(__file__).parent.parent
BUDGET = str(ROOT / "budgets" / "demo.yaml")

SHORT = tuple(
    f"--set={setting}"
    for setting in (
        "removal.updates=1",
        "removal.rollouts=2",
        "shrinkage.updates=1",
        "shrinkage.rollouts=2",
        "train.epochs=1",
        "train.max_images=200",
        "final.epochs=1",
        "recalibrate_images=100",
    )
)
"""A search of five candidates."""


class Outcome(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one JSON document on stdout; fails where there is anything else."""
        return json.loads(self.out)


def hwn2n(*arguments: object) -> Outcome:
    """Run the command line in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main([str(argument) for argument in arguments])
    return Outcome(code, out.getvalue(), err.getvalue())


def environment() -> dict[str, str]:
    """That of a process of its own: this checkout's hwn2n, one thread."""
    return os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def process(*arguments: object, cwd: Path | None = None) -> Outcome:
    """Run the command line in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "hwn2n", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=environment(),
        timeout=120,
        check=False,
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


def taught(folder: Path) -> Path:
    """A teacher of the digits, in a file."""
    path = folder / "teacher.pt"
    outcome = hwn2n(
        "teach", "digits-cnn", "--data", "digits", "--validation", "0.3", "--split-seed", 7,
        "--epochs", 2, "-o", path, "--quiet",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    return path


def tree(folder: Path) -> set[Path]:
    """All that lies in a folder."""
    return set(folder.rglob("*"))
