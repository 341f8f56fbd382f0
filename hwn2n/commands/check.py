"""`hwn2n check`: is a network inside a budget? The gate for continuous integration."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hwn2n.budget.columns import COUNTABLE, in_order
from hwn2n.budget.judgement import Judgement, Verdict
from hwn2n.budget.matrix import Budget
from hwn2n.budget.rows import OpenRow
from hwn2n.budget.verdict import judge_open, read_in_turns, unjudged
from hwn2n.commands.readings import Reader, Readings
from hwn2n.commands.subject import (
    Model,
    as_budget,
    check_data_root,
    confidences,
    load_subject,
    shape_of,
    target_of,
)
from hwn2n.errors import InputError, MeasurementError
from hwn2n.gate.comparison import change_of, increase_rows, read_increase
from hwn2n.gate.outcome import Check
from hwn2n.gate.saved_profile import SavedProfile, is_profile, load_profile
from hwn2n.hardware.measurement import MeasurementProtocol
from hwn2n.hardware.target import Target
from hwn2n.network.files import Teacher

if TYPE_CHECKING:
    from hwn2n.distil.datasets import Data

__all__ = ["Check", "check"]


def check(
    model: Model,
    *,
    budget: str | os.PathLike[str] | Mapping[str, Any] | Budget,
    teacher: Model | None = None,
    static_only: bool = False,
    baseline: str | os.PathLike[str] | None = None,
    max_increase: str | None = None,
    profile: str | os.PathLike[str] | None = None,
    data: str | Data | None = None,
    data_root: str | os.PathLike[str] | None = None,
    target: Target | Mapping[str, Any] | str | None = None,
    input_shape: tuple[int, int, int] | None = None,
    arch: str | None = None,
    teacher_arch: str | None = None,
    unsafe_pickle: bool = False,
    threads: int | None = None,
) -> Check:
    """Judge `model` by `budget`, measured on `target` (by default what the budget names, or CPU).

    `model` and `teacher`: files as `network.files.load_teacher` reads them, or modules; `teacher`
    may be a saved profile too (.json). It is what percentages are relative to, and where its
    value is measured, a verdict holds for its whole interval. `static_only` judges the rows that
    can be counted and skips the others, so that the verdict is the same on every machine.

    `baseline` is a saved profile that changes are shown against; with `max_increase` ("5%"), a
    column of the budget that got worse by more violates a row of its own. `profile` is a saved
    profile of this very network on this target, from which measured columns are taken. `data`
    (see `distil.datasets.load_data`) gives the validation images that accuracies are of, and that
    networks run on when they are measured, instead of noise.

    Raises InputError for what cannot be used, for relative rows without a teacher, and where
    `static_only` leaves no row to judge; MeasurementError where the network cannot be counted or
    run. A row whose column cannot be had is `Verdict.UNAVAILABLE` instead.
    """
    started = time.perf_counter()
    loaded = as_budget(budget)
    judged = _rows_to_judge(loaded, static_only)
    before = None if baseline is None else load_profile(baseline)
    increases = _increases(judged, max_increase, before, loaded.file or loaded.name)
    relative = [row for row in judged if row.relative_columns]
    if teacher is None:
        _require_no_teacher(relative)
        if teacher_arch is not None:
            raise InputError("--teacher-arch is for --teacher, which is missing")
    check_data_root(data, data_root)
    if profile is not None and static_only:
        raise InputError("--profile must not be given with --static-only, which measures nothing")
    saved = None if profile is None else load_profile(profile)
    chosen = target_of(target, threads=threads, budget=loaded)
    subject = load_subject(model, arch=arch, input_shape=input_shape, unsafe_pickle=unsafe_pickle)
    compared: Teacher | SavedProfile | None = None
    if relative and isinstance(teacher, str | os.PathLike) and is_profile(teacher):
        compared = load_profile(teacher)
    elif relative and teacher is not None:
        compared = load_subject(
            teacher, arch=teacher_arch, input_shape=input_shape, unsafe_pickle=unsafe_pickle
        )
    elif isinstance(teacher, str | os.PathLike) and not Path(teacher).is_file():
        # No row needs it now, but the next limit of the budget may.
        raise InputError(f"{os.fspath(teacher)}: the teacher must be a file that exists")
    shape = shape_of(subject, input_shape, loaded)
    labelled = None
    if data is not None and not static_only:
        from hwn2n.commands.labelled import load_labelled  # torchvision takes its time

        taught = (compared, subject) if isinstance(compared, Teacher) else (subject,)
        labelled = load_labelled(data, data_root, shape, taught)
    columns = in_order(column for row in judged for column in row.columns)
    reader = Reader(
        target=chosen,
        shape=shape,
        protocol=MeasurementProtocol(effort="full", confidence=confidences(judged)),
        saved=saved,
        labelled=labelled,
    )
    found = reader.of_model(subject, columns)
    needed = in_order(column for row in relative for column in row.relative_columns)
    if compared is None:
        alone = dict.fromkeys(needed, "no teacher was given: --teacher FILE")
        reference = Readings(cost={}, reasons=alone, machine=found.machine)
    else:
        had = [name for name in needed if name not in found.reasons]
        if isinstance(compared, Teacher):
            found, reference = reader.in_turns(subject, compared, found, had)
        else:
            reference = reader.of_profile(compared, found, had)
    earlier = None if before is None else reader.of_profile(before, found, columns)
    rows = [
        _judged(row, found, reference, earlier)
        if row in judged
        else unjudged(row, Verdict.SKIPPED, "not counted but measured or learned")
        for row in loaded.rows
    ]
    if earlier is not None:
        worse = [_judged(row, found, earlier, earlier) for row in increases]
        rows += [replace(row, kind="increase") for row in worse]
    return Check(
        model=subject.source,
        budget=loaded.name,
        budget_file=loaded.file if loaded.file and Path(loaded.file).is_file() else None,
        target=chosen.name,
        input_shape=shape,
        static_only=static_only,
        rows=tuple(rows),
        machine=dict(found.machine),
        baseline=None if before is None else before.path,
        profile=None if saved is None else saved.path,
        inputs=found.inputs,
        notes=(*found.notes, *reference.notes),
        seconds=time.perf_counter() - started,
    )


def _rows_to_judge(budget: Budget, static_only: bool) -> list[OpenRow]:
    judged = [row for row in budget.rows if not static_only or set(row.columns) <= set(COUNTABLE)]
    if not any(row.severity == "error" for row in judged):
        strict = any(row.severity == "error" for row in budget.rows)
        raise InputError(
            f"{budget.file or budget.name}: the budget must have a row that "
            f"{'can be judged without measuring' if strict else 'is no mere warning'}; "
            "found none"
        )
    return judged


def _increases(
    rows: Sequence[OpenRow], most: str | None, before: SavedProfile | None, file: str
) -> list[OpenRow]:
    if most is None:
        return []
    if before is None:
        raise InputError("--max-increase must have something to compare with: --baseline FILE")
    return increase_rows(rows, read_increase(most), file)


def _require_no_teacher(relative: Sequence[OpenRow]) -> None:
    """A warning alone may be relative to nobody: it must not stop anybody."""
    if strict := [row for row in relative if row.severity == "error"]:
        raise InputError(
            f"{strict[0].source} must have a teacher to be relative to: give --teacher FILE"
        )


def _judged(
    row: OpenRow, found: Readings, reference: Readings, earlier: Readings | None
) -> Judgement:
    """The verdict on `row`, relative to `reference`, and its change against `earlier`."""
    for readings, columns, whose in (
        (found, row.columns, ""),
        (reference, row.relative_columns, " to compare with"),
    ):
        for name in columns:
            if name in readings.reasons:
                reason = f"{name}{whose}: {readings.reasons[name]}"
                return unjudged(row, Verdict.UNAVAILABLE, reason)
    try:
        judgement = judge_open(
            row, *read_in_turns(row, found.cost, reference.cost, reference.shares)
        )
        resolved = row.resolve(reference.cost)
    except MeasurementError as error:
        return unjudged(row, Verdict.UNAVAILABLE, str(error))
    if earlier is None:
        return judgement
    change = change_of(resolved, found.cost, earlier.cost, earlier.reasons)
    return replace(judgement, change=change)
