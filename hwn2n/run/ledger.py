"""The ledger of a run: every candidate, what was decided, what it cost, what came of it.

SQLite in write-ahead mode: one transaction for each candidate, so that `kill -9` at any moment
loses at most the candidate in hand, and others may read while a run goes on. Those that are halved
together, whose accuracies depend on each other, are one transaction. Two processes cannot write one
run: the second finds the place of its candidate taken.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from hwn2n.errors import InputError
from hwn2n.run.candidate import Candidate, State

SCHEMA_VERSION = 2

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
    trained_accuracy REAL,
    teacher TEXT NOT NULL,
    seconds TEXT NOT NULL,
    UNIQUE (stage, iteration, rollout)
);
CREATE INDEX IF NOT EXISTS candidates_by_key ON candidates (key);
CREATE INDEX IF NOT EXISTS candidates_by_reward ON candidates (reward DESC, id);
CREATE INDEX IF NOT EXISTS candidates_by_stage ON candidates (stage, iteration, reward, satisfied);
CREATE TABLE IF NOT EXISTS updates (
    stage TEXT NOT NULL,
    iteration INTEGER NOT NULL,
    report TEXT NOT NULL,
    PRIMARY KEY (stage, iteration)
);
CREATE TABLE IF NOT EXISTS clock (
    phase TEXT PRIMARY KEY,
    seconds REAL NOT NULL
);
"""

_KNOWN = (
    f"accuracy IS NOT NULL AND satisfied AND state != '{State.STOPPED.value}' AND NOT EXISTS ("
    "SELECT 1 FROM candidates AS later WHERE later.key = candidates.key "
    f"AND later.state = '{State.TRAINED.value}' AND later.id > candidates.id)"
)
"""Candidates inside the budget whose accuracy is no estimate, and the mean of all trainings of
their network: not the lucky first ones, where one is trained several times (`Settings.repeats`)."""

_COLUMNS = ", ".join(field.name for field in fields(Candidate))


@dataclass(frozen=True, kw_only=True)
class Standing:
    """Where a search stands: `best` is the best candidate inside the budget so far, of all
    stages; `reward` the mean of one iteration, `inside` the share of a stage inside the budget.
    """

    best: Candidate | None
    reward: float
    inside: float


def _connect(name: str, **how: Any) -> sqlite3.Connection:
    return sqlite3.connect(name, isolation_level=None, timeout=30, **how)


def _opened(path: Path) -> sqlite3.Connection:
    """To read, maybe in a folder where nobody can write. SQLite would put files there even so,
    unless it is told that nothing changes; and without a log nothing does."""
    changes = path.with_name(f"{path.name}-wal").exists()
    how = "mode=ro" if changes else "immutable=1"
    return _connect(f"{path.absolute().as_uri()}?{how}", uri=True)


class Ledger:
    """The candidates and policy updates of one run, and the seconds that it took.

    All methods raise `InputError` where the file is damaged, or another process wrote the row.
    """

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        """`read_only` changes nothing in the folder, which may be one that cannot be written."""
        self.path = path
        try:
            self._db = _opened(path) if read_only else _connect(str(path))
        except sqlite3.Error as error:
            raise self._error(error) from error
        try:
            [(version,)] = self._rows("PRAGMA user_version")
            if version not in (0, SCHEMA_VERSION):
                raise InputError(
                    f"{path}: the ledger must have version {SCHEMA_VERSION}, but has {version}"
                )
            if read_only:
                return
            self._rows("PRAGMA journal_mode = WAL")
            self._rows("PRAGMA synchronous = FULL")
            for statement in _SCHEMA.split(";"):
                self._rows(statement)
            if version != SCHEMA_VERSION:
                self._rows(f"PRAGMA user_version = {SCHEMA_VERSION}")
        except BaseException:
            self._db.close()
            raise

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()

    def add(self, candidate: Candidate) -> Candidate:
        """Write one candidate; returns it with its id."""
        row = candidate.to_row()
        marks = ", ".join("?" * len(row))
        written = self._execute(f"INSERT INTO candidates ({_COLUMNS}) VALUES ({marks})", *row)
        return replace(candidate, id=written.lastrowid)

    @contextmanager
    def together(self) -> Iterator[None]:
        """What is written within is written all or not at all."""
        self._rows("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            if self._db.in_transaction:  # not after a full disk
                self._rows("ROLLBACK")
            raise
        self._rows("COMMIT")

    def find(self, stage: str, iteration: int, rollout: int) -> Candidate | None:
        """The candidate at this place of the search, if it was evaluated already."""
        where = "stage = ? AND iteration = ? AND rollout = ?"
        return next(iter(self._select(where, stage, iteration, rollout)), None)

    def trainings(self, key: str) -> list[Candidate]:
        """The candidates that trained this very network, the first one first."""
        return self._select("key = ? AND state = ? ORDER BY id", key, State.TRAINED.value)

    def newest(self, key: str) -> Candidate | None:
        """The last candidate that was this very network, whatever became of it."""
        return next(iter(self._select("key = ? ORDER BY id DESC LIMIT 1", key)), None)

    def candidates(self, stage: str | None = None) -> list[Candidate]:
        """All candidates (of a stage), in the order in which they were evaluated."""
        if stage is None:
            return self._select("1 ORDER BY id")
        return self._select("stage = ? ORDER BY id", stage)

    def best(self) -> list[Candidate]:
        """Trained or reused candidates inside the budget by falling reward, the earlier first.

        Of those with the same key, which are the same network, only the first.
        """
        first: dict[str | None, Candidate] = {}
        for row in self._select(f"{_KNOWN} ORDER BY reward DESC, id"):
            first.setdefault(row.key, row)
        return list(first.values())

    def standing(self, stage: str, iteration: int) -> Standing:
        """Where the search stands in an iteration of a stage, once a candidate of it is there."""
        best = self._select(f"{_KNOWN} ORDER BY reward DESC, id LIMIT 1")
        [(reward, inside)] = self._rows(
            "SELECT AVG(CASE WHEN iteration = ? THEN reward END), AVG(satisfied) "
            "FROM candidates WHERE stage = ?",
            iteration,
            stage,
        )
        return Standing(best=next(iter(best), None), reward=reward, inside=inside)

    def add_update(self, stage: str, iteration: int, report: Mapping[str, Any]) -> None:
        """Note what one policy update reported (again, after a resume that repeats it)."""
        self._rows(
            "INSERT OR REPLACE INTO updates (stage, iteration, report) VALUES (?, ?, ?)",
            stage,
            iteration,
            json.dumps(dict(report)),
        )

    def updates(self, stage: str) -> list[dict[str, Any]]:
        """The reports of a stage's updates, in order."""
        rows = self._rows(
            "SELECT iteration, report FROM updates WHERE stage = ? ORDER BY iteration", stage
        )
        return [{"iteration": iteration, **json.loads(report)} for iteration, report in rows]

    def add_seconds(self, phase: str, seconds: float) -> None:
        """Add to what a phase took, over all processes that work on the run."""
        self._rows(
            "INSERT INTO clock (phase, seconds) VALUES (?, ?) "
            "ON CONFLICT (phase) DO UPDATE SET seconds = seconds + excluded.seconds",
            phase,
            seconds,
        )

    def seconds(self) -> dict[str, float]:
        """Seconds by phase."""
        return dict(self._rows("SELECT phase, seconds FROM clock ORDER BY phase"))

    def _select(self, where: str, *values: Any) -> list[Candidate]:
        rows = self._rows(f"SELECT {_COLUMNS} FROM candidates WHERE {where}", *values)
        try:
            return [Candidate.from_row(row) for row in rows]
        except (ValueError, TypeError) as error:
            raise InputError(f"{self.path}: damaged row in the ledger ({error!r})") from error

    def _rows(self, statement: str, *values: Any) -> list[Any]:
        return self._execute(statement, *values).fetchall()

    def _execute(self, statement: str, *values: Any) -> sqlite3.Cursor:
        try:
            return self._db.execute(statement, values)
        except sqlite3.IntegrityError as error:
            raise InputError(
                f"{self.path}: only one process may work on a run, but another one does ({error})"
            ) from error
        except sqlite3.Error as error:
            raise self._error(error) from error

    def _error(self, error: sqlite3.Error) -> InputError:
        return InputError(f"{self.path}: must be a ledger that can be written: {error}")
