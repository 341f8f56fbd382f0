"""Searches on a real Ray cluster whose workers and nodes die while they train, and Ctrl-C."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import watched
from ray_nodes import CASES, Nodes, rows, search

pytest.importorskip("ray")
pytestmark = [pytest.mark.ray, pytest.mark.timeout(1200)]


def during_training(act: Callable[[set[tuple[int, int]]], bool]) -> threading.Thread:
    """Let `act` see the processes that train, again and again until it returns True."""

    def watch() -> None:
        while not act(watched.traced("trained")):
            time.sleep(0.02)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    return thread


@pytest.mark.parametrize("case", ["policies", "halving"])
def test_workers_that_are_killed_lose_no_candidate(nodes: Nodes, tmp_path: Path, case: str) -> None:
    search(tmp_path / "here", how=CASES[case])
    watched.forget()
    killed: set[int] = set()

    def kill(training: set[tuple[int, int]]) -> bool:
        for pid, _ in training:
            if pid not in killed and len(killed) < 3:
                os.kill(pid, signal.SIGKILL)
                killed.add(pid)
        return len(killed) == 3

    killer = during_training(kill)
    search(tmp_path / "ray", ray=nodes.options(), how=CASES[case])
    killer.join(1.0)
    assert len(killed) == 3 and os.getpid() not in killed
    assert rows(tmp_path / "ray") == rows(tmp_path / "here")


@pytest.mark.parametrize("case", ["policies", "halving"])
def test_a_node_that_is_lost_loses_no_candidate(nodes: Nodes, tmp_path: Path, case: str) -> None:
    search(tmp_path / "here", how=CASES[case])
    watched.forget()
    victim = nodes.training[0]
    raylet = nodes.raylet(victim)
    lost: list[int] = []

    def remove(training: set[tuple[int, int]]) -> bool:
        if any(parent == raylet for _, parent in training):
            nodes.remove(victim)
            lost.append(raylet)
        return bool(lost)

    remover = during_training(remove)
    try:
        search(tmp_path / "ray", ray=nodes.options(), how=CASES[case])
        remover.join(10.0)
        assert lost == [raylet]
        assert rows(tmp_path / "ray") == rows(tmp_path / "here")
    finally:
        nodes.training.append(nodes.add())
        nodes.cluster.wait_for_nodes()


@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_keeps_what_is_finished_and_leaves_nobody(tmp_path: Path, times: int) -> None:
    """As a terminal sends it, to all processes of its group."""
    run, traces = tmp_path / "run", tmp_path / "traces"
    traces.mkdir()
    marked = f"{watched.FOLDER}={traces}"
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", str(Path(__file__).parent / "ray_run.py"), str(run)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=os.environ | {watched.FOLDER: str(traces), watched.PAUSE: "0.1"},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "1\n"
    for _ in range(times):
        os.killpg(process.pid, signal.SIGINT)
        time.sleep(0.3)
    _, err = process.communicate(timeout=100)
    assert process.returncode == 130, err
    assert err == f"interrupted; go on with: hwn2n compress --resume {run}\n"
    found = rows(run)
    assert 1 <= len(found) <= 8 and [row["id"] for row in found] == [*range(1, len(found) + 1)]
    deadline = time.monotonic() + 30
    while left := processes_with(marked):
        assert time.monotonic() < deadline, left
        time.sleep(0.2)


def processes_with(marked: str) -> list[int]:
    """The processes in whose environment something stands."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if marked.encode() in path.read_bytes().split(b"\0"):
                found.append(int(path.parent.name))
    return found
