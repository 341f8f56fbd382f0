"""What marks and lines look like: each meaning has a shape or a dash of its own, besides a colour.

Colours are of middling brightness, readable on white and on dark; the page gives charts the rest
of its theme (text, grid) when it is opened.
"""

from __future__ import annotations

from typing import Any

import plotly.graph_objects as go

BLUE, ORANGE, GREEN, PINK = "#2f86d6", "#d9782b", "#159a70", "#cf4d87"
VIOLET, GREY, BROWN, RED = "#8a6ad6", "#858d99", "#a07a35", "#d64545"

INSIDE = {"symbol": "circle", "color": BLUE, "size": 9, "opacity": 0.75}
OUTSIDE = {"symbol": "x-thin", "size": 8, "line": {"color": ORANGE, "width": 2}}
UNTRAINED = {"symbol": "line-ns", "size": 11, "line": {"color": GREY, "width": 1.5}}
TEACHER = {"symbol": "diamond", "color": PINK, "size": 14, "line": {"color": "#fff", "width": 1}}
STUDENT = {"symbol": "star", "color": GREEN, "size": 18, "line": {"color": "#fff", "width": 1}}
BASELINES = ("square", "triangle-up", "pentagon", "cross", "hexagram", "triangle-down")

STAGES: dict[str, dict[str, Any]] = {
    "removal": {"color": BLUE, "dash": "solid", "symbol": "circle"},
    "shrinkage": {"color": ORANGE, "dash": "dash", "symbol": "square"},
    "evolution": {"color": GREEN, "dash": "solid", "symbol": "diamond"},
}
RUNS = (
    (BLUE, "circle", "solid"),
    (ORANGE, "square", "dash"),
    (GREEN, "diamond", "dot"),
    (PINK, "triangle-up", "dashdot"),
    (VIOLET, "pentagon", "longdash"),
    (BROWN, "star", "longdashdot"),
    (RED, "hexagram", "solid"),
    (GREY, "triangle-down", "dash"),
)


def baseline_mark(number: int) -> dict[str, Any]:
    """The mark of the nth baseline, from 0; shapes come again after six."""
    return {"symbol": BASELINES[number % len(BASELINES)], "color": BROWN, "size": 13}


def figure() -> go.Figure:
    """An empty chart that fills its place, with its legend above."""
    made = go.Figure()
    made.update_layout(
        template="none",
        autosize=True,
        margin={"l": 58, "r": 14, "t": 10, "b": 48},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"size": 13},
        hovermode="closest",
        hoverlabel={"align": "left", "namelength": 0},
        legend={
            "orientation": "h",
            "x": 0,
            "y": 1.02,
            "yanchor": "bottom",
            "font": {"size": 12.5},
            "itemwidth": 30,
        },
    )
    made.update_xaxes(
        zeroline=False,
        automargin=True,
        title={"standoff": 8, "font": {"size": 13}},
        nticks=6,
        tickangle=0,
    )
    made.update_yaxes(
        zeroline=False, automargin=True, title={"standoff": 8, "font": {"size": 13}}, nticks=7
    )
    return made
