"""What `profile` and `check` measure: a network from a file or an object, and the target."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from torch import nn

from hwn2n.budget.load import load_budget
from hwn2n.budget.matrix import Budget
from hwn2n.budget.rows import OpenRow
from hwn2n.errors import InputError
from hwn2n.hardware.target import Target
from hwn2n.hardware.targets import build_target
from hwn2n.network.files import Teacher, load_teacher

Model = str | os.PathLike[str] | nn.Module | Teacher

LEARNED = "it is learned: only labelled images tell, see hwn2n compress"
"""Why a profile has no accuracies."""


def load_subject(
    model: Model,
    *,
    arch: str | None = None,
    input_shape: tuple[int, int, int] | None = None,
    unsafe_pickle: bool = False,
) -> Teacher:
    """The network of a file (`network.files.load_teacher`), or the one given, untouched."""
    if isinstance(model, Teacher):
        return model
    if isinstance(model, nn.Module):
        return Teacher(model=model, source=type(model).__name__)
    return load_teacher(model, arch=arch, input_shape=input_shape, unsafe_pickle=unsafe_pickle)


def shape_of(
    subject: Teacher,
    given: tuple[int, int, int] | None,
    budget: Budget | None = None,
) -> tuple[int, int, int]:
    """(C, H, W) to measure at: as given, or of the file, or of the `input` of a budget.

    Raises InputError where nothing tells, and where the budget disagrees: its limits are of its
    own images.
    """
    written = None if budget is None or budget.input is None else budget.input[1:]
    if given is not None:
        if len(given) != 3 or min(given) < 1:
            raise InputError(f"input_shape must be 3 positive numbers (C, H, W), found {given}")
        if budget and written is not None and tuple(given) != written:
            raise InputError(
                f"{budget.where('input')}: input must have the shape that is given, "
                f"{_shown(given)}, but has {_shown(written)}"
            )
        channels, height, width = given
        return channels, height, width
    stored = subject.input_shape
    if budget and stored is not None and written is not None and tuple(stored) != written:
        raise InputError(
            f"{budget.where('input')}: input must have the shape of the images of "
            f"{subject.source}, {_shown(stored)}, but has {_shown(written)}"
        )
    shape = stored or written
    if shape is None:
        raise InputError(
            f"{subject.source}: does not say the shape of its images: give --input-shape C,H,W"
        )
    return shape


def _shown(shape: tuple[int, int, int]) -> str:
    return ",".join(str(size) for size in shape)


def target_of(
    target: Target | Mapping[str, Any] | str | None,
    *,
    batch: int | None = None,
    threads: int | None = None,
    budget: Budget | None = None,
) -> Target:
    """The target of a name or an inline mapping; None for what `budget` names, or the CPU.

    `budget` also says how many images make a batch (its `input`), and its file where targets are
    looked for. `batch` and `threads` win over both. Raises InputError where there is none of that
    name, and where `batch` or `threads` come with a target that is an object and has its own.
    """
    given = {"batch": batch, "threads": threads}
    changes = {name: value for name, value in given.items() if value is not None}
    if isinstance(target, Target):
        if changes:
            name = next(iter(changes))
            raise InputError(f"{name} must not be given with a target object, which has its own")
        return target
    if budget is None:
        return build_target(target, changes=changes)
    named, beside = budget.target if target is None else target, folder_of(budget)
    try:
        chosen = build_target(named, changes=changes, beside=beside)
    except InputError as error:
        if target is not None:
            raise
        raise InputError(f"{budget.where('target')}: {error}") from error
    if budget.input is None or batch is not None:
        return chosen
    try:
        return build_target(named, batch=budget.input[0], changes=changes, beside=beside)
    except InputError as error:
        raise InputError(f"{budget.where('input')}: {error}") from error


def check_data_root(data: object, data_root: object) -> None:
    """Raise InputError where there is a folder of data sets and no data set."""
    if data is None and data_root is not None:
        raise InputError("--data-root is for --data, which is missing")


def as_budget(budget: str | os.PathLike[str] | Mapping[str, Any] | Budget) -> Budget:
    """The budget of a YAML file, of YAML text, of a mapping, or the one given."""
    if isinstance(budget, Budget):
        return budget
    return load_budget(budget if isinstance(budget, str | Mapping) else Path(budget))


def confidences(rows: Iterable[OpenRow]) -> dict[str, float]:
    """For each column, the highest level at which one of `rows` wants its interval."""
    found: dict[str, float] = {}
    for row in rows:
        for column in row.columns:
            found[column] = max(found.get(column, 0.0), row.confidence)
    return found


def folder_of(budget: Budget) -> Path | None:
    """The folder of a budget's file; None for one that was given as text or as an object."""
    path = Path(budget.file) if budget.file else None
    return path.parent if path is not None and path.is_file() else None
