"""All that can be said of a budget or target file without a network: `hwn2n budget validate`."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hwn2n.budget.consistency import budget_contradictions, contradiction_error
from hwn2n.budget.load import budget_of
from hwn2n.budget.matrix import Budget
from hwn2n.budget.problems import shown
from hwn2n.budget.strict_yaml import Document, load_yaml
from hwn2n.budget.target_file import find_target_file, is_device, known_targets, target_of
from hwn2n.budget.target_schema import TargetFileModel, TargetModel, settings_of

_TARGET_ONLY = frozenset(TargetFileModel.model_fields) - {
    *("apiVersion", "name", "description"),  # a budget has them too
}
_BUDGET_ONLY = ("constraints", "columns", "A", "b", "target", "input")


@dataclass(frozen=True, kw_only=True)
class FoundTarget:
    """The target of a budget: its name ("inline" for one without), its file and its settings."""

    name: str
    path: Path | None = None
    settings: dict[str, Any]


def validated(document: Document, folder: Path | None = None) -> Budget | TargetFileModel:
    """The budget or the target in `document`, with nothing in it that cannot be right.

    `folder` is that of the file, where the target of a budget is looked for. Raises InputError
    with `file:line` where the file is not valid, where a budget names a target that there is not
    or whose batch is another than that of its `input`, and where no cost at all is inside its
    rows.
    """
    if is_target(document):
        return target_of(document)
    budget = budget_of(document)
    check_batch(budget, find_target(budget, document, folder), document)
    if rows := budget_contradictions(budget):
        raise contradiction_error(rows)
    return budget


def validated_file(path: str | Path) -> Budget | TargetFileModel:
    """The same of the file at `path`; a target file must also have the name of its target."""
    document = load_yaml(path)
    found = validated(document, Path(path).parent)
    if isinstance(found, TargetFileModel):
        check_file_name(found, Path(path), document)
    return found


def is_target(document: Document) -> bool:
    """Whether `document` is to be read as a target. Raises InputError for another `kind`."""
    data = document.data
    if not isinstance(data, dict):
        return False
    if "kind" in data:
        if data["kind"] != "target":
            raise document.error(
                ("kind",),
                f"kind must be target, or be left out of a budget; found {shown(data['kind'])}",
            )
        return True
    # Without it, only what the other keys are about tells which complaint will help.
    return bool(_TARGET_ONLY & set(data)) and not any(key in data for key in _BUDGET_ONLY)


def find_target(budget: Budget, document: Document, folder: Path | None) -> FoundTarget | None:
    """What `target` of the budget stands for; None where it has none.

    Raises InputError for a name that is not that of a device and has no valid target file.
    """
    name = budget.target
    if name is None:
        return None
    if isinstance(name, dict):
        return FoundTarget(name="inline", settings=name)
    if is_device(name):
        return FoundTarget(name=name, settings=settings_of(TargetModel(device=name)))
    path = find_target_file(name, folder)
    if path is None:
        near = difflib.get_close_matches(name, known_targets(folder), n=1)
        raise document.error(
            ("target",),
            "a target must be cpu, cuda, cuda:N, the name of a file in profiles/ or a path to one; "
            f"found {shown(name)}" + (f"; did you mean {near[0]!r}?" if near else ""),
        )
    file = load_yaml(path)
    model = target_of(file)
    check_file_name(model, path, file)
    return FoundTarget(name=name, path=path, settings=settings_of(model))


def check_file_name(model: TargetFileModel, path: Path, document: Document) -> None:
    """Raise InputError unless the target has the name of its file, by which it is found."""
    if model.name != path.stem:
        raise document.error(
            ("name",),
            f"a target must have the name of its file, {shown(path.stem)}; found {model.name!r}",
        )


def check_batch(budget: Budget, target: FoundTarget | None, document: Document) -> None:
    """Raise InputError where the input has another batch than the target says it has."""
    batch = None if target is None else target.settings["batch"]
    if budget.input is not None and batch is not None and budget.input[0] != batch:
        raise document.error(
            ("input",),
            f"the batch of the input must be that of the target, {batch}; found {budget.input[0]}",
        )
