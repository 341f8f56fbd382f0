"""Targets by their names: a device, a file in `profiles/`, or the settings themselves."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from hwn2n.budget.target_file import find_target_file, load_target_file, target_settings
from hwn2n.budget.target_schema import TargetModel
from hwn2n.errors import InputError
from hwn2n.hardware.local_target import LocalTarget

DEVICES = ("cpu", "cuda")


def build_target(
    target: TargetModel | str | Mapping[str, Any] | None,
    *,
    batch: int | None = None,
    changes: Mapping[str, Any] | None = None,
    beside: Path | None = None,
) -> LocalTarget:
    """The target of a budget's `target:`: a name, inline settings, or None for the CPU.

    A name is that of a device (cpu, cuda, cuda:N), of a file `profiles/NAME.yaml` (looked for
    near the folder `beside`, in the working directory and among hwn2n's own), or a path. `batch`
    is that of the budget's `input`, which the target's own must not contradict; `changes` are
    settings that win over both. Raises InputError where there is none of that name.
    """
    name: str | None = None
    if target is None:
        settings = TargetModel()
    elif isinstance(target, TargetModel):
        settings = target
    elif isinstance(target, Mapping):
        given = dict(target)
        name = given.pop("name", None)
        settings = _validated(given)
    elif target.partition(":")[0] in DEVICES:
        settings = _validated({"device": target})
    else:
        file = find_target_file(target, beside)
        if file is None:
            raise InputError(
                "a target must be cpu, cuda, cuda:N, the name of a file in profiles/ or a path to "
                f"one; found {target!r}"
            )
        loaded = load_target_file(file)
        name, settings = loaded.name, target_settings(loaded)
    if batch is not None and settings.batch not in (None, batch):
        raise InputError(
            f"the batch of the budget's input must be that of the target, {settings.batch}; "
            f"found {batch}"
        )
    values = dict(settings) | ({"batch": batch} if batch is not None else {}) | dict(changes or {})
    if changes:
        name = name and f"{name} " + " ".join(f"{key}={value}" for key, value in changes.items())
    return LocalTarget(_validated(values), name=name)


def _validated(given: Mapping[str, Any]) -> TargetModel:
    try:
        return TargetModel.model_validate(dict(given))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(key) for key in first["loc"]) or "settings"
        message = first["msg"][0].lower() + first["msg"][1:]
        raise InputError(
            f"{where} of a target: {message}; found {str(first['input'])!r:.60}"
        ) from error
