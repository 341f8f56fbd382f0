"""The report of one run, put together."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from markupsafe import Markup

from hwn2n.drawing import draw
from hwn2n.errors import InputError, MeasurementError
from hwn2n.network.architecture import Architecture
from hwn2n.network.decision import Decision
from hwn2n.reporting import metrics, page, verdict
from hwn2n.reporting.axes import label
from hwn2n.reporting.facts import RunFacts, State
from hwn2n.reporting.layer_times import by_layer, layer_seconds
from hwn2n.reporting.layers import LayerTable, PackedLayers, Student
from hwn2n.reporting.points import Named, as_json, by_interest, state_counts
from hwn2n.reporting.progress import progress_charts
from hwn2n.reporting.repeat import flat_texts, settings_table
from hwn2n.reporting.spent import time_chart, time_spent
from hwn2n.reporting.trade_off import columns_to_draw, summary, trade_off
from hwn2n.run.candidate import Candidate
from hwn2n.search.inspection import find_rows

_LARGEST_PICTURE = 150_000
"""Characters of the graph's picture that a page takes."""
_RESERVE, _LAYER = 80_000, 1_200
"""Characters of the tables, and of one layer in them and in the page's data."""


@dataclass(frozen=True, kw_only=True)
class SideBySide:
    """The student, or the candidate that stands in for it, beside the teacher.

    `seconds` are pairs (teacher's, student's) for each layer and for the whole, where they were
    measured, on `threads` threads. `picture` is an SVG document.
    """

    title: str
    table: LayerTable
    student: Student
    seconds: list[tuple[float, float]] | None
    picture: Markup | None
    threads: int


def build(
    facts: RunFacts,
    *,
    command: str | None,
    baselines: Sequence[Named] = (),
    measure_layers: bool = False,
) -> str:
    """The page of a run. `command` repeats it; `measure_layers` times its layers, here and now.

    Raises `MeasurementError` where layers were to be timed and cannot be, `InputError` for a
    baseline that no chart has a place for.
    """
    table = None if facts.planner is None else LayerTable(facts.planner, facts.settings)
    found = verdict.standings(facts)
    shown = facts.student or _stand_in(facts, found)
    columns = columns_to_draw(facts)
    _check_drawn(baselines, columns)
    teacher, student = metrics.named_teacher(facts), metrics.named_student(facts)
    progress = progress_charts(facts)
    spent = time_spent(facts)
    charts = {f"trade-{n}": trade_off(facts, n, teacher, student, baselines) for n in columns}
    charts |= {chart.key: chart.figure for chart in progress}
    if spent:
        charts["time"] = time_chart(spent)
    figures = page.as_data(charts)
    beside = None if table is None else _beside(facts, table, shown, measure_layers)
    if measure_layers and beside is None:
        why = facts.unknown or "the run has no candidate that could be built"
        raise MeasurementError(f"{facts.folder}: layers cannot be timed: {why}")
    data = _data(facts, table, columns, figures, beside)
    near = verdict.nearest_standing(facts, found) if facts.result is None else None
    return page.render(
        "report.html",
        figures=figures,
        data=data,
        facts=facts,
        headline=verdict.headline(facts),
        mark=verdict.MARKS[facts.state],
        symbols=verdict.SYMBOLS,
        metrics=metrics.metrics(facts),
        lines=[] if facts.result is None else verdict.result_lines(facts),
        near=near,
        near_lines=[] if near is None else verdict.candidate_lines(facts, near),
        relaxations=verdict.relaxation_lines(facts, found),
        outside=facts.state in (State.OUTSIDE, State.NONE_FOUND),
        states=state_counts(facts.candidates),
        trades=[(f"trade-{n}", label(n), summary(facts, n)) for n in columns],
        progress=progress,
        spent=spent,
        beside=beside,
        baselines=baselines,
        command=command,
        settings=settings_table(facts.settings),
        versions=flat_texts(facts.versions),
        machine=flat_texts({} if facts.result is None else facts.result["machine"]),
    )


def _check_drawn(baselines: Sequence[Named], columns: Sequence[str]) -> None:
    for baseline in baselines:
        # a run without candidates has no chart that could lack a baseline
        if columns and not any(name in baseline.cost for name in columns):
            has = ", ".join(name for name in baseline.cost if name != "accuracy")
            raise InputError(
                f"baseline {baseline.name!r} must have a column that the run's candidates have "
                f"({', '.join(columns)}), but has {has}"
            )


def _stand_in(facts: RunFacts, found: Sequence[verdict.Standing]) -> Candidate | None:
    """The candidate whose layers are shown where no student was chosen."""
    near = verdict.nearest_standing(facts, found)
    if near is not None:
        return near.candidate
    scored = [c for c in facts.candidates if c.accuracy is not None]
    return max(scored, key=lambda c: c.reward, default=None)


def _beside(
    facts: RunFacts, table: LayerTable, shown: Candidate | None, measure: bool
) -> SideBySide | None:
    decision = facts.decision
    if decision is not None:
        title = "the student"
        if facts.narrowed and facts.student is not None:
            title += f", made narrower than candidate {facts.student.id}"
        elif facts.result is None:
            title = f"candidate {facts.chosen}, which becomes the student"
    elif shown is not None:
        decision, title = shown.decision, f"candidate {shown.id}"
    else:
        return None
    try:
        student, architecture = table.student(decision), table.architecture(decision)
    except InputError:
        return None
    return SideBySide(
        title=title,
        table=table,
        student=student,
        seconds=_seconds(table, architecture) if measure else None,
        picture=_picture(facts, table, decision, architecture, title),
        threads=torch.get_num_threads(),
    )


def _seconds(table: LayerTable, student: Architecture) -> list[tuple[float, float]]:
    layers = [layer.operations for layer in table.teacher]
    both = []
    for architecture in (table.planner.teacher, student):
        found = layer_seconds(architecture)
        rows = by_layer(found, table.home(architecture), layers)
        both.append([*rows, sum(found.values())])
    return list(zip(*both, strict=True))


def _picture(
    facts: RunFacts,
    table: LayerTable,
    decision: Mapping[str, Any],
    student: Architecture,
    title: str,
) -> Markup | None:
    """The graph as `hwn2n inspect --svg` draws it, where it is not too large for the page."""
    teacher = table.planner.teacher
    rows = find_rows(table.planner, facts.settings)
    text = draw(teacher, rows, Decision.from_json(decision), student, f"{facts.folder}: {title}")
    return Markup(text) if len(text) <= _LARGEST_PICTURE else None


def _data(
    facts: RunFacts,
    table: LayerTable | None,
    columns: Sequence[str],
    figures: Mapping[str, Any],
    beside: SideBySide | None,
) -> dict[str, Any]:
    """What the page's script reads: every candidate, and the layers of as many as there is room."""
    rows = [page.short(as_json(candidate, None)) for candidate in facts.candidates]
    packed = None
    if table is not None:
        taken = _RESERVE + _LAYER * len(table.teacher) + len(json.dumps(rows))
        taken += len(beside.picture) if beside and beside.picture else 0
        packed = PackedLayers(table, page.room(figures, taken))
        for candidate in by_interest(facts.candidates, columns):
            if candidate.key is not None:
                packed.add(candidate.decision)
        for candidate, row in zip(facts.candidates, rows, strict=True):
            row["layers"] = None if candidate.key is None else packed.add(candidate.decision)
    return {
        "candidates": rows,
        "columns": {name: label(name) for name in facts.columns},
        "teacher": []
        if table is None
        else [[t.name, t.operator, t.shape, t.params, t.flops] for t in table.teacher],
        "texts": [] if packed is None else packed.texts,
        "networks": [] if packed is None else packed.networks,
        "left_out": 0 if packed is None else packed.left_out,
        "unknown": facts.unknown,
        "budget": bool(facts.budget.columns),
        "again": sorted(facts.again),
        "student": None if facts.student is None else facts.student.id,
        "narrowed": facts.narrowed,
    }
