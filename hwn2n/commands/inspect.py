"""`hwn2n inspect`: what could be changed of a network, before anything is spent on it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from hwn2n.atomic import write_atomic, writing
from hwn2n.budget.load import load_budget
from hwn2n.budget.matrix import Budget
from hwn2n.commands.request import check_same_teacher, read_request
from hwn2n.commands.result import read_result
from hwn2n.commands.run_or_model import run_of, subject_of
from hwn2n.commands.subject import shape_of, target_of
from hwn2n.drawing import draw
from hwn2n.errors import InputError, MeasurementError
from hwn2n.hardware.counts import count as count_by_running
from hwn2n.network.architecture import Architecture
from hwn2n.network.capture import capture
from hwn2n.network.counts import Counts, count
from hwn2n.network.decision import Decision
from hwn2n.network.files import Teacher
from hwn2n.network.planner import Planner
from hwn2n.run.folder import IN_MEMORY, RunFolder, read_json
from hwn2n.search.budget_reach import BudgetReach, budget_reach
from hwn2n.search.inspection import Reach, Row, Smallest, find_reach, find_rows, find_smallest
from hwn2n.search.recipes import build_settings
from hwn2n.search.settings import Settings

FORMAT_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """What the policies could do with a network, and what a run did.

    `counts` are those of the whole network, for one image; `note` says if they are not all
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
        with writing(path):
            write_atomic(Path(path), lambda temporary: temporary.write_text(text, "utf-8"))

    def to_json(self) -> dict[str, Any]:
        """JSON-able form.

        `rows` have the fields of `search.inspection.Row`, `reach` those of `Reach` for `params` and
        `flops`; `smallest` has, for the same two, `cost` (column to value) and `decision` (what is
        removed, and the widths and kernels of what is left). `budget` is null, or `name`,
        `inside`, `smallest`, `rows` and `skipped`; `decision` null, or that of the run. A field is
        added without a new version; one that goes or means something else makes one.
        """
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
            "smallest": {name: found.to_json() for name, found in self.smallest.items()},
            "budget": None if self.budget is None else self.budget.to_json(),
            "rows": [vars(row) for row in self.rows],
            "decision": None if self.decision is None else self.decision.to_json(),
        }


def inspect(
    model: str | os.PathLike[str] | nn.Module | Teacher,
    *,
    budget: str | os.PathLike[str] | Mapping[str, Any] | Budget | None = None,
    recipe: str | Settings | None = None,
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
    one where it is not where the run found it. `recipe` (by default "fast"; a run has its own) and
    `granularity` are those of a search: they decide what can be reached. `budget` is asked whether
    the smallest student is inside what can be counted of it.

    Raises InputError for what cannot be used.
    """
    folder = run_of(model)
    asked = None if budget is None else _loaded(budget)
    if folder is None:
        if teacher is not None:
            raise InputError("a teacher can be given with the folder of a run only")
        overrides = {} if granularity is None else {"granularity": granularity}
        preferences = {} if asked is None else target_of(None, budget=asked).preferences
        settings = build_settings(recipe or "fast", {**preferences, **overrides})
        subject = subject_of(model, arch, input_shape, unsafe_pickle)
        decision = None
    else:
        if recipe is not None:
            raise InputError(f"{folder.path}: a run has its own recipe; leave --recipe out")
        if arch is not None and teacher is None:
            raise InputError(f"{folder.path}: a run knows its teacher; leave --arch out")
        request, _, weights = read_request(folder)
        decision, own = _decision(folder), _students_shape(folder)
        if input_shape is not None and tuple(input_shape) != own:
            raise InputError(
                f"{folder.path}: the input shape must be that of the run, {own}, "
                f"but is {tuple(input_shape)}"
            )
        settings = request.settings
        if granularity is not None:
            settings = build_settings(settings, {"granularity": granularity})
        if teacher is None and request.teacher == IN_MEMORY:
            raise InputError(
                f"{folder.path}: the run's teacher was given as an object: give it again, or its "
                "file as --teacher"
            )
        if teacher is None:
            try:
                subject = request.load_teacher()
            except InputError as error:
                raise InputError(f"{error}; give the run's teacher as --teacher FILE") from error
        else:
            wanted = input_shape or request.input_shape
            subject = subject_of(teacher, arch or request.arch, wanted, unsafe_pickle)
        check_same_teacher(subject, weights, folder)
        input_shape = own
    shape = shape_of(subject, input_shape)
    captured = capture(subject.model, shape, subject.program)
    planner = Planner(captured.architecture)
    rows = find_rows(planner, settings)
    counts, note = _counts(subject.model, planner)
    notes = [text for text in (captured.said_unused, note) if text]
    return Inspection(
        model=subject.source if folder is None else f"{folder.path} ({subject.source})",
        input_shape=shape,
        recipe=settings.recipe,
        granularity=settings.granularity,
        counts=counts,
        note="; ".join(notes) or None,
        rows=rows,
        reach=find_reach(planner, rows),
        smallest={name: find_smallest(planner, settings, name) for name in ("params", "flops")},
        budget=None if asked is None else budget_reach(planner, settings, asked),
        decision=decision,
        architecture=captured.architecture,
        student=None if decision is None else planner.plan(decision),
    )


def _decision(folder: RunFolder) -> Decision:
    if not folder.result.exists():
        raise InputError(
            f"{folder.path}: the run must be complete to show its student; go on with: "
            f"{folder.resume_command}"
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


def _loaded(budget: str | os.PathLike[str] | Mapping[str, Any] | Budget) -> Budget:
    if isinstance(budget, Budget):
        return budget
    return load_budget(budget if isinstance(budget, str | Mapping) else Path(budget))
