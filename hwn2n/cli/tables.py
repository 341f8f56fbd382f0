"""The tables that people read at the end of a command, built from its result."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich import box
from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

from hwn2n.budget.columns import COLUMNS
from hwn2n.budget.cost import Reading, cost_from_json
from hwn2n.budget.units import format_quantity

if TYPE_CHECKING:
    from hwn2n.commands.compress import Result
    from hwn2n.commands.teach import Taught

_STYLES = {
    "yes": "green",
    "pass": "green",
    "no": "bold red",
    "violated": "bold red",
    "inconclusive": "yellow",
    "unavailable": "yellow",
}

_LONGEST_WHOLE = 24
"""Cells: as long as a number, its unit and its share. Longer ones are names and reasons."""
_LEAST_FOLDED = 10


def ruled_table(headings: Sequence[str], rows: Iterable[Sequence[str]], *, plain: bool) -> Table:
    """Columns of text, numbers to the right; `plain` without rules, for files and pipes.

    On a narrow terminal long names and reasons fold, and numbers stay whole.
    """
    cells = [[Text(cell, style=_STYLES.get(cell, "")) for cell in row] for row in rows]
    table = Table(box=None if plain else box.SIMPLE_HEAD, pad_edge=not plain)
    for index, heading in enumerate(headings):
        left = index == 0 or heading in ("known", "reason", "verdict", "inside?")
        whole = [*heading.split(), *(row[index].plain for row in cells if index < len(row))]
        least = max((cell_len(text) for text in whole), default=1)
        least = least if least <= _LONGEST_WHOLE else _LEAST_FOLDED
        table.add_column(
            heading, justify="left" if left else "right", overflow="fold", min_width=least
        )
    for row in cells:
        table.add_row(*row)
    return table


def result_table(result: Result, *, plain: bool) -> Table:
    """Teacher, student and budget, metric by metric, then the rows that combine metrics."""
    teacher = cost_from_json(result.teacher["cost"])
    student = cost_from_json(result.student["cost"])
    limits: dict[str | None, list[dict[str, Any]]] = {}
    for row in result.rows:
        limits.setdefault(row["column"], []).append(row)
    lines: list[tuple[str, ...]] = []
    for name in COLUMNS:
        if name not in student and name not in teacher and name not in limits:
            continue
        shown = "validation accuracy" if name == "accuracy" else name.replace("_", " ")
        values = (_text(name, teacher.get(name)), _text(name, student.get(name)))
        rows = limits.get(name, [])
        first = rows[0] if rows else None
        lines.append((shown, *values, _share(teacher, student, name), *_limit(first)))
        lines += [("", "", "", "", *_limit(row)) for row in rows[1:]]
        if name == "accuracy":
            tested = (result.teacher["test_accuracy"], result.student["test_accuracy"])
            texts = [format_quantity(value, "accuracy") for value in tested]
            lines.append(("test accuracy", *texts, "", *_limit(None)))
    for row in limits.get(None, []):
        lines.append((row["id"], "", row["value_text"], "", *_limit(row)))
    headings = ("metric", "teacher", "student", "of teacher", "limit", "headroom", "inside?")
    return ruled_table(headings, lines, plain=plain)


def _text(name: str, reading: Reading | None) -> str:
    return "unavailable" if reading is None else number_text(reading.value, name)


def number_text(value: float, name: str | None) -> str:
    """A quantity with its unit; counts below ten million with all their digits."""
    if name is not None and COLUMNS[name].countable and not COLUMNS[name].unit and value < 1e7:
        return f"{value:,.1f}".removesuffix(".0")
    return format_quantity(value, name)


def _share(teacher: dict[str, Reading], student: dict[str, Reading], name: str) -> str:
    if COLUMNS[name].unit == "fraction" or name not in teacher or name not in student:
        return ""
    whole = teacher[name].value
    return f"{student[name].value / whole:.1%}" if whole else ""


def _limit(row: dict[str, Any] | None) -> tuple[str, str, str]:
    """Limit, headroom and verdict of a row of `Constraints.describe`; empty without a limit."""
    if row is None:
        return "", "", ""
    sign = ">=" if row["sense"] == "min" else "<="
    headroom = "" if row["headroom"] is None else f"{row['headroom']:+.1%}"
    verdict = {"pass": "yes", "violated": "no"}.get(row["verdict"], row["verdict"])
    if row["severity"] == "warn":
        verdict += " (warning only)"
    return f"{sign} {number_text(row['limit'], row['column'])}", headroom, verdict


_STUDENTS = {
    "pass": "the student is inside the budget",
    "violated": "the student is OUTSIDE the budget",
    "unavailable": "nobody can tell whether the student is inside the budget",
    "inconclusive": "a limit lies in the interval of the student's measured value",
}


def result_lines(result: Result) -> list[str]:
    """What stands below the table: verdict, candidates, seconds, files."""
    if not result.rows:
        verdict = "no budget was given: the search was unconstrained"
    else:
        verdict = _STUDENTS[result.verdict]
    states = {name: n for name, n in result.candidates.items() if name != "all" and n}
    shown = ", ".join(f"{n} {name}" for name, n in states.items())
    seconds = result.seconds
    total = seconds["search"] + seconds["final_training"]
    narrowed = "made narrower than the candidate that was chosen, to be surely inside"
    return [
        "",
        f"{verdict}; accuracies on {result.student['test_images']:,} test images, used once",
        *([narrowed] if result.student.get("narrowed") else []),
        f"candidates: {result.candidates['all']} ({shown})",
        f"seconds: {total:.1f} (search {seconds['search']:.1f}, "
        f"final training {seconds['final_training']:.1f})",
        f"results: {Path(result.folder)} (student.pt2, student.safetensors, architecture.json, "
        "result.json, ledger.sqlite)",
        *_report_line(Path(result.folder)),
    ]


def _report_line(folder: Path) -> list[str]:
    """Where the page is, if it could be drawn."""
    path = folder / "report.html"
    return [f"report: {path}"] if path.exists() else []


def taught_lines(taught: Taught, data_root: Path | None = None) -> list[str]:
    """The teacher, and what to do with it: on the same images, which lie in `data_root`."""
    path, source = shlex.quote(str(taught.path)), shlex.quote(taught.data)
    if data_root is not None:
        source += f" --data-root {shlex.quote(str(data_root))}"
    return [
        f"teacher {taught.arch} of {taught.params:,} parameters on {taught.data}: "
        f"validation {taught.validation_accuracy:.2%}, test {taught.test_accuracy:.2%} "
        f"({taught.test_images:,} images), {taught.epochs} epochs in {taught.seconds:.1f} s",
        f"compress it: hwn2n compress {path} --budget FILE --data {source}",
    ]
