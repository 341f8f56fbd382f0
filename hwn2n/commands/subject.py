"""What `profile` and `check` measure: a network from a file or an object, and the target."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from torch import nn

from hwn2n.errors import InputError
from hwn2n.hardware.target import Target, build_target
from hwn2n.network.files import Teacher, load_teacher

Model = str | os.PathLike[str] | nn.Module | Teacher


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
    budget: tuple[int, int, int, int] | None = None,
) -> tuple[int, int, int]:
    """(C, H, W) to measure at: as given, or of the file, or of the `input` of a budget.

    Raises InputError where nothing tells, and where the file and the budget disagree.
    """
    if given is not None:
        if len(given) != 3 or min(given) < 1:
            raise InputError(f"input_shape must be 3 positive numbers (C, H, W), found {given}")
        return given
    stored, written = subject.input_shape, None if budget is None else budget[1:]
    if stored is not None and written is not None and tuple(stored) != written:
        raise InputError(
            f"{subject.source}: its images must have the shape that the budget names, "
            f"{_shown(written)}, but have {_shown(stored)}"
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
) -> Target:
    """The target of a name, an inline mapping or None for the CPU, with batch and threads put in.

    Raises InputError where there is none of that name, and where `batch` or `threads` come with
    a target that is an object and has its own.
    """
    changes = {"batch": batch, "threads": threads}
    changes = {name: value for name, value in changes.items() if value is not None}
    if isinstance(target, Target):
        if changes:
            name = next(iter(changes))
            raise InputError(f"{name} must not be given with a target object, which has its own")
        return target
    if isinstance(target, Mapping):
        return build_target({**target, **changes})
    return build_target({"device": target or "cpu", **changes})
