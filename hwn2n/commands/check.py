"""`hwn2n check`: is a network inside a budget? The gate for continuous integration."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hwn2n.budget.columns import COLUMNS, COUNTABLE, in_order
from hwn2n.budget.cost import Cost
from hwn2n.budget.load import load_budget
from hwn2n.budget.matrix import Budget
from hwn2n.budget.rows import OpenRow
from hwn2n.budget.verdict import Judgement, Verdict, judge, unjudged
from hwn2n.commands.profile import LEARNED
from hwn2n.commands.subject import Model, load_subject, shape_of, target_of
from hwn2n.errors import InputError, MeasurementError
from hwn2n.hardware.target import Target

FORMAT_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Check:
    """A network judged by a budget: one row for each limit, in the order of the file.

    Rows of severity "warn" are judged and shown, and have no say in the exit code.
    """

    model: str
    budget: str
    target: str
    input_shape: tuple[int, int, int]
    rows: tuple[Judgement, ...]
    machine: dict[str, Any]

    @property
    def exit_code(self) -> int:
        """0 inside; 1 a limit is violated; 3 a row could not be measured; 4 nobody can tell.

        A limit that is certainly violated decides, whatever else is unknown.
        """
        found = {row.verdict for row in self.rows if row.severity == "error"}
        order = ((Verdict.VIOLATED, 1), (Verdict.UNAVAILABLE, 3), (Verdict.INCONCLUSIVE, 4))
        return next((code for verdict, code in order if verdict in found), 0)

    @property
    def satisfied(self) -> bool:
        """Whether the network is inside the budget, as far as it was judged."""
        return self.exit_code == 0

    def to_json(self) -> dict[str, Any]:
        """JSON-able form."""
        return {
            "format": "hwn2n-check",
            "version": FORMAT_VERSION,
            "satisfied": self.satisfied,
            "exit_code": self.exit_code,
            **vars(self),
            "input_shape": list(self.input_shape),
            "rows": [row.to_json() for row in self.rows],
        }


def check(
    model: Model,
    *,
    budget: str | os.PathLike[str] | Mapping[str, Any] | Budget,
    teacher: Model | None = None,
    static_only: bool = False,
    target: Target | Mapping[str, Any] | str | None = None,
    input_shape: tuple[int, int, int] | None = None,
    arch: str | None = None,
    teacher_arch: str | None = None,
    unsafe_pickle: bool = False,
    threads: int | None = None,
) -> Check:
    """Judge `model` by `budget`, measured on `target` (by default what the budget names, or CPU).

    `model` and `teacher`: files as `network.files.load_teacher` reads them, or modules.
    `teacher` is what percentages are relative to, measured on the same target; its reading is
    taken as it is, without its interval. `static_only` judges the rows that can be counted and
    skips the others, so that the verdict is the same on every machine.

    Raises InputError for what cannot be used, for relative rows without a teacher, and where
    `static_only` leaves no row to judge; MeasurementError where the network cannot be counted or
    run. A row whose column cannot be had on this target is `Verdict.UNAVAILABLE` instead.
    """
    loaded = budget if isinstance(budget, Budget) else load_budget(_as_source(budget))
    judged = [row for row in loaded.rows if not static_only or set(row.columns) <= set(COUNTABLE)]
    if not any(row.severity == "error" for row in judged):
        raise InputError(
            f"{loaded.file or loaded.name}: the budget must have a row that "
            f"{'can be judged without measuring' if static_only else 'is no mere warning'}; "
            "found none"
        )
    relative = [row for row in judged if row.relative_columns]
    if relative and teacher is None:
        raise InputError(
            f"{relative[0].source} must have a teacher to be relative to: give --teacher FILE"
        )
    if target is None and not (static_only and isinstance(loaded.target, str)):
        target = loaded.target  # a named target decides nothing that can be counted
    chosen = target_of(target, threads=threads)
    subject = load_subject(model, arch=arch, input_shape=input_shape, unsafe_pickle=unsafe_pickle)
    shape = shape_of(subject, input_shape, loaded.input)
    needed = in_order(column for row in judged for column in row.columns)
    reasons = dict(chosen.available(needed))
    reasons |= {name: LEARNED for name in needed if COLUMNS[name].learned}
    cost = chosen.measure(subject.model, shape, [name for name in needed if name not in reasons])
    teacher_cost: Cost = {}
    if relative and teacher is not None:
        compared = load_subject(
            teacher, arch=teacher_arch, input_shape=input_shape, unsafe_pickle=unsafe_pickle
        )
        columns = in_order(column for row in relative for column in row.relative_columns)
        wanted = [name for name in columns if name not in reasons]
        teacher_shape = shape_of(compared, input_shape or shape)
        teacher_cost = chosen.measure(compared.model, teacher_shape, wanted)
    return Check(
        model=subject.source,
        budget=loaded.name,
        target=chosen.name,
        input_shape=shape,
        rows=tuple(_judged(loaded.rows, judged, cost, teacher_cost, reasons)),
        machine=chosen.fingerprint(),
    )


def _judged(
    rows: Sequence[OpenRow],
    judged: Sequence[OpenRow],
    cost: Cost,
    teacher: Cost,
    reasons: Mapping[str, str],
) -> list[Judgement]:
    found = []
    for row in rows:
        missing = next((name for name in row.columns if name in reasons), None)
        if row not in judged:
            found.append(unjudged(row, Verdict.SKIPPED, "not counted but measured or learned"))
        elif missing is not None:
            found.append(unjudged(row, Verdict.UNAVAILABLE, f"{missing}: {reasons[missing]}"))
        else:
            try:
                found.append(judge(row.resolve(teacher), cost))
            except MeasurementError as error:
                found.append(unjudged(row, Verdict.UNAVAILABLE, str(error)))
    return found


def _as_source(budget: str | os.PathLike[str] | Mapping[str, Any]) -> Any:
    return budget if isinstance(budget, str | Mapping) else Path(budget)
