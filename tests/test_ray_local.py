"""One short search on workers of this machine, which needs Ray; more of it are in test_ray.py."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import cli_tools
import pytest
import small
import watched
from ray_nodes import rows

import hwn2n
from hwn2n.errors import InterruptedRunError
from hwn2n.run.stop import Stop

ray = pytest.importorskip("ray")
pytestmark = pytest.mark.timeout(900)  # of seconds where nothing else runs

HOW = small.settings(
    anchor=False,
    removal__updates=2,
    removal__rollouts=3,
    shrinkage__updates=0,
    train__augment="crop",
    final__epochs=1,
)


class Stopping(small.Silent):
    """Asks to stop after the first update."""

    def __init__(self, stop: Stop) -> None:
        self.stop = stop
        self.messages: list[str] = []

    def message(self, text: str) -> None:
        self.messages.append(text)

    def stage(self, progress: Any) -> None:
        if progress.candidates == 3:
            self.stop.request()


def test_begun_on_ray_and_ended_in_this_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ledger is that of one process; this one measures and the workers train."""
    monkeypatch.setenv(watched.FOLDER, str(tmp_path / "traces"))
    (tmp_path / "traces").mkdir()
    given = {"model": watched.watched_teacher(), "target": watched.WatchedTarget()}
    small.compress(tmp_path / "here", recipe=HOW, **given)
    watched.forget()
    stop = Stop()
    reporter = Stopping(stop)
    before = os.environ.get("PYTHONPATH")
    with pytest.raises(InterruptedRunError):
        small.compress(
            tmp_path / "ray", recipe=HOW, ray="local", stop=stop, reporter=reporter, **given
        )
    assert not ray.is_initialized() and os.environ.get("PYTHONPATH") == before
    assert {pid for pid, _ in watched.traced("measured")} == {os.getpid()}
    trained = {pid for pid, _ in watched.traced("trained")}
    assert trained and os.getpid() not in trained
    [said] = [text for text in reporter.messages if text.startswith("Ray: ")]
    assert said.startswith("Ray: room for ") and "measuring in this process before them" in said
    begun = rows(tmp_path / "ray")
    assert len(begun) == 3 and any(row["trained_accuracy"] is not None for row in begun)
    hwn2n.resume(tmp_path / "ray", data=small.small_data(), **given)
    assert rows(tmp_path / "ray") == rows(tmp_path / "here")
    assert len(rows(tmp_path / "ray")) == 6


def test_no_cluster_at_the_address(digits_teacher: Path, tmp_path: Path) -> None:
    """One line, at once, and nothing is left."""
    done = cli_tools.hwn2n(
        "compress", digits_teacher, "--data", "digits", "--out", tmp_path / "run",
        "--ray", "127.0.0.1:9",
    )  # fmt: skip
    assert done.code == 2 and done.err.count("\n") == 1
    assert (
        "--ray 127.0.0.1:9 must be a Ray cluster that can be reached from here, but: " in done.err
    )
    assert not (tmp_path / "run").exists()
