"""Searches on a real Ray cluster of four nodes, whose workers and nodes die while they train."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import small
import watched

import hwn2n
from hwn2n.errors import InputError, InterruptedRunError, MeasurementError
from hwn2n.run.ledger import Ledger
from hwn2n.run.stop import Stop
from hwn2n.search.executors import RayOptions

ray = pytest.importorskip("ray")
pytestmark = [pytest.mark.ray, pytest.mark.timeout(280)]
ROOT = Path(__file__).parent.parent

CASES: dict[str, dict[str, Any]] = {
    "policies": {"removal__rollouts": 3, "shrinkage__rollouts": 3},
    "evolution": {"strategy": "evolution", "founders": 4, "removal__rollouts": 4},
    "halving": {"removal__rollouts": 4, "train__epochs": 3, "halving_epochs": 1},
}


class Nodes:
    """A head without room for any task, two nodes that train and one that measures."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        self.cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
        self.training = [self.add() for _ in range(2)]
        self.measuring = self.cluster.add_node(num_cpus=2, resources={"calm": 1})
        self.cluster.wait_for_nodes()
        self.address: str = self.cluster.address

    def add(self) -> Any:
        return self.cluster.add_node(num_cpus=1)

    def remove(self, node: Any) -> None:
        self.cluster.remove_node(node, allow_graceful=False)
        self.training = [other for other in self.training if other is not node]

    def options(self, **changes: Any) -> RayOptions:
        return RayOptions(address=self.address, **changes)

    @staticmethod
    def raylet(node: Any) -> int:
        [info] = node.all_processes["raylet"]
        pid: int = info.process.pid
        return pid


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    before = dict(os.environ)
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    os.environ[watched.FOLDER] = str(tmp_path_factory.mktemp("watched"))
    os.environ[watched.PAUSE] = "0.1"
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    made = Nodes()
    yield made
    made.cluster.shutdown()
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(autouse=True)
def no_traces(nodes: Nodes) -> None:
    watched.forget()


def rows(run: Path) -> list[dict[str, Any]]:
    ledger = Ledger(run / "ledger.sqlite")
    found = [candidate.comparable() for candidate in ledger.candidates()]
    ledger.close()
    return found


def search(out: Path, **changes: Any) -> None:
    """A run without final training worth the name, whose trainings ask the watched teacher."""
    how = {"train__augment": "crop", "final__epochs": 1, **changes.pop("how", {})}
    values = {
        "model": watched.watched_teacher(),
        "recipe": small.settings(**how),
        "target": watched.WatchedTarget(),
        **changes,
    }
    small.compress(out, **values)


def during_training(act: Callable[[set[tuple[int, int]]], bool]) -> threading.Thread:
    """Let `act` see the processes that train, again and again until it returns True."""

    def watch() -> None:
        while not act(watched.traced("trained")):
            time.sleep(0.02)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    return thread


@pytest.mark.parametrize("case", CASES)
def test_the_ledger_is_that_of_one_process(nodes: Nodes, tmp_path: Path, case: str) -> None:
    """Trained from the teacher's logits, measured on a node of its own."""
    how = small.settings(**CASES[case])
    small.compress(tmp_path / "here", recipe=how)
    small.compress(tmp_path / "ray", recipe=how, ray=nodes.options())
    assert rows(tmp_path / "ray") == rows(tmp_path / "here")
    assert sum(row["trained_accuracy"] is not None for row in rows(tmp_path / "ray")) > 3


def test_workers_on_this_machine_alone(tmp_path: Path, nodes: Nodes) -> None:
    """--ray local; measured by this process."""
    search(tmp_path / "here")
    watched.forget()
    search(tmp_path / "ray", ray="local")
    assert not ray.is_initialized()
    assert rows(tmp_path / "ray") == rows(tmp_path / "here")
    assert {pid for pid, _ in watched.traced("measured")} == {os.getpid()}
    assert watched.traced("trained") and os.getpid() not in dict(watched.traced("trained"))


def test_measuring_and_training_are_on_nodes_of_their_own(nodes: Nodes, tmp_path: Path) -> None:
    """The target's name is the resource; the node that has it has room to train, but does not."""
    search(tmp_path / "run", ray=nodes.options(), how=CASES["policies"])
    measured = {parent for _, parent in watched.traced("measured")}
    trained = {parent for _, parent in watched.traced("trained")}
    assert measured == {nodes.raylet(nodes.measuring)}
    assert trained and trained <= {nodes.raylet(node) for node in nodes.training}
    assert len(watched.traced("trained")) >= 2, "side by side"


def test_a_run_goes_on_with_another_executor(nodes: Nodes, tmp_path: Path) -> None:
    given = {"model": small.small_teacher(), "data": small.small_data()}
    small.compress(tmp_path / "here")
    stop = Stop()

    class Stopping(small.Silent):
        def stage(self, progress: Any) -> None:
            stop.request()

    with pytest.raises(InterruptedRunError):
        small.compress(tmp_path / "ray", ray=nodes.options(), stop=stop, reporter=Stopping())
    begun = len(rows(tmp_path / "ray"))
    assert 1 <= begun < 9
    hwn2n.resume(tmp_path / "ray", target=small.CalmTarget(), **given)
    assert rows(tmp_path / "ray") == rows(tmp_path / "here")
    config = (tmp_path / "ray" / "config.json").read_text()
    assert nodes.address not in config and "ray_" not in config


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


def test_errors_of_workers_are_their_own(nodes: Nodes, tmp_path: Path) -> None:
    with pytest.raises(MeasurementError) as caught:
        search(tmp_path / "run", ray=nodes.options(), target=watched.FadingTarget())
    text = str(caught.value)
    assert text.startswith("target calm must measure latency_p50 of every candidate, but gave no")
    assert "\n" not in text and type(caught.value) is MeasurementError


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"measure_resource": "jetson"},
            "--ray-measure-resource must be a resource of the cluster, which has calm, but is 'jet",
        ),
        ({"cpus": 3}, "must have room for a training, but no node without resource calm has 3 CPU"),
        ({"gpus": 0.5}, "no node without resource calm has 1 CPU and 0.5 GPU"),
    ],
)
def test_what_the_cluster_does_not_have(
    nodes: Nodes, tmp_path: Path, given: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        search(tmp_path / "run", ray=nodes.options(**given))
    assert not (tmp_path / "run").exists() and not ray.is_initialized()


def test_two_measurements_at_a_time_are_refused(nodes: Nodes, tmp_path: Path) -> None:
    node = nodes.cluster.add_node(num_cpus=0, resources={"pair": 2})
    try:
        with pytest.raises(InputError, match=r"must have resource pair with quantity 1, .* has 2"):
            search(tmp_path / "run", ray=nodes.options(measure_resource="pair"))
    finally:
        nodes.cluster.remove_node(node)


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


def test_no_cluster_at_the_address(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"--ray 127\.0\.0\.1:9 must be a Ray cluster that can be"):
        search(tmp_path / "run", ray="127.0.0.1:9")
    assert not (tmp_path / "run").exists()
