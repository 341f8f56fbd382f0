"""Teacher and student in figures: side by side, and as points of a chart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hwn2n.budget.columns import COLUMNS
from hwn2n.budget.cost import Cost, Reading, cost_from_json
from hwn2n.reporting.axes import NOTHING, label, reading_text
from hwn2n.reporting.facts import RunFacts
from hwn2n.reporting.points import Named


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One quantity of teacher and student; `change` says how many times smaller it became."""

    name: str
    teacher: str
    student: str
    change: str


def metrics(facts: RunFacts) -> list[Metric]:
    """Teacher and student side by side; of a run without a student the teacher alone."""
    result = facts.result
    teacher = facts.teacher_cost if result is None else cost_from_json(result["teacher"]["cost"])
    student: Cost = {} if result is None else cost_from_json(result["student"]["cost"])
    lines = []
    for name, column in COLUMNS.items():
        if name not in teacher and name not in student:
            continue
        title = label(name)
        if column.unit == "fraction":
            title = f"validation {title}"
        lines.append(
            Metric(
                name=title,
                teacher=_reading(teacher.get(name), name),
                student=_reading(student.get(name), name),
                change=_times(teacher.get(name), student.get(name), name),
            )
        )
    if result is not None:
        before, after = (result[who]["test_accuracy"] for who in ("teacher", "student"))
        lines.append(
            Metric(
                name="test accuracy",
                teacher=f"{before:.2%}",
                student=f"{after:.2%}",
                change=f"{100 * (after - before):+.2f} points",
            )
        )
    return lines


def named_teacher(facts: RunFacts) -> Named | None:
    """The teacher as a point, by its validation accuracy."""
    cost = facts.teacher_cost
    return (
        Named(name="teacher", cost=cost, accuracy=cost["accuracy"].value)
        if "accuracy" in cost
        else None
    )


def named_student(facts: RunFacts, name: str = "student") -> Named | None:
    """The trained student as a point, by its validation accuracy."""
    if facts.result is None:
        return None
    student: Mapping[str, Any] = facts.result["student"]
    return Named(
        name=name, cost=cost_from_json(student["cost"]), accuracy=student["validation_accuracy"]
    )


def _reading(reading: Reading | None, column: str) -> str:
    return NOTHING if reading is None else reading_text(reading, column)


def _times(teacher: Reading | None, student: Reading | None, column: str) -> str:
    if teacher is None or student is None:
        return NOTHING
    if COLUMNS[column].unit == "fraction":
        return f"{100 * (student.value - teacher.value):+.2f} points"
    if min(teacher.value, student.value) <= 0:
        return NOTHING
    ratio = teacher.value / student.value
    if COLUMNS[column].metric == "throughput":
        return f"{1 / ratio:.3g}x as many"
    times = f"{ratio:.3g}" if ratio < 1000 else f"{ratio:,.0f}"
    return f"{times}x smaller" if ratio >= 1 else f"{1 / ratio:.3g}x larger"
