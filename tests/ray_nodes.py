"""A real Ray cluster of four nodes on this machine, and searches that leave traces on it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import small
import watched

from hwn2n.run.ledger import Ledger
from hwn2n.search.executors import RayOptions

ROOT = Path(__file__).parent.parent

# Ray turns token authentication on for local clusters, and a process has one way to authenticate:
# after a local cluster this one could no longer talk to the cluster of several nodes.
os.environ.setdefault("RAY_AUTH_MODE", "disabled")

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


def running(traces: Path) -> Iterator[Nodes]:
    """The nodes; their processes find the tests' modules, and leave traces in a folder."""
    before = dict(os.environ)
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    os.environ[watched.FOLDER] = str(traces)
    os.environ[watched.PAUSE] = "0.1"
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    # Ray reads it in this case. Niced, workers starve where much else is done.
    os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112
    made = Nodes()
    try:
        yield made
    finally:
        made.cluster.shutdown()
        os.environ.clear()
        os.environ.update(before)


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
