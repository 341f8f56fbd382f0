"""`hwn2n inspect`: what could be changed of a network, before anything is spent on it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from hwn2n.atomic import write_atomic
from hwn2n.budget.cost import cost_to_json
from hwn2n.budget.load import load_budget
from hwn2n.budget.matrix import Budget
from hwn2n.commands.request import check_same_teacher, read_request
from hwn2n.commands.result import read_result
from hwn2n.commands.subject import load_subject, shape_of
from hwn2n.drawing import draw
from hwn2n.errors import InputError, MeasurementError
from hwn2n.hardware.counts import count as count_by_running
from hwn2n.network.architecture import Architecture
from hwn2n.network.capture import capture
from hwn2n.network.decision import Decision
from hwn2n.network.files import Teacher
from hwn2n.network.files.architectures import build_architecture, is_factory
from hwn2n.network.planner import Counts, Planner, count
from hwn2n.network.teachers import TEACHERS, build_teacher
from hwn2n.run.folder import RunFolder, read_json
from hwn2n.search.inspection import Reach, Row, Smallest, find_reach, find_rows, find_smallest
from hwn2n.search.projection import counted_cost, upper_rows
from hwn2n.search.reach import smallest_student
from hwn2n.search.settings import Settings, build_settings

FORMAT_VERSION = 1

_CLASSES = 10
"""Logits of a built-in architecture that is inspected by its name."""


@dataclass(frozen=True, kw_only=True)
class BudgetReach:
    """Whether the smallest student is inside what can be counted of a budget.

    `rows` describe it row by row (`Constraints.describe`), `skipped` are the ids of the rows that
    only measuring or training can judge.
    """

    name: str
    inside: bool
    smallest: Smallest
    rows: list[dict[str, Any]]
    skipped: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """What the policies could do with a network, and what a run did.

    `counts` are those of the whole network, for one image; `note` says if its FLOPs are not all
    known. `reach` and `smallest` have the keys `params` and `flops`. `decision` and `student` are
    those of a run.
    """

    model: str
    input_shape: tuple[int, int, int]
    recipe: str
    granularity: str
    counts: Counts
    note: str | None
    rows: tuple[Row, ...]
    reach: dict[str, Reach]
    smallest: dict[str, Smallest]
    budget: BudgetReach | None
    decision: Decision | None
    architecture: Architecture = field(repr=False)
    student: Architecture | None = field(repr=False)

    @property
    def exit_code(self) -> int:
        """1 where a budget was given and not even the smallest student is inside."""
        return 0 if self.budget is None or self.budget.inside else 1

    def svg(self) -> str:
        """The network as a picture; with what was removed and shrunk, where there is a student."""
        return draw(self.architecture, self.rows, self.decision, self.student, self.model)

    def save_svg(self, path: str | os.PathLike[str]) -> None:
        """Write the picture, whole or not at all. Raises InputError if it cannot."""
        text = self.svg()
        try:
            write_atomic(Path(path), lambda temporary: temporary.write_text(text, "utf-8"))
        except OSError as error:
            raise InputError(
                f"{os.fspath(path)}: must be writable, but: {error.strerror}"
            ) from error

    def to_json(self) -> dict[str, Any]:
        """JSON-able form."""
        return {
            "format": "hwn2n-inspection",
            "version": FORMAT_VERSION,
            "model": self.model,
            "input_shape": list(self.input_shape),
            "recipe": self.recipe,
            "granularity": self.granularity,
            "counts": vars(self.counts),
            "note": self.note,
            "reach": {name: vars(reach) for name, reach in self.reach.items()},
            "smallest": {name: _smallest_json(found) for name, found in self.smallest.items()},
            "budget": None if self.budget is None else _budget_json(self.budget),
            "rows": [vars(row) for row in self.rows],
            "decision": None if self.decision is None else self.decision.to_json(),
        }


def inspect(
    model: str | os.PathLike[str] | nn.Module | Teacher,
    *,
    budget: str | os.PathLike[str] | Mapping[str, Any] | Budget | None = None,
    recipe: str | Settings = "fast",
    granularity: str | None = None,
    teacher: str | os.PathLike[str] | nn.Module | Teacher | None = None,
    arch: str | None = None,
    input_shape: tuple[int, int, int] | None = None,
    unsafe_pickle: bool = False,
) -> Inspection:
    """Inspect `model` without training or measuring anything.

    `model`: a file as `network.files.load_teacher` reads it, a module, the name of a built-in
    architecture or `module:factory`, which are built with random weights, or the folder of a
    complete run: then its teacher is inspected, with what the run decided. `teacher` gives that
    one where it is not where the run found it. `recipe` and `granularity` are those of a search
    (a run's own by default): they decide what can be reached.

    Raises InputError for what cannot be used.
    """
    folder = _run_folder(model)
    if folder is None:
        if teacher is not None:
            raise InputError("a teacher can be given with the folder of a run only")
        overrides = {} if granularity is None else {"granularity": granularity}
        settings = build_settings(recipe, overrides)
        subject = _subject(model, arch, input_shape, unsafe_pickle)
        decision = None
    else:
        request, _, weights = read_request(folder)
        settings = request.settings
        if granularity is not None:
            settings = build_settings(settings, {"granularity": granularity})
        if teacher is None:
            subject = request.load_teacher()
        else:
            wanted = input_shape or request.input_shape
            subject = _subject(teacher, arch or request.arch, wanted, unsafe_pickle)
        check_same_teacher(subject, weights, folder)
        decision = _decision(folder)
        input_shape = input_shape or _students_shape(folder)
    shape = shape_of(subject, input_shape)
    captured = capture(subject.model, shape, subject.program)
    planner = Planner(captured.architecture)
    rows = find_rows(planner, settings)
    counts, note = _counts(subject.model, planner)
    return Inspection(
        model=subject.source if folder is None else f"{folder.path} ({subject.source})",
        input_shape=shape,
        recipe=settings.recipe,
        granularity=settings.granularity,
        counts=counts,
        note=note,
        rows=rows,
        reach=find_reach(planner, rows),
        smallest={name: find_smallest(planner, settings, name) for name in ("params", "flops")},
        budget=None if budget is None else _budget_reach(planner, settings, budget),
        decision=decision,
        architecture=captured.architecture,
        student=None if decision is None else planner.plan(decision),
    )


def _run_folder(model: object) -> RunFolder | None:
    if isinstance(model, nn.Module | Teacher) or not Path(str(model)).is_dir():
        return None
    return RunFolder.open(Path(str(model)))


def _subject(
    model: str | os.PathLike[str] | nn.Module | Teacher,
    arch: str | None,
    input_shape: tuple[int, int, int] | None,
    unsafe_pickle: bool,
) -> Teacher:
    """The network of a file or object; of an architecture's name, with random weights."""
    named = isinstance(model, str) and (model in TEACHERS or is_factory(model))
    if named and arch is None and not Path(str(model)).exists():
        return _untrained(str(model), input_shape)
    return load_subject(model, arch=arch, input_shape=input_shape, unsafe_pickle=unsafe_pickle)


def _untrained(arch: str, input_shape: tuple[int, int, int] | None) -> Teacher:
    """An architecture with random weights, which matter to nobody here."""
    if input_shape is None:
        raise InputError(f"{arch}: an architecture must come with the images' --input-shape C,H,W")
    # the caller's random numbers are the caller's
    with torch.random.fork_rng(devices=[]):
        if is_factory(arch):
            model, _ = build_architecture(arch, arch_kwargs={}, weights={}, input_shape=input_shape)
        else:
            channels, height, width = input_shape
            if height != width:
                raise InputError(f"{arch} must be given square images, but they are {input_shape}")
            model = build_teacher(arch, channels, _CLASSES, height, seed=0)
    return Teacher(model=model.eval(), input_shape=input_shape, source=arch)


def _decision(folder: RunFolder) -> Decision:
    if not folder.result.exists():
        raise InputError(
            f"{folder.path}: the run must be complete to show its student; go on with: "
            f"hwn2n compress --resume {folder.path}"
        )
    try:
        return Decision.from_json(read_result(folder).student["decision"])
    except KeyError as error:
        raise InputError(f"{folder.result}: has no decision of the student") from error


def _students_shape(folder: RunFolder) -> tuple[int, int, int] | None:
    """The images' shape, which a teacher's file need not say."""
    path = folder.architecture
    return Architecture.from_json(read_json(path), source=str(path)).input_shape


def _counts(model: nn.Module, planner: Planner) -> tuple[Counts, str | None]:
    """The planner's counts, with the FLOPs that only running tells, or why they are not known."""
    planned = count(planner.teacher)
    try:
        found = count_by_running(model, torch.zeros(1, *planner.teacher.input_shape))
    except MeasurementError as error:
        return planned, f"FLOPs are those of the operators with a rule: {error}"
    if found.flops == planned.flops:
        return planned, None
    return (
        replace(planned, flops=found.flops),
        f"of {found.flops:,} FLOPs, {found.flops - planned.flops:,} are of operators that have no "
        "count of their own; shares are of the others",
    )


def _budget_reach(
    planner: Planner,
    settings: Settings,
    budget: str | os.PathLike[str] | Mapping[str, Any] | Budget,
) -> BudgetReach:
    if isinstance(budget, Budget):
        loaded = budget
    else:
        loaded = load_budget(budget if isinstance(budget, str | Mapping) else Path(budget))
    cost = counted_cost(planner.teacher)
    # a lower limit says nothing about the smallest student
    judged = [row for row in loaded.rows if set(row.columns) <= cost.keys() and not row.lower]
    skipped = tuple(row.id for row in loaded.rows if row not in judged)
    constraints = upper_rows(replace(loaded, rows=tuple(judged)).resolve(cost))
    decision, least = smallest_student(planner, settings, constraints)
    return BudgetReach(
        name=loaded.name,
        inside=constraints.satisfied(least),
        smallest=Smallest(decision=decision, cost=least),
        rows=constraints.describe(least),
        skipped=skipped,
    )


def _smallest_json(found: Smallest) -> dict[str, Any]:
    return {"cost": cost_to_json(found.cost), "decision": found.decision.to_json()}


def _budget_json(reach: BudgetReach) -> dict[str, Any]:
    return {
        "name": reach.name,
        "inside": reach.inside,
        "smallest": _smallest_json(reach.smallest),
        "rows": reach.rows,
        "skipped": list(reach.skipped),
    }
