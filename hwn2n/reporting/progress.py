"""The search by update: figures 3 to 5 of the paper (arXiv 1709.06030), and what steers it.

The paper draws reward, accuracy and compression of both stages; the share inside the budget,
epsilon (section 3.3.1) and the policies' entropy say why they go where they go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean

import plotly.graph_objects as go

from hwn2n.reporting import looks
from hwn2n.reporting.facts import STAGES, RunFacts
from hwn2n.run.candidate import Candidate


@dataclass(frozen=True, kw_only=True)
class Chart:
    """A chart of the page: `key` names it there, `summary` tells it in a sentence."""

    key: str
    title: str
    summary: str
    figure: go.Figure


@dataclass(frozen=True, kw_only=True)
class _Quantity:
    key: str
    title: str
    axis: str
    of: Callable[[Candidate], float | None]
    single: bool = True
    """Whether each candidate is drawn too, and not only the mean of an update."""
    span: tuple[float, float] | None = None
    """The ends of its axis, where they say more than those of the values."""


_OF_CANDIDATES = (
    _Quantity(key="reward", title="Reward", axis="reward", of=lambda c: c.reward),
    _Quantity(
        key="accuracy",
        title="Accuracy after search training",
        axis="validation accuracy (%)",
        of=lambda c: None if c.accuracy is None else 100 * c.accuracy,
    ),
    _Quantity(
        key="compression",
        title="Compression, 1 - parameters / the teacher's",
        axis="compression (%)",
        of=lambda c: None if (found := c.terms.get("compression")) is None else 100 * found,
    ),
    _Quantity(
        key="inside",
        title="Candidates inside the budget",
        axis="share of the update (%)",
        of=lambda c: 100.0 * c.satisfied,
        single=False,
        span=(-3, 103),
    ),
)
_OF_UPDATES = (
    ("epsilon", "Epsilon: how little the budget counts yet", "epsilon"),
    ("entropy", "Entropy of the policy", "entropy (nats)"),
)


_END = "end"


def progress_charts(facts: RunFacts) -> list[Chart]:
    """A chart for each quantity that the run has something of."""
    offsets = _offsets(facts)
    charts = [
        _of_candidates(facts, wanted, offsets)
        for wanted in _OF_CANDIDATES
        if wanted.key != "inside" or facts.budget.columns
    ]
    for key, title, axis in _OF_UPDATES:
        if key != "epsilon" or facts.budget.columns:
            charts.append(_of_updates(facts, key, title, axis, offsets))
    return [chart for chart in charts if chart.figure.data]


def _offsets(facts: RunFacts) -> dict[str, int]:
    """Updates of the stages before each; the anchor and the run-off are not drawn.

    `_END` has the number of all updates.
    """
    offsets, before = {}, 0
    for stage in (*STAGES, _END):
        offsets[stage] = before
        seen = [c.iteration + 1 for c in facts.candidates if c.stage == stage]
        before += max([*seen, len(facts.updates.get(stage, []))], default=0)
    return offsets


def _of_candidates(facts: RunFacts, wanted: _Quantity, offsets: dict[str, int]) -> Chart:
    figure = looks.figure()
    told = []
    for stage in STAGES:
        rows = [c for c in facts.candidates if c.stage == stage]
        points = [(c, number) for c in rows if (number := wanted.of(c)) is not None]
        if not points:
            continue
        look, shift = looks.STAGES[stage], offsets[stage] + 1
        if wanted.single:
            figure.add_scatter(
                name=f"{stage}: candidates",
                mode="markers",
                x=[c.iteration + shift for c, _ in points],
                y=[number for _, number in points],
                customdata=[c.id for c, _ in points],
                meta="candidates",
                showlegend=False,
                marker={"symbol": f"{look['symbol']}-open", "size": 6, "color": look["color"],
                        "opacity": 0.55},
            )  # fmt: skip
        means = list(_means(points))
        _line(figure, stage, [i + shift for i, _ in means], [mean for _, mean in means])
        told.append(f"{stage} from {means[0][1]:.3g} to {means[-1][1]:.3g}")
    _finish(figure, wanted.axis, offsets, wanted.span)
    text = f"Mean {wanted.axis} of each update: {'; '.join(told) or 'nothing yet'}."
    return Chart(key=wanted.key, title=wanted.title, summary=text, figure=figure)


def _means(points: Sequence[tuple[Candidate, float]]) -> Iterator[tuple[int, float]]:
    for iteration in sorted({c.iteration for c, _ in points}):
        yield iteration, fmean(number for c, number in points if c.iteration == iteration)


def _of_updates(facts: RunFacts, key: str, title: str, axis: str, offsets: dict[str, int]) -> Chart:
    figure = looks.figure()
    told = []
    for stage in STAGES:
        reports = [r for r in facts.updates.get(stage, []) if r.get(key) is not None]
        if reports:
            x = [report["iteration"] + offsets[stage] + 1 for report in reports]
            y = [float(report[key]) for report in reports]
            _line(figure, stage, x, y)
            told.append(f"{stage} from {y[0]:.3g} to {y[-1]:.3g}")
    _finish(figure, axis, offsets, (-0.03, 1.03) if key == "epsilon" else None)
    text = f"{axis} of each update: {'; '.join(told) or 'nothing yet'}."
    return Chart(key=key, title=title, summary=text[0].upper() + text[1:], figure=figure)


def _line(figure: go.Figure, stage: str, x: Sequence[int], y: Sequence[float]) -> None:
    look = looks.STAGES[stage]
    figure.add_scatter(
        name=stage,
        mode="lines+markers",
        x=list(x),
        y=list(y),
        line={"color": look["color"], "dash": look["dash"], "width": 2.5},
        marker={"symbol": look["symbol"], "size": 6},
        hovertemplate=f"{stage}, update %{{x}}: %{{y:.4g}}<extra></extra>",
    )


def _finish(
    figure: go.Figure,
    axis: str,
    offsets: dict[str, int],
    span: tuple[float, float] | None = None,
) -> None:
    if len(figure.data) and 0 < offsets["shrinkage"] < offsets[_END]:
        figure.add_vline(
            x=offsets["shrinkage"] + 0.5, line={"color": looks.GREY, "dash": "dot", "width": 1}
        )
    figure.update_xaxes(
        title={"text": "update"},
        tickformat="d",
        range=[0, offsets[_END] + 1],
    )
    figure.update_yaxes(title={"text": axis})
    if span is not None:
        figure.update_yaxes(range=list(span))
