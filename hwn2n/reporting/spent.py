"""Where a run's time went."""

from __future__ import annotations

from dataclasses import dataclass

import plotly.graph_objects as go

from hwn2n.reporting import looks
from hwn2n.reporting.facts import RunFacts
from hwn2n.search.finish import CHOICE, FINAL_TRAINING
from hwn2n.search.loop import SEARCH
from hwn2n.search.workshop import SET_UP

_PARTS = {
    "project": "fitting decisions to the budget",
    "plan": "planning students",
    "count": "counting, and knowing them again",
    SET_UP: "setting up workers",
    "measure": "measuring candidates",
    "build": "building and inheriting weights",
    "train": "training candidates",
}


@dataclass(frozen=True, kw_only=True)
class Spent:
    """Seconds of one phase, and their share of all that the clock booked, 0 to 1."""

    phase: str
    seconds: float
    share: float


def time_spent(facts: RunFacts) -> list[Spent]:
    """Seconds by phase, over all processes that worked on the run; empty where nothing is booked.

    Those of workers that train side by side are added up, and may be more than have passed. What
    the search took beyond its candidates is policies, checkpoints and the ledger.
    """
    search = facts.seconds.get(SEARCH, 0.0)
    parts = {
        text: sum(c.seconds.get(name, 0.0) for c in facts.candidates)
        for name, text in _PARTS.items()
    }
    rest = max(0.0, search - sum(parts.values()))
    phases = {
        **parts,
        "policies, checkpoints, ledger": rest,
        "measuring the best again": facts.seconds.get(CHOICE, 0.0),
        "final training": facts.seconds.get(FINAL_TRAINING, 0.0),
    }
    total = sum(phases.values())
    if not total:
        return []
    return [Spent(phase=name, seconds=s, share=s / total) for name, s in phases.items() if s]


def time_chart(spent: list[Spent]) -> go.Figure:
    """The phases as bars, in the order in which they come."""
    figure = looks.figure()
    shown = spent[::-1]
    figure.add_bar(
        orientation="h",
        y=[s.phase for s in shown],
        x=[s.seconds for s in shown],
        text=[f"{s.seconds:,.1f} s" for s in shown],
        customdata=[s.share for s in shown],
        textposition="outside",
        textfont={"size": 13},
        cliponaxis=False,
        marker={"color": looks.BLUE},
        hovertemplate="%{y}: %{text}, %{customdata:.0%}<extra></extra>",
        showlegend=False,
    )
    longest = max((s.seconds for s in spent), default=1.0)
    # room for the text behind the longest bar, on a phone too
    figure.update_xaxes(title={"text": "seconds"}, range=[0, 1.3 * longest])
    figure.update_yaxes(ticksuffix=" ")
    figure.update_layout(bargap=0.25)
    return figure
