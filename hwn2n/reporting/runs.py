"""Several runs beside one another: one table, and one page with the students of all."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import plotly.graph_objects as go

from hwn2n.budget.columns import COLUMNS, in_order
from hwn2n.reporting import looks, metrics, page
from hwn2n.reporting.axes import Axis, axis_for, label, quantity
from hwn2n.reporting.facts import RunFacts, State
from hwn2n.reporting.points import Named, pareto_front, value

_WORDS = {
    State.INSIDE: "inside",
    State.OUTSIDE: "OUTSIDE",
    State.UNSURE: "inconclusive",
    State.NONE_FOUND: "none found",
    State.UNFINISHED: "not complete",
}
_WITHOUT_LIMITS = {**_WORDS, State.INSIDE: "no limit"}
_ALWAYS = ("params", "flops")
_IF_KNOWN = ("latency_p50", "power_avg", "energy")


@dataclass(frozen=True, kw_only=True)
class RunLine:
    """A run in one line. Accuracies are fractions, None without a student; `seconds` of it all.

    `cost` has the student's values in SI units, `teacher_params` are its teacher's, whose weights
    have the digest `teacher_weights`; `data_digest` is that of the images. `limits` are the
    budget's rows as they were written.
    """

    run: str
    teacher: str
    teacher_weights: str
    data: str
    data_digest: str | None
    budget: str
    limits: tuple[str, ...]
    recipe: str
    strategy: str
    seed: int
    candidates: int
    outcome: str
    cost: dict[str, float]
    teacher_params: float | None
    validation_accuracy: float | None
    test_accuracy: float | None
    test_images: int | None
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """JSON-able form."""
        return dict(vars(self))


def run_line(facts: RunFacts) -> RunLine:
    """The line of one run."""
    student = None if facts.result is None else facts.result["student"]
    params = facts.teacher_cost.get("params")
    words = _WORDS if facts.budget.columns else _WITHOUT_LIMITS
    return RunLine(
        run=facts.folder,
        teacher=str(facts.request["teacher"]),
        teacher_weights=facts.teacher_weights,
        data=str(facts.request["data"]),
        data_digest=facts.data_digest,
        budget=facts.budget.name,
        limits=tuple(row.written for row in facts.budget.rows),
        recipe=facts.settings.recipe,
        strategy=facts.settings.strategy,
        seed=facts.settings.seed,
        candidates=len(facts.candidates),
        outcome=words[facts.state],
        cost={} if student is None else {n: r["value"] for n, r in student["cost"].items()},
        teacher_params=None if params is None else params.value,
        validation_accuracy=None if student is None else student["validation_accuracy"],
        test_accuracy=None if student is None else student["test_accuracy"],
        test_images=None if student is None else student["test_images"],
        seconds=sum(facts.seconds.values()),
    )


def table(lines: Sequence[RunLine]) -> tuple[list[str], list[list[str]]]:
    """Headings and cells. What is the same for all runs has no column (see `common`)."""
    known = {name for line in lines for name in line.cost}
    columns = [n for n in (*_ALWAYS, *_IF_KNOWN) if n in known or n in _ALWAYS]
    shared = common(lines)
    described = {n: texts for n, texts in _described(lines).items() if n not in shared}
    headings = ["run", "student", *(label(name) for name in columns), "validation", "test"]
    headings += ["candidates", "seconds", *described]
    cells = []
    for i, line in enumerate(lines):
        costs = [quantity(line.cost.get(name), name) for name in columns]
        accuracies = (line.validation_accuracy, line.test_accuracy)
        cells.append(
            [
                line.run,
                line.outcome,
                *costs,
                *(quantity(accuracy, "accuracy") for accuracy in accuracies),
                str(line.candidates),
                f"{line.seconds:,.1f}",
                *(texts[i] for texts in described.values()),
            ]
        )
    return headings, cells


_DESCRIBED = ("teacher", "data", "budget", "recipe", "strategy", "seed")


def common(lines: Sequence[RunLine]) -> dict[str, str]:
    """What all runs share of teacher, data, budget, recipe, strategy and seed."""
    return {n: texts[0] for n, texts in _described(lines).items() if len(set(texts)) == 1}


def _described(lines: Sequence[RunLine]) -> dict[str, list[str]]:
    """The same of each run. Teachers of other weights, other images and budgets of other rows have
    numbers where they have one name."""
    found = {name: [str(getattr(line, name)) for line in lines] for name in _DESCRIBED}
    found["teacher"] = _told_apart(found["teacher"], [line.teacher_weights for line in lines])
    found["data"] = _told_apart(found["data"], [line.data_digest for line in lines])
    found["budget"] = _told_apart(found["budget"], [line.limits for line in lines])
    return found


def _told_apart(names: Sequence[str], contents: Sequence[Hashable]) -> list[str]:
    known: dict[str, list[Hashable]] = {}
    for name, content in zip(names, contents, strict=True):
        if content not in known.setdefault(name, []):
            known[name].append(content)
    return [
        name if len(known[name]) == 1 else f"{name} ({known[name].index(content) + 1})"
        for name, content in zip(names, contents, strict=True)
    ]


def build(runs: Sequence[RunFacts]) -> str:
    """The page of several runs: the table, and a chart for each column of their students."""
    lines = [run_line(facts) for facts in runs]
    headings, cells = table(lines)
    students = [metrics.named_student(facts, facts.folder) for facts in runs]
    columns = _columns(runs, students)
    charts = {f"runs-{name}": _chart(runs, students, name) for name in columns}
    return page.render(
        "runs.html",
        figures=page.as_data(charts),
        data={},
        headings=headings,
        cells=cells,
        common=common(lines),
        texts={"run", "student", *_DESCRIBED},
        trades=[
            (f"runs-{n}", label(n), f"Validation accuracy against {label(n)} of {len(runs)} runs.")
            for n in columns
        ],
    )


def _columns(runs: Sequence[RunFacts], students: Sequence[Named | None]) -> list[str]:
    known = {name for s in students if s is not None for name in s.cost}
    known |= {name for facts in runs for name in facts.columns}
    bounded = {name for facts in runs for name in facts.budget.columns}
    shown = {*_ALWAYS, *_IF_KNOWN, *bounded}
    return [n for n in in_order(known) if n in shown and not COLUMNS[n].learned]


def _chart(runs: Sequence[RunFacts], students: Sequence[Named | None], column: str) -> go.Figure:
    """Each run's student as a large mark, and the front of its candidates as a line."""
    values = [s.cost[column].value for s in students if s is not None and column in s.cost]
    fronts = [pareto_front([c for c in f.candidates if c.satisfied], column) for f in runs]
    values += [value(c, column) or 0.0 for front in fronts for c in front]
    axis = axis_for(column, values)
    figure = looks.figure()
    for i, (facts, student, front) in enumerate(zip(runs, students, fronts, strict=True)):
        colour, symbol, dash = looks.RUNS[i % len(looks.RUNS)]
        name = escape(facts.folder)
        if front:
            figure.add_scatter(
                name=name,
                legendgroup=str(i),
                showlegend=student is None or column not in student.cost,
                mode="lines+markers",
                x=[(value(c, column) or 0.0) / axis.factor for c in front],
                y=[100 * (c.accuracy or 0.0) for c in front],
                text=[f"candidate {c.id}" for c in front],
                line={"color": colour, "dash": dash, "width": 1.5, "shape": "hv"},
                marker={"symbol": f"{symbol}-open", "size": 7},
                hovertemplate=f"{_safe(name)}<br>%{{text}}: %{{y:.2f}}%<extra></extra>",
            )
        if student is not None and column in student.cost:
            _student(figure, student, column, axis, i)
    figure.update_xaxes(axis.layout())
    figure.update_yaxes(title={"text": "validation accuracy (%)"})
    return figure


def _student(figure: go.Figure, student: Named, column: str, axis: Axis, number: int) -> None:
    colour, symbol, _ = looks.RUNS[number % len(looks.RUNS)]
    reading = student.cost[column]
    figure.add_scatter(
        name=escape(student.name),
        legendgroup=str(number),
        mode="markers",
        x=[reading.value / axis.factor],
        y=[100 * student.accuracy],
        marker={"symbol": symbol, "size": 16, "color": colour,
                "line": {"color": "#fff", "width": 1}},
        text=[
            f"<b>{escape(student.name)}</b>, student<br>{escape(label(column))} "
            f"{quantity(reading.value, column)}<br>validation accuracy {student.accuracy:.2%}"
        ],
        hovertemplate="%{text}<extra></extra>",
        cliponaxis=False,
    )  # fmt: skip


def _safe(text: str) -> str:
    """A name inside a template of plotly's, where `%{` begins a variable."""
    return text.replace("%{", "% {")
