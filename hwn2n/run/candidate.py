"""A candidate: one decision and everything learned about it, as a row of the ledger."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields
from enum import Enum
from typing import Any

_AS_JSON = frozenset({"actions", "decision", "cost", "teacher", "terms", "seconds"})


class State(Enum):
    """What became of a candidate."""

    TRAINED = "trained"
    """Built, measured, trained and scored."""

    REUSED = "reused"
    """The same network as an earlier candidate, whose accuracy it shares."""

    STOPPED = "stopped"
    """Trained for a part of the epochs, until others of its update were better; its accuracy is
    an estimate (search/halving.py)."""

    SKIPPED = "skipped"
    """Built and measured; its reward could not depend on its accuracy, so it was not trained."""

    ILLEGAL = "illegal"
    """No network, or a degenerate one; the reason is in the row."""


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One row. `cost` is the JSON form of a cost; `seconds` maps phases to seconds.

    `teacher` are the teacher's readings taken beside it, in the same form: limits that are shares
    of them hold for this candidate. Empty where no limit is.

    `accuracy` is the mean over all trainings of this network so far, `trained_accuracy` that of
    its own, if it had one. `terms` are the reward's terms (`search.reward.RewardTerms`); `same_as`
    is the id of the candidate whose training a reused one shares.
    """

    stage: str
    iteration: int
    rollout: int
    state: State
    key: str | None
    actions: tuple[int, ...]
    decision: dict[str, Any]
    cost: dict[str, Any]
    accuracy: float | None
    reward: float
    terms: dict[str, Any]
    satisfied: bool
    reason: str | None = None
    same_as: int | None = None
    trained_accuracy: float | None = None
    teacher: dict[str, Any] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    id: int | None = None

    @property
    def expected(self) -> float:
        """What it is compared by where accuracy counts: the accuracy, or what the reward made of it
        (`search.reward.expected_accuracy`). 0 for one without an accuracy."""
        value = self.terms.get("expected", self.accuracy)
        return 0.0 if value is None else float(value)

    def comparable(self) -> dict[str, Any]:
        """The row without what two runs of the same search may differ in: the clock."""
        row = dict(vars(self))
        row.pop("seconds")
        row["state"] = self.state.value
        return row

    def to_row(self) -> list[Any]:
        """The fields in their order, as SQLite takes them."""
        row = {**vars(self), "state": self.state.value, "satisfied": int(self.satisfied)}
        row |= {name: json.dumps(row[name]) for name in _AS_JSON}
        return [row[entry.name] for entry in fields(self)]

    @classmethod
    def from_row(cls, row: Sequence[Any]) -> Candidate:
        """The inverse of `to_row`; ValueError or TypeError for a damaged row."""
        values = dict(zip((entry.name for entry in fields(cls)), row, strict=True))
        values |= {name: json.loads(values[name]) for name in _AS_JSON}
        values["actions"] = tuple(values["actions"])
        values["state"] = State(values["state"])
        values["satisfied"] = bool(values["satisfied"])
        return cls(**values)


def latest(candidates: Iterable[Candidate]) -> list[Candidate]:
    """Of each network the last candidate, whose accuracy is the mean of all its trainings; those
    networks first that came first. One without a key is a network of its own."""
    return list({candidate.key or candidate.id: candidate for candidate in candidates}.values())
