"""From a target file to its settings, and from a target's name to its file. Imports no torch."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError

from hwn2n.budget.columns import column_named
from hwn2n.budget.cost import Reading
from hwn2n.budget.problems import shown, translated
from hwn2n.budget.strict_yaml import Document, KeyPath, load_yaml
from hwn2n.budget.target_schema import (
    DEVICE_PATTERN,
    NAME_PATTERN,
    MeasuredModel,
    TargetFileModel,
    TargetModel,
)
from hwn2n.errors import InputError, MeasurementError

PACKAGE = Path(__file__).parent.parent
"""The folder of the package `hwn2n`."""

SUFFIXES = (".yaml", ".yml")

SETTINGS = tuple(TargetModel.model_fields)
"""The keys that a target file shares with an inline target."""

_NEEDS_CUDA = ("cuda-graph", "tensorrt")


def load_target_file(path: str | Path) -> TargetFileModel:
    """The target in the YAML file at `path`. Raises InputError with `file:line` for any other."""
    return target_of(load_yaml(path))


def target_of(document: Document) -> TargetFileModel:
    """Validate `document`, its measured figures included. Raises InputError with `file:line`."""
    if not isinstance(document.data, dict):
        raise document.error((), f"a target must be a mapping; found {shown(document.data)}")
    try:
        model = TargetFileModel.model_validate(document.data)
    except ValidationError as error:
        raise translated(error, document, TargetFileModel) from error
    check_settings(model, document, ())
    for index, measured in enumerate(model.measured):
        _check_measured(measured, document, ("measured", index))
    return model


def target_settings(model: TargetFileModel) -> TargetModel:
    """The settings of a target file, as an inline target would have them."""
    return TargetModel(**{name: getattr(model, name) for name in SETTINGS})


def check_settings(model: TargetModel, document: Document, path: KeyPath) -> None:
    """Raise InputError where settings at `path` of `document` contradict each other."""
    if model.runtime in _NEEDS_CUDA and model.device == "cpu":
        raise document.error(
            (*path, "runtime"),
            f"runtime {model.runtime} must have device cuda or cuda:N; found cpu",
        )
    if model.power.rail is not None and model.power.source not in ("auto", "ina", "rapl"):
        raise document.error(
            (*path, "power", "rail"),
            f"only the sources ina and rapl have rails; found source {model.power.source}",
        )


def _check_measured(measured: MeasuredModel, document: Document, path: KeyPath) -> None:
    for name, reading in measured.cost.items():
        here: KeyPath = (*path, "cost", name)
        try:
            column_named(name)
            Reading(reading.value, how=reading.how, low=reading.low, high=reading.high)
        except (InputError, MeasurementError) as error:
            raise document.error(here, str(error)) from error


def is_device(name: str) -> bool:
    """Whether `name` is that of a device (cpu, cuda, cuda:N) rather than of a target file."""
    return re.fullmatch(DEVICE_PATTERN, name) is not None


def find_target_file(name: str, beside: str | Path | None = None) -> Path | None:
    """The file of the target called `name`; None where there is none.

    `beside` is the budget that names it, or the folder of that budget. A `name` with a slash or
    the ending of a YAML file is a path, relative to that folder or to the working directory. Any
    other is looked for as NAME.yaml in `profiles/` next to the folder and inside it, in the
    folder itself, in the working directory's `profiles/`, and among those that hwn2n ships.
    """
    folder = None if beside is None else Path(beside)
    if folder is not None and _is_file(folder):
        folder = folder.parent
    if "/" in name or name.endswith(SUFFIXES):
        paths = [Path(name)] if folder is None else [folder / name, Path(name)]
        return next((path for path in paths if _is_file(path)), None)
    if re.fullmatch(NAME_PATTERN, name) is None:
        return None
    return next((path for path in _candidates(name, folder) if _is_file(path)), None)


def known_targets(beside: str | Path | None = None) -> list[str]:
    """The names that `find_target_file` looks for in `profiles/`, for a hint at a misspelt one."""
    folder = None if beside is None else Path(beside)
    found = set()
    for place in _places(folder):
        with contextlib.suppress(OSError):
            found |= {path.stem for path in place.iterdir() if path.suffix in SUFFIXES}
    return sorted(found)


def _places(folder: Path | None) -> list[Path]:
    near = [] if folder is None else [_parent(folder) / "profiles", folder / "profiles"]
    return [*near, Path("profiles"), *shipped_folders("profiles")]


def _candidates(name: str, folder: Path | None) -> Iterator[Path]:
    files = [f"{name}{suffix}" for suffix in SUFFIXES]
    places = _places(folder)
    near = 0 if folder is None else 2
    yield from (place / file for place in places[:near] for file in files)
    if folder is not None:
        # A budget may bear the name of its target, as hwn2n's own do.
        own = (folder / file for file in files)
        yield from (path for path in own if _is_file(path) and _is_target(path))
    yield from (place / file for place in places[near:] for file in files)


def _parent(folder: Path) -> Path:
    """The folder around `folder`, written as shortly as can be: messages show it."""
    return folder / ".." if folder.name in ("", "..") else folder.parent


def shipped_folders(kind: str) -> tuple[Path, ...]:
    """Where the files of `kind`, "budgets" or "profiles", that come with hwn2n may lie.

    An installed package has them inside itself (see setup.py), a checkout beside the package.
    """
    checkout = PACKAGE.parent
    folders = [PACKAGE / "shipped" / kind]
    if _is_file(checkout / "pyproject.toml"):
        folders.append(checkout / kind)
    return tuple(folders)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that is too long for a file, or has a NUL in it
        return False


def _is_target(path: Path) -> bool:
    try:
        data = load_yaml(path).data
    except InputError:
        return False
    return isinstance(data, dict) and data.get("kind") == "target"
