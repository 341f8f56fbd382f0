"""Searches on a real Ray cluster: the ledger, who works where, and what is refused."""

from __future__ import annotations

import os
import sys
import types
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import small
import watched
from ray_nodes import CASES, Nodes, rows, search

import hwn2n
from hwn2n.errors import InputError, InterruptedRunError, MeasurementError
from hwn2n.run.stop import Stop

ray = pytest.importorskip("ray")
pytestmark = [pytest.mark.ray, pytest.mark.timeout(1200)]

PARAMS = small.budget_text("{metric: params, max: 40%}")


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


class Elsewhere(small.CalmTarget):
    """A board that this machine is not."""

    @property
    def name(self) -> str:
        return "some-board"

    def unavailable(self, columns: Iterable[str]) -> dict[str, str]:
        return {name: "this is no board" for name in columns if name.startswith("latency")}


def test_a_target_that_is_neither_on_a_node_nor_here(nodes: Nodes, tmp_path: Path) -> None:
    budget = small.budget_text("{metric: latency, stat: p50, max: 90%}")
    message = (
        r"^a node of the cluster, which has calm, must have resource some-board to measure the "
        r"budget's latency_p50, which cannot be measured here: this is no board$"
    )
    with pytest.raises(InputError, match=message):
        search(tmp_path / "run", ray=nodes.options(), target=Elsewhere(), budget=budget)
    assert not (tmp_path / "run").exists()


def test_a_teacher_that_workers_cannot_import(nodes: Nodes, tmp_path: Path) -> None:
    """It stands in a module that is nowhere but in this process."""
    hidden = types.ModuleType("nowhere_else")

    class Net(small.SmallNet):
        __module__ = "nowhere_else"
        __qualname__ = "Net"

    hidden.Net = Net  # type: ignore[attr-defined]
    net = Net()
    net.load_state_dict(small.small_teacher().model.state_dict())
    sys.modules["nowhere_else"] = hidden
    try:
        with pytest.raises(InputError) as caught:
            teacher = small.small_teacher(model=net.eval())
            search(tmp_path / "run", ray=nodes.options(), model=teacher, budget=PARAMS)
    finally:
        del sys.modules["nowhere_else"]
    text = str(caught.value)
    assert text.startswith("each node of the Ray cluster must be able to load what the driver ")
    assert text.endswith("No module named 'nowhere_else'") and "\n" not in text
