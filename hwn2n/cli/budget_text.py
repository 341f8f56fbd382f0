"""What `hwn2n budget` prints."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hwn2n.budget.columns import COLUMNS
from hwn2n.budget.matrix import Budget

if TYPE_CHECKING:
    from hwn2n.budget.target_schema import TargetFileModel
    from hwn2n.commands.budget import ExplainedRow, Explanation

_KNOWN = {
    "counted": "before any training, exactly",
    "measured": "before any training, by measuring on the target",
    "learned": "only by training",
}


def valid_line(file: Path, found: Budget | TargetFileModel) -> str:
    """What a valid file holds, on one line."""
    if not isinstance(found, Budget):
        settings = settings_text(dict(found))
        figures = f", {_count(len(found.measured), 'figure')}" if found.measured else ""
        return f"{file}: ok, target {settings}{figures}"
    warnings = sum(row.severity == "warn" for row in found.rows)
    extra = f" ({warnings} only {'warn' if warnings > 1 else 'warns'})" if warnings else ""
    columns = [n for n in COLUMNS if n in {*found.columns, *found.warning_columns}]
    return f"{file}: ok, {_count(len(found.rows), 'constraint')}{extra} over {', '.join(columns)}"


def settings_text(settings: dict[str, Any]) -> str:
    """A target's device, runtime, precision and what else is set."""
    parts = [settings["device"], settings["runtime"], settings["precision"]]
    for key in ("batch", "threads", "power_mode"):
        if settings[key] is not None:
            parts.append(f"{key.replace('_', ' ')} {settings[key]}")
    return " ".join(str(part) for part in parts[:3]) + "".join(f", {part}" for part in parts[3:])


def explanation_lines(found: Explanation) -> Iterator[str]:
    """A budget in numbers, for people."""
    yield f"{found.file}: budget {found.budget}, {_count(len(found.rows), 'row')}"
    yield from _conditions(found)
    yield ""
    names = {name: f"x{index}" for index, name in enumerate(found.columns, start=1)}
    heading = ("x", "column", "unit", "known", "meaning")
    columns = [
        (names[n], n, COLUMNS[n].unit or "-", COLUMNS[n].known, COLUMNS[n].meaning)
        for n in found.columns
    ]
    yield from _aligned([heading, *columns])
    yield ""
    yield "A x <= b, in these units (a lower limit is a negated row):"
    matrix = [
        (row.id, *(row.coefficient_texts.get(n, "0") for n in found.columns), "<=", _limit(row))
        for row in found.rows
    ]
    yield from _aligned([("row", *names.values(), "", "b"), *matrix], right=len(names) + 1)
    yield ""
    rows = [
        ("row", "as written", "sense", "tolerance", "confidence", "severity", "line"),
        *(_row(row) for row in found.rows),
    ]
    yield from _aligned(rows)
    yield ""
    for known, how in _KNOWN.items():
        if columns_so := [n for n in found.columns if COLUMNS[n].known == known]:
            yield f"known {how}: {', '.join(columns_so)}"
    if found.missing:
        given = "not in it" if found.teacher else "give --teacher-cost to see numbers"
        yield f"relative to the teacher ({given}): {', '.join(found.missing)}"
    for problem in found.problems:
        yield f"problem: {problem}"
    if not found.problems:
        yield "no contradiction found: some cost is inside all rows that are numbers"


def _conditions(found: Explanation) -> Iterator[str]:
    if found.description:
        yield found.description
    if found.settings is not None:
        file = f" ({found.target_file})" if found.target_file else ""
        yield f"target {found.target}{file}: {settings_text(found.settings)}"
    else:
        yield f"target {found.target}: NOT FOUND" if found.target else "target: none named"
    if found.input is not None:
        batch, channels, height, width = found.input
        yield f"input: batch of {batch}, images of {channels}x{height}x{width}"
    if found.teacher is not None:
        yield f"teacher's cost: {found.teacher}"


def _row(row: ExplainedRow) -> tuple[str, ...]:
    return (
        row.id,
        row.written,
        row.sense,
        f"{row.tolerance * 100:g}%",
        "exact" if row.known == "counted" else f"{row.confidence * 100:g}%",
        row.severity,
        "-" if row.line is None else str(row.line),
    )


def _limit(row: ExplainedRow) -> str:
    unit = "" if row.limit is None or row.unit in ("", "fraction") else f" {row.unit}"
    return f"{row.limit_text}{unit}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _aligned(rows: Iterable[Sequence[str]], *, right: int = 0) -> Iterator[str]:
    """Rows of cells as lines, the first `right` columns but the very first to the right."""
    cells = [list(row) for row in rows]
    widths = [max(len(cell) for cell in column) for column in zip(*cells, strict=True)]
    for row in cells:
        padded = [
            cell.rjust(width) if 0 < index < right else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield "  ".join(padded).rstrip()


def schema_text(schema: dict[str, Any]) -> str:
    """A schema as it is published."""
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"
