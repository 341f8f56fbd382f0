"""The ledger: what goes in comes out, one row for each place, and others may read meanwhile."""

from __future__ import annotations

import sqlite3
import time
from dataclasses import replace
from pathlib import Path

import pytest

from hwn2n.errors import InputError
from hwn2n.run.candidate import Candidate, State
from hwn2n.run.clock import Clock
from hwn2n.run.ledger import SCHEMA_VERSION, Ledger


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "ledger.sqlite")


def candidate(iteration: int = 0, rollout: int = 0, **changes: object) -> Candidate:
    values = {
        "stage": "removal",
        "iteration": iteration,
        "rollout": rollout,
        "state": State.TRAINED,
        "key": f"key{iteration}{rollout}",
        "actions": (1, 0, 1),
        "decision": {"removed": ["a"], "widths": {"b": 3}, "kernels": {"c": [3, 3]}},
        "cost": {"params": {"value": 12, "how": "exact"}},
        "accuracy": 0.5,
        "reward": 0.25,
        "terms": {"base": 0.25, "epsilon": 0.0},
        "satisfied": True,
        "seconds": {"train": 0.125},
        **changes,
    }
    return Candidate(**values)  # type: ignore[arg-type]


def test_rows_come_back_as_they_were(ledger: Ledger) -> None:
    rows = [
        candidate(),
        candidate(
            0,
            1,
            state=State.ILLEGAL,
            key=None,
            accuracy=None,
            satisfied=False,
            reason="a 'quoted' reason; --",
            cost={},
        ),
        candidate(1, 0, state=State.REUSED, same_as=1, stage="shrinkage", reward=1 / 3),
    ]
    written = [ledger.add(row) for row in rows]
    assert [row.id for row in written] == [1, 2, 3]
    assert ledger.candidates() == written == [replace(r, id=i) for i, r in enumerate(rows, 1)]
    assert ledger.candidates("shrinkage") == written[2:]
    assert ledger.find("removal", 0, 1) == written[1]
    assert ledger.find("removal", 1, 0) is None
    assert "seconds" not in written[0].comparable()
    assert written[0].comparable()["state"] == "trained"


def test_one_row_for_each_place(ledger: Ledger) -> None:
    ledger.add(candidate())
    with pytest.raises(InputError, match="only one process may work on a run"):
        ledger.add(candidate(reward=0.9))
    assert [row.reward for row in ledger.candidates()] == [0.25]


def test_trained_is_the_first_that_was_trained(ledger: Ledger) -> None:
    ledger.add(candidate(0, 0, key="k", state=State.ILLEGAL, accuracy=None))
    first = ledger.add(candidate(0, 1, key="k"))
    ledger.add(candidate(0, 2, key="k", state=State.REUSED, same_as=2))
    ledger.add(candidate(0, 3, key="k"))
    assert ledger.trainings("k")[0] == first
    assert ledger.trainings("other") == []


def test_best_by_reward_then_age_each_network_once(ledger: Ledger) -> None:
    rewards = {"a": 0.5, "b": 0.7, "c": 0.7, "d": 0.9, "e": 0.95}
    for i, (key, reward) in enumerate(rewards.items()):
        ledger.add(candidate(0, i, key=key, reward=reward, satisfied=key != "d"))
    ledger.add(candidate(1, 0, key="b", reward=0.7, state=State.REUSED, same_as=2))
    ledger.add(candidate(1, 1, key="f", reward=0.99, accuracy=None, state=State.SKIPPED))
    assert [(row.key, row.id) for row in ledger.best()] == [("e", 5), ("b", 2), ("c", 3), ("a", 1)]


def test_a_network_trained_several_times_is_ranked_by_its_mean(ledger: Ledger) -> None:
    """Each training's row has the mean so far: the first may be the luckiest."""
    for i, (key, reward) in enumerate([("lucky", 0.95), ("steady", 0.8), ("lucky", 0.7)]):
        ledger.add(candidate(0, i, key=key, reward=reward))
    ledger.add(candidate(1, 0, key="lucky", reward=0.7, state=State.REUSED, same_as=1))
    assert [(row.key, row.id) for row in ledger.best()] == [("steady", 2), ("lucky", 3)]
    best = ledger.standing("removal", 0).best
    assert best is not None and best.key == "steady"


def test_what_is_written_together_is_there_all_or_not_at_all(ledger: Ledger) -> None:
    with pytest.raises(KeyboardInterrupt), ledger.together():
        ledger.add(candidate(0, 0))
        raise KeyboardInterrupt
    assert ledger.candidates() == []
    with ledger.together():
        ledger.add(candidate(0, 0))
        ledger.add(candidate(0, 1))
    assert len(ledger.candidates()) == 2


def test_a_full_disk_is_named_where_rows_are_written_together(ledger: Ledger) -> None:
    """SQLite has then rolled back by itself."""
    [pages] = ledger._rows("PRAGMA page_count")[0]
    ledger._rows(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(InputError, match="full"), ledger.together():
        for i in range(1000):
            ledger.add(candidate(0, i))
    assert ledger.candidates() == []


def test_standing(ledger: Ledger) -> None:
    ledger.add(candidate(0, 0, reward=-1.0, satisfied=False, accuracy=None))
    standing = ledger.standing("removal", 0)
    assert (standing.best, standing.reward, standing.inside) == (None, -1.0, 0.0)
    best = ledger.add(candidate(0, 0, stage="anchor", reward=0.75))
    ledger.add(candidate(1, 0, reward=0.5))
    ledger.add(candidate(1, 1, reward=0.25))
    standing = ledger.standing("removal", 1)
    assert (standing.best, standing.reward) == (best, 0.375)
    assert standing.inside == pytest.approx(2 / 3)


def test_updates_may_be_repeated(ledger: Ledger) -> None:
    ledger.add_update("removal", 1, {"loss": 0.5})
    ledger.add_update("removal", 0, {"loss": 0.25})
    ledger.add_update("removal", 1, {"loss": 0.75})
    assert ledger.updates("removal") == [
        {"iteration": 0, "loss": 0.25},
        {"iteration": 1, "loss": 0.75},
    ]
    assert ledger.updates("shrinkage") == []


def test_seconds_add_up_over_processes(tmp_path: Path) -> None:
    for _ in range(2):
        ledger = Ledger(tmp_path / "ledger.sqlite")
        ledger.add_seconds("search", 0.5)
        clock = Clock(ledger)
        time.sleep(0.02)
        clock.lap("final_training")
        clock.lap("search")
        ledger.close()
    ledger = Ledger(tmp_path / "ledger.sqlite")
    seconds = ledger.seconds()
    ledger.close()
    assert 1.0 < seconds["search"] < 1.5
    assert 0.04 <= seconds["final_training"] < 1.0


def test_others_read_while_it_is_written(ledger: Ledger) -> None:
    ledger.add(candidate())
    reader = Ledger(ledger.path)
    foreign = sqlite3.connect(f"file:{ledger.path}?mode=ro", uri=True)
    for i in range(1, 4):
        ledger.add(candidate(i))
        assert len(reader.candidates()) == i + 1
        assert foreign.execute("SELECT COUNT(*) FROM candidates").fetchone() == (i + 1,)
    foreign.close()
    reader.close()


def test_a_transaction_that_was_not_committed_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    ledger = Ledger(path)
    ledger.add(candidate())
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN")
    other.execute("DELETE FROM candidates")
    assert len(ledger.candidates()) == 1
    other.close()
    ledger.close()
    again = Ledger(path)
    assert len(again.candidates()) == 1
    assert again.add(candidate(1)).id == 2
    again.close()


def test_of_another_version(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    other = sqlite3.connect(path)
    other.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    other.close()
    with pytest.raises(InputError, match=f"must have version {SCHEMA_VERSION}, but has"):
        Ledger(path)


@pytest.mark.parametrize("content", [b"no database at all, not even nearly" * 40, b"SQLite format"])
def test_no_ledger(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "ledger.sqlite"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"ledger\.sqlite: must be a ledger that can be written"):
        Ledger(path)
    with pytest.raises(InputError, match="must be a ledger that can be written"):
        Ledger(tmp_path / "no folder" / "ledger.sqlite")


def test_damaged_rows_and_pages(ledger: Ledger) -> None:
    ledger.add(candidate())
    ledger._db.execute("UPDATE candidates SET state = 'lost'")
    with pytest.raises(
        InputError, match=r"damaged row in the ledger .*'lost' is not a valid State"
    ):
        ledger.candidates()
    ledger._db.execute("UPDATE candidates SET state = 'trained', cost = '{'")
    with pytest.raises(InputError, match="damaged row in the ledger"):
        ledger.find("removal", 0, 0)
    ledger._db.execute("DROP TABLE candidates")
    with pytest.raises(InputError, match="must be a ledger that can be written: no such table"):
        ledger.candidates()


def test_closed_when_it_cannot_be_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[sqlite3.Connection] = []
    connect = sqlite3.connect

    def spied(*arguments: object, **options: object) -> sqlite3.Connection:
        opened.append(connect(*arguments, **options))  # type: ignore[call-overload]
        return opened[-1]

    monkeypatch.setattr(sqlite3, "connect", spied)
    (tmp_path / "ledger.sqlite").write_bytes(b"x" * 5000)
    with pytest.raises(InputError):
        Ledger(tmp_path / "ledger.sqlite")
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        opened[0].execute("SELECT 1")
