"""Baselines of a report: the students of other runs, and figures from files."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from hwn2n.budget.cost import cost_from_json
from hwn2n.commands.result import read_result
from hwn2n.errors import InputError
from hwn2n.reporting.points import Named, load_baselines
from hwn2n.run.folder import RunFolder


def read_baselines(paths: Iterable[str | os.PathLike[str]]) -> list[Named]:
    """The networks that the paths name, in their order. Raises `InputError` for any other path."""
    found: list[Named] = []
    for path in paths:
        found += [_student(Path(path))] if Path(path).is_dir() else load_baselines(path)
    return found


def _student(path: Path) -> Named:
    folder = RunFolder.open(path)
    if not folder.result.exists():
        raise InputError(f"{path}: a run must be complete to be a baseline, but has no result.json")
    student = read_result(folder).student
    try:
        return Named(
            name=str(path),
            cost=cost_from_json(student["cost"]),
            accuracy=float(student["validation_accuracy"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{folder.result}: damaged result ({error!r})") from error
