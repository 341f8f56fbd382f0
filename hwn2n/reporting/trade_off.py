"""Accuracy against what a candidate costs: one chart for each column that candidates have."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

import plotly.graph_objects as go

from hwn2n.budget.columns import COLUMNS
from hwn2n.budget.rows import Row
from hwn2n.reporting import looks
from hwn2n.reporting.axes import Axis, axis_for, label, quantity
from hwn2n.reporting.facts import RunFacts
from hwn2n.reporting.points import Named, pareto_front, trained, value
from hwn2n.run.candidate import Candidate

_FIRST = ("params", "flops", "latency_p50", "energy")
_STRIP = 0.09
"""The share of the height in which candidates without an accuracy stand."""


def columns_to_draw(facts: RunFacts) -> list[str]:
    """Parameters, FLOPs, latency and energy first, then what else the candidates have.

    Weight bytes are drawn only where the budget bounds them: they are four times the parameters.
    """
    bounded = set(facts.budget.columns) | set(facts.budget.warning_columns)
    found = [name for name in facts.columns if name != "weight_bytes" or name in bounded]
    return sorted(found, key=lambda n: _FIRST.index(n) if n in _FIRST else len(_FIRST))


def trade_off(
    facts: RunFacts,
    column: str,
    teacher: Named | None,
    student: Named | None,
    baselines: Sequence[Named],
) -> go.Figure:
    """The chart of one column. `customdata` of a candidate's mark is its id."""
    everyone = [c for c in facts.candidates if value(c, column) is not None]
    scored = trained(everyone)
    named = [n for n in (teacher, student, *baselines) if n is not None and column in n.cost]
    values = [value(c, column) or 0.0 for c in everyone]
    readings = [n.cost[column] for n in named]
    values += [end for r in readings for end in (r.value, r.low, r.high) if end is not None]
    limits = [row for row in facts.constraints().rows if row.column == column]
    axis = axis_for(column, values + [abs(row.upper) for row in limits])
    figure = looks.figure()
    if facts.budget.columns:
        _marks(figure, "outside", [c for c in scored if not c.satisfied], column, axis,
               looks.OUTSIDE)  # fmt: skip
        _marks(figure, "inside", [c for c in scored if c.satisfied], column, axis,
               looks.INSIDE)  # fmt: skip
    else:
        _marks(figure, "candidates", scored, column, axis, looks.INSIDE)
    _front(figure, pareto_front(scored, column), column, axis)
    rest = [c for c in everyone if c.accuracy is None]
    if rest:
        _untrained(figure, rest, column, axis)
    for i, network in enumerate(baselines):
        if column in network.cost:
            _named(figure, network.name, network, column, axis, looks.baseline_mark(i))
    for name, one, mark in (
        ("teacher", teacher, looks.TEACHER),
        ("student", student, looks.STUDENT),
    ):
        if one is not None and column in one.cost:
            _named(figure, name, one, column, axis, mark)
    for row in limits:
        _limit(figure, row, axis)
    figure.update_xaxes(axis.layout())
    bottom = _STRIP + 0.05 if rest else 0.0
    figure.update_layout(
        yaxis={"title": {"text": "validation accuracy (%)"}, "domain": [bottom, 1.0]},
    )
    return figure


def _marks(
    figure: go.Figure,
    name: str,
    chosen: Sequence[Candidate],
    column: str,
    axis: Axis,
    mark: dict[str, Any],
) -> None:
    if not chosen:
        return
    figure.add_scatter(
        name=name,
        mode="markers",
        x=[(value(c, column) or 0.0) / axis.factor for c in chosen],
        y=[100 * (c.accuracy or 0.0) for c in chosen],
        customdata=[c.id for c in chosen],
        meta="candidates",
        marker=mark,
    )


def _front(figure: go.Figure, front: Sequence[Candidate], column: str, axis: Axis) -> None:
    if len(front) < 2:
        return
    figure.add_scatter(
        name="Pareto front",
        mode="lines",
        x=[(value(c, column) or 0.0) / axis.factor for c in front],
        y=[100 * (c.accuracy or 0.0) for c in front],
        line={"shape": "hv", "dash": "dot", "width": 2, "color": looks.VIOLET},
        hoverinfo="skip",
    )  # fmt: skip


def _untrained(figure: go.Figure, rest: Sequence[Candidate], column: str, axis: Axis) -> None:
    """Those without an accuracy, in a strip of their own below the others."""
    figure.add_scatter(
        name="not trained",
        mode="markers",
        x=[(value(c, column) or 0.0) / axis.factor for c in rest],
        y=[0] * len(rest),
        yaxis="y2",
        customdata=[c.id for c in rest],
        meta="candidates",
        marker=looks.UNTRAINED,
    )
    # the ticks below the strip, not through it
    figure.update_xaxes(anchor="y2")
    figure.update_layout(
        yaxis2={
            "domain": [0.0, _STRIP],
            "range": [-1, 1],
            "showticklabels": False,
            "showgrid": False,
            "showline": False,
            "fixedrange": True,
            "zeroline": False,
        }
    )


def _named(
    figure: go.Figure, name: str, network: Named, column: str, axis: Axis, mark: dict[str, Any]
) -> None:
    reading = network.cost[column]
    text = (
        f"<b>{escape(name)}</b><br>validation accuracy {network.accuracy:.2%}"
        f"<br>{escape(label(column))} {quantity(reading.value, column)}"
    )
    number = reading.value / axis.factor
    interval = None
    if reading.low is not None and reading.high is not None:
        text += f" [{quantity(reading.low, column)}, {quantity(reading.high, column)}]"
        interval = {
            "type": "data",
            "symmetric": False,
            "array": [reading.high / axis.factor - number],
            "arrayminus": [number - reading.low / axis.factor],
            "thickness": 1.2,
            "color": mark["color"],
        }
    figure.add_scatter(
        name=escape(name),
        mode="markers",
        x=[number],
        y=[100 * network.accuracy],
        error_x=interval,
        marker=mark,
        text=[text],
        hovertemplate="%{text}<extra></extra>",
        cliponaxis=False,
    )


def _limit(figure: go.Figure, row: Row, axis: Axis) -> None:
    sign = -1.0 if row.lower else 1.0
    limit = sign * row.upper
    sense = "\N{GREATER-THAN OR EQUAL TO}" if row.lower else "\N{LESS-THAN OR EQUAL TO}"
    shown = quantity(limit, row.column)
    if axis.log and limit <= 0:
        return
    figure.add_vline(
        x=limit / axis.factor,
        line={"color": looks.RED, "dash": "dash", "width": 1.5},
        name=f"limit {sense} {shown}" + ("" if row.severity == "error" else " (warning)"),
        showlegend=True,
    )


def summary(facts: RunFacts, column: str) -> str:
    """The chart in a sentence, for those who cannot see it."""
    drawn = [c for c in trained(facts.candidates) if value(c, column) is not None]
    if not drawn:
        return f"No candidate was trained; nothing to draw against {label(column)}."
    best = max(drawn, key=lambda c: c.accuracy or 0.0)
    unit = "" if COLUMNS[column].unit else f" {label(column)}"
    inside = ""
    if facts.budget.columns:
        inside = f", {sum(c.satisfied for c in drawn)} of them inside the budget"
        inside += " by the short readings of the search" if facts.again else ""
    return (
        f"Validation accuracy against {label(column)} of {len(drawn)} trained candidates{inside}; "
        f"the most accurate, candidate {best.id}, has {best.accuracy or 0.0:.2%} with "
        f"{quantity(value(best, column), column)}{unit}."
    )
