"""`hwn2n budget`: check, explain and publish the schema of budget and target files.

Imports no torch, so that a hook can look at a file before each commit.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hwn2n.budget.columns import COLUMNS, Known, in_order
from hwn2n.budget.consistency import budget_contradictions, contradiction_error
from hwn2n.budget.cost import Cost, Reading, cost_from_json
from hwn2n.budget.json_schema import budget_schema, target_schema
from hwn2n.budget.load import budget_of
from hwn2n.budget.matrix import Budget
from hwn2n.budget.problems import shown
from hwn2n.budget.rows import OpenRow
from hwn2n.budget.strict_yaml import load_yaml
from hwn2n.budget.target_schema import TargetFileModel
from hwn2n.budget.validate import (
    FoundTarget,
    check_batch,
    find_target,
    is_target,
    validated_file,
)
from hwn2n.errors import InputError, MeasurementError, one_line
from hwn2n.gate.saved_profile import require_version

FORMAT_VERSION = 1

Source = str | os.PathLike[str]


def validate(path: Source) -> Budget | TargetFileModel:
    """The budget or the target in the file at `path`, with nothing in it that cannot be right.

    Raises InputError with `file:line`; see `budget.validate`.
    """
    return validated_file(Path(path))


def schema(*, target: bool = False) -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of budget files, or of target files."""
    return target_schema() if target else budget_schema()


@dataclass(frozen=True, kw_only=True)
class ExplainedRow:
    """One row of A x <= b. A lower limit is negated, as in the matrix; `sense` tells.

    `coefficients` and `limit` are numbers in SI units, None where they need a teacher's value that
    is not known; `coefficient_texts` and `limit_text` say the same for people. `unit` is that of
    `limit`, "" for a plain number. `known` says how the least certain of its columns comes about.
    """

    id: str
    written: str
    line: int | None
    sense: str
    coefficients: dict[str, float | None]
    coefficient_texts: dict[str, str]
    limit: float | None
    limit_text: str
    unit: str
    tolerance: float
    confidence: float
    severity: str
    known: Known


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """A budget in numbers: what it bounds, how, and what is wrong with it.

    `settings` are those of the target, None where it is not found; `target_file` is where a named
    one was found. `missing` lists the columns whose value for the teacher the budget needs and
    nobody gave. `problems` are the complaints of `validate` about target and rows, which do not
    keep a budget from being explained.
    """

    file: str
    budget: str
    description: str | None
    input: tuple[int, int, int, int] | None
    target: str | None
    target_file: str | None
    settings: dict[str, Any] | None
    teacher: str | None
    missing: tuple[str, ...]
    columns: tuple[str, ...]
    rows: tuple[ExplainedRow, ...]
    problems: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """JSON-able form, with A and b as matrix and vector in the order of `columns`."""
        return {
            "format": "hwn2n-budget",
            "version": FORMAT_VERSION,
            **vars(self),
            "columns": [
                {"name": n, "unit": COLUMNS[n].unit, "known": COLUMNS[n].known}
                for n in self.columns
            ],
            "A": [[row.coefficients.get(n, 0.0) for n in self.columns] for row in self.rows],
            "b": [row.limit for row in self.rows],
            "rows": [vars(row) for row in self.rows],
        }


def explain(path: Source, *, teacher_cost: Source | None = None) -> Explanation:
    """What the budget at `path` means, with numbers for percentages where they can be had.

    `teacher_cost` is a profile that `hwn2n profile -o` wrote; what it does not hold, such as the
    accuracy, stays relative. Raises InputError where one of the files is not what it should be.
    """
    document = load_yaml(Path(path))
    if is_target(document):
        raise InputError(f"{document.where()}: a budget must be given; found a target")
    budget = budget_of(document)
    teacher = {} if teacher_cost is None else read_cost(teacher_cost)
    target: FoundTarget | None = None
    problems = []
    try:
        target = find_target(budget, document, Path(path).parent)
        check_batch(budget, target, document)
    except InputError as error:
        problems.append(str(error))
    if rows := budget_contradictions(budget, teacher):
        problems.append(str(contradiction_error(rows)))
    return Explanation(
        file=document.name,
        budget=budget.name,
        description=budget.description,
        input=budget.input,
        target=budget.target if isinstance(budget.target, str | None) else "inline",
        target_file=None if target is None or target.path is None else str(target.path),
        settings=None if target is None else target.settings,
        teacher=None if teacher_cost is None else os.fspath(teacher_cost),
        missing=tuple(name for name in budget.relative_columns if name not in teacher),
        columns=in_order(column for row in budget.rows for column in row.columns),
        rows=tuple(_explained(row, teacher) for row in budget.rows),
        problems=tuple(problems),
    )


def _explained(row: OpenRow, teacher: Cost) -> ExplainedRow:
    factors, limit = _numbers(row, teacher)
    texts = {}
    for column, coef, scale in row.terms:
        number = factors[column]
        signed = -coef if row.lower else coef
        texts[column] = f"{signed:g}/({scale})" if number is None else f"{number:.6g}"
    [first, *others] = factors
    least: tuple[Known, ...] = ("learned", "measured", "counted")
    return ExplainedRow(
        id=row.id,
        written=row.written,
        line=row.line,
        sense="min" if row.lower else "max",
        coefficients=factors,
        coefficient_texts=texts,
        limit=limit,
        limit_text=f"{limit:.10g}" if limit is not None else _relative(row),
        unit=COLUMNS[first].unit if not others and factors[first] in (1.0, -1.0) else "",
        tolerance=row.tolerance,
        confidence=row.confidence,
        severity=row.severity,
        known=min((COLUMNS[column].known for column in row.columns), key=least.index),
    )


def _numbers(row: OpenRow, teacher: Cost) -> tuple[dict[str, float | None], float | None]:
    """The coefficients and the limit of a row of A x <= b, None where they need the teacher."""
    with suppress(MeasurementError):
        resolved = row.resolve(teacher)
        return {**resolved.coefficients}, resolved.upper
    sign = -1.0 if row.lower else 1.0
    factors: dict[str, float | None] = {}
    for column, coef, scale in row.terms:
        relative = scale is not None and scale.needs_teacher
        divisor = 1.0 if scale is None else scale.value
        factors[column] = None if relative else sign * coef / divisor
    return factors, None if row.limit.needs_teacher else sign * row.limit.value


def _relative(row: OpenRow) -> str:
    """A limit that waits for the teacher, with its sign in A x <= b."""
    return f"-({row.limit})" if row.lower else str(row.limit)


def read_cost(path: Source) -> dict[str, Reading]:
    """The cost in a profile of `hwn2n profile -o`, or in the teacher.json of a run.

    Raises InputError where the file holds neither.
    """
    name = os.fspath(path)
    must = f"{name}: a teacher's cost must be JSON as hwn2n profile -o writes it"
    try:
        data = json.loads(Path(path).read_bytes())
    except OSError as error:
        raise InputError(f"{must}; it cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{must}; found: {one_line(error)}") from error
    if isinstance(data, dict) and "format" in data:
        if data["format"] != "hwn2n-profile" or "cost" not in data:
            raise InputError(f"{must}; found format {shown(data['format'])}")
        require_version(data, name)
        data = data["cost"]
    try:
        return cost_from_json(data)
    except InputError as error:
        raise InputError(f"{must}; {error}") from error
