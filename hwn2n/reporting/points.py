"""The candidates of a run as points: accuracy against what they cost."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hwn2n.budget.columns import COLUMNS
from hwn2n.budget.cost import Cost, Reading, cost_from_json
from hwn2n.errors import InputError, one_line
from hwn2n.reporting.axes import reading_text
from hwn2n.run.candidate import Candidate, State

LARGEST_BASELINE = 2**20
"""Bytes of a file of baselines."""


@dataclass(frozen=True, kw_only=True)
class Named:
    """A network that is no candidate: teacher, student or baseline. `accuracy` is validation's."""

    name: str
    cost: Cost
    accuracy: float


def trained(candidates: Iterable[Candidate]) -> list[Candidate]:
    """Those that have an accuracy, their own or that of the same network before."""
    return [c for c in candidates if c.accuracy is not None]


def value(candidate: Candidate, column: str) -> float | None:
    """A candidate's value in SI units; None where it has none."""
    entry = candidate.cost.get(column)
    return None if entry is None else float(entry["value"])


def pareto_front(candidates: Sequence[Candidate], column: str) -> list[Candidate]:
    """The trained candidates than which none is at once as good in `column` and more accurate.

    From the best in the column on; of equal points the earliest. Throughput is the one column in
    which more is better.
    """
    sign = -1.0 if column == "throughput" else 1.0
    points = [
        (sign * number, -(c.accuracy or 0.0), order, c)
        for order, c in enumerate(trained(candidates))
        if (number := value(c, column)) is not None
    ]
    front: list[Candidate] = []
    best = -1.0
    for _, accuracy, _, candidate in sorted(points, key=lambda point: point[:3]):
        if -accuracy > best:
            front.append(candidate)
            best = -accuracy
    return front


def by_interest(candidates: Sequence[Candidate], columns: Iterable[str]) -> list[Candidate]:
    """Pareto fronts first, then those inside the budget, then the rest, by falling accuracy."""
    front = {c.id for column in columns for c in pareto_front(candidates, column)}
    return sorted(
        candidates,
        key=lambda c: (c.id not in front, not c.satisfied, -(c.accuracy or -1.0), c.id or 0),
    )


def as_json(candidate: Candidate, layers: int | None) -> dict[str, Any]:
    """What the page must know of a candidate; `layers` is the number of its packed network."""
    return {
        "id": candidate.id,
        "stage": candidate.stage,
        "update": candidate.iteration + 1,
        "rollout": candidate.rollout + 1,
        "state": candidate.state.value,
        "accuracy": candidate.accuracy,
        "expected": None if candidate.accuracy is None else candidate.expected,
        "reward": candidate.reward,
        "compression": candidate.terms.get("compression"),
        "inside": candidate.satisfied,
        "reason": candidate.reason,
        "same_as": candidate.same_as,
        "cost": {
            name: reading_text(reading, name)
            for name, reading in cost_from_json(candidate.cost).items()
        },
        "layers": layers,
    }


def state_counts(candidates: Sequence[Candidate]) -> dict[str, int]:
    """Candidates by state, those states that occur."""
    counts = {state.value: sum(c.state is state for c in candidates) for state in State}
    return {name: number for name, number in counts.items() if number}


def load_baselines(path: str | os.PathLike[str]) -> list[Named]:
    """The baselines in a JSON file: one object or a list of them, each with `name` and `cost`.

    `cost` maps columns to values in SI units, or to readings as in a saved profile; it must have
    `accuracy`, on the run's own validation images, and one column to draw it against. Raises
    `InputError` for anything else.
    """
    name = os.fspath(path)
    try:
        if Path(path).stat().st_size > LARGEST_BASELINE:
            raise InputError(f"{name}: baselines must be at most {LARGEST_BASELINE} bytes")
        data = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{name}: must be a JSON file of baselines: {one_line(error)}") from error
    found = data if isinstance(data, list) else [data]
    if not found:
        raise InputError(f"{name}: must have at least one baseline; found none")
    return [_baseline(entry, f"{name}: baseline {i}") for i, entry in enumerate(found, start=1)]


def _baseline(entry: Any, where: str) -> Named:
    if not isinstance(entry, dict) or not isinstance(entry.get("cost"), dict):
        raise InputError(f"{where} must be an object with name and cost")
    label = entry.get("name", entry.get("model"))
    if not isinstance(label, str) or not label.strip():
        raise InputError(f"{where} must have a name; found {label!r:.40}")
    readings = {
        column: {"value": number, "how": "exact"} if isinstance(number, int | float) else number
        for column, number in entry["cost"].items()
    }
    try:
        cost: dict[str, Reading] = cost_from_json(readings)
    except InputError as error:
        raise InputError(f"{where}: {error}") from error
    if "accuracy" not in cost or not 0 <= cost["accuracy"].value <= 1:
        raise InputError(
            f"{where} must have cost.accuracy, a fraction on the run's validation images"
        )
    if all(COLUMNS[column].learned for column in cost):
        raise InputError(f"{where} must have a column to draw its accuracy against, such as params")
    return Named(name=one_line(label, 80), cost=cost, accuracy=cost["accuracy"].value)
