"""The ledger of a run: every candidate, what was decided, what it cost, what came of it.

SQLite in write-ahead mode: one transaction for each candidate, so that `kill -9` at any moment
loses at most the candidate in hand, and others may read while a run goes on.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

from hwn2n.errors import InputError

SCHEMA_VERSION = 1

_SCHEMA = """
CREATE TABLE IF NOT EXISTS candidates (
    id INTEGER PRIMARY KEY,
    stage TEXT NOT NULL,
    iteration INTEGER NOT NULL,
    rollout INTEGER NOT NULL,
    state TEXT NOT NULL,
    key TEXT,
    actions TEXT NOT NULL,
    decision TEXT NOT NULL,
    cost TEXT NOT NULL,
    accuracy REAL,
    reward REAL NOT NULL,
    terms TEXT NOT NULL,
    satisfied INTEGER NOT NULL,
    reason TEXT,
    same_as INTEGER REFERENCES candidates (id),
    seconds TEXT NOT NULL,
    UNIQUE (stage, iteration, rollout)
);
CREATE INDEX IF NOT EXISTS candidates_by_key ON candidates (key);
CREATE TABLE IF NOT EXISTS updates (
    stage TEXT NOT NULL,
    iteration INTEGER NOT NULL,
    report TEXT NOT NULL,
    PRIMARY KEY (stage, iteration)
);
"""


class State(Enum):
    """What became of a candidate."""

    TRAINED = "trained"
    """Built, measured, trained and scored."""

    REUSED = "reused"
    """The same network as an earlier candidate, whose accuracy it shares."""

    SKIPPED = "skipped"
    """Built and measured; its reward could not depend on its accuracy, so it was not trained."""

    ILLEGAL = "illegal"
    """No network, or a degenerate one; the reason is in the row."""


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One row. `cost` is the JSON form of a cost; `seconds` maps phases to seconds.

    `terms` are the reward's terms (`search.reward.RewardTerms`); `same_as` is the id of the
    candidate whose training a reused one shares.
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
    seconds: dict[str, float] = field(default_factory=dict)
    id: int | None = None

    def comparable(self) -> dict[str, Any]:
        """The row without what two runs of the same search may differ in: the clock."""
        row = dict(vars(self))
        row.pop("seconds")
        row["state"] = self.state.value
        return row


class Ledger:
    """The candidates and policy updates of one run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._db = sqlite3.connect(path, isolation_level=None, timeout=30)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
            (version,) = self._db.execute("PRAGMA user_version").fetchone()
            if version not in (0, SCHEMA_VERSION):
                raise InputError(
                    f"{path}: the ledger must have version {SCHEMA_VERSION}, but has {version}"
                )
            self._db.executescript(_SCHEMA)
            self._db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        except sqlite3.Error as error:
            raise InputError(f"{path}: must be a ledger that can be written: {error}") from error

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()

    def add(self, candidate: Candidate) -> Candidate:
        """Write one candidate; returns it with its id."""
        cursor = self._db.execute(
            "INSERT INTO candidates (stage, iteration, rollout, state, key, actions, decision, "
            "cost, accuracy, reward, terms, satisfied, reason, same_as, seconds) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                candidate.stage,
                candidate.iteration,
                candidate.rollout,
                candidate.state.value,
                candidate.key,
                json.dumps(candidate.actions),
                json.dumps(candidate.decision),
                json.dumps(candidate.cost),
                candidate.accuracy,
                candidate.reward,
                json.dumps(candidate.terms),
                int(candidate.satisfied),
                candidate.reason,
                candidate.same_as,
                json.dumps(candidate.seconds),
            ),
        )
        return _with_id(candidate, cursor.lastrowid)

    def find(self, stage: str, iteration: int, rollout: int) -> Candidate | None:
        """The candidate at this place of the search, if it was evaluated already."""
        where = "stage = ? AND iteration = ? AND rollout = ?"
        return next(self._select(where, (stage, iteration, rollout)), None)

    def trained(self, key: str) -> Candidate | None:
        """The candidate that trained this very network first."""
        where = "key = ? AND state = ? ORDER BY id LIMIT 1"
        return next(self._select(where, (key, State.TRAINED.value)), None)

    def candidates(self, stage: str | None = None) -> list[Candidate]:
        """All candidates (of a stage), in the order in which they were evaluated."""
        if stage is None:
            return list(self._select("1 ORDER BY id", ()))
        return list(self._select("stage = ? ORDER BY id", (stage,)))

    def best(self, *, stage: str | None = None, satisfied: bool = True) -> list[Candidate]:
        """Trained or reused candidates by falling reward, the earlier first; one for each key."""
        seen: set[str | None] = set()
        found = []
        rows = [c for c in self.candidates(stage) if c.accuracy is not None]
        for row in sorted(rows, key=lambda c: (-c.reward, c.id)):
            if row.key not in seen and (row.satisfied or not satisfied):
                seen.add(row.key)
                found.append(row)
        return found

    def add_update(self, stage: str, iteration: int, report: Mapping[str, Any]) -> None:
        """Note what one policy update reported (again, after a resume that repeats it)."""
        self._db.execute(
            "INSERT OR REPLACE INTO updates (stage, iteration, report) VALUES (?, ?, ?)",
            (stage, iteration, json.dumps(dict(report))),
        )

    def updates(self, stage: str) -> list[dict[str, Any]]:
        """The reports of a stage's updates, in order."""
        rows = self._db.execute(
            "SELECT iteration, report FROM updates WHERE stage = ? ORDER BY iteration", (stage,)
        )
        return [{"iteration": iteration, **json.loads(report)} for iteration, report in rows]

    def _select(self, where: str, values: tuple[Any, ...]) -> Iterator[Candidate]:
        rows = self._db.execute(
            "SELECT id, stage, iteration, rollout, state, key, actions, decision, cost, accuracy, "
            f"reward, terms, satisfied, reason, same_as, seconds FROM candidates WHERE {where}",
            values,
        ).fetchall()
        for row in rows:
            yield Candidate(
                id=row[0],
                stage=row[1],
                iteration=row[2],
                rollout=row[3],
                state=State(row[4]),
                key=row[5],
                actions=tuple(json.loads(row[6])),
                decision=json.loads(row[7]),
                cost=json.loads(row[8]),
                accuracy=row[9],
                reward=row[10],
                terms=json.loads(row[11]),
                satisfied=bool(row[12]),
                reason=row[13],
                same_as=row[14],
                seconds=json.loads(row[15]),
            )


def _with_id(candidate: Candidate, identifier: int | None) -> Candidate:
    return Candidate(**{**vars(candidate), "id": identifier})
