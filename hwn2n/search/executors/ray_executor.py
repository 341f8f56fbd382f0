"""Candidates side by side on the nodes of a Ray cluster."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from hwn2n.errors import InputError
from hwn2n.search.executors import ray_worker
from hwn2n.search.executors.kit import Kit, PackedTarget
from hwn2n.search.executors.ray_cluster import RayCluster
from hwn2n.search.executors.ray_target import RayTarget
from hwn2n.search.executors.side_by_side import SideBySide, Ticket, Workers
from hwn2n.search.workshop import Outcome, Task, Workshop


class RayExecutor(SideBySide):
    """Trains on all nodes but those that measure, which measure and do nothing else."""

    def __init__(self, workshop: Workshop, cluster: RayCluster) -> None:
        super().__init__(workshop, RayWorkers(workshop, cluster))


class RayWorkers(Workers):
    """The cluster's processes. What they need is put into its store before the first batch.

    Raises `InputError` where no training fits on the cluster.
    """

    def __init__(self, workshop: Workshop, cluster: RayCluster) -> None:
        self.workshop = workshop
        self.cluster = cluster
        target = workshop.target
        self.resource = target.resource if isinstance(target, RayTarget) else None
        self.measures = self.resource is not None and bool(workshop.measured)
        self.cpus, self.gpus = _share(cluster, workshop)
        self._order: ray_worker.Order | None = None
        self._states: dict[Ticket, Any] = {}
        self._train: Any = None
        self._measure: Any = None
        self.at_once = cluster.room(self.cpus, self.gpus, avoid=self.resource)
        if not self.at_once:
            raise InputError(f"the Ray cluster must have room for a training, but {self._lack()}")
        cluster.notify(self._described())

    def begin(self) -> None:
        """Put the kit into the store, if it is not there, and look who is to be left alone."""
        if self._order is None:
            target = self.workshop.target
            parts: dict[str, Any] = {"kit": Kit.of(self.workshop)}
            if self.measures and isinstance(target, RayTarget):
                parts["board"] = Kit.to_measure(self.workshop)
                parts["target"] = PackedTarget.of(target.inner)
            self._order = self.cluster.order(**parts)
        self._states.clear()
        self._train = self.cluster.remote(
            ray_worker.train,
            num_returns=2,
            num_cpus=self.cpus,
            num_gpus=self.gpus,
            **self.cluster.elsewhere(self.resource),
        )
        if isinstance(self.workshop.target, RayTarget):
            self._measure = self.workshop.target.remote(ray_worker.measure)

    def measure(self, task: Task) -> Ticket:
        """On a node of the target."""
        ticket: Ticket = self._measure(self._order, replace(task, state=None))
        return ticket

    def train(self, task: Task) -> Ticket:
        """On any other node. A state that it goes on from never comes to this process."""
        alone = replace(task, state=None, measured=None)
        ticket, state = self._train(self._order, alone, task.state)
        if task.until is not None:
            self._states[ticket] = state
        found: Ticket = ticket
        return found

    def wait(self, tickets: Sequence[Ticket], *, block: bool) -> list[Ticket]:
        """Those that are done."""
        return self.cluster.wait(tickets, block=block, room=self._lacking)

    def result(self, ticket: Ticket) -> Outcome:
        """The outcome; its state is a reference to one in the store."""
        outcome: Outcome = self.cluster.result(ticket)
        return replace(outcome, state=self._states.pop(ticket, None))

    def cancel(self, tickets: Sequence[Ticket]) -> None:
        """End them."""
        self.cluster.cancel(tickets)

    def _lacking(self) -> str | None:
        if self.resource is not None and (lack := self.cluster.lacks(self.resource)):
            return lack
        room = self.cluster.room(self.cpus, self.gpus, avoid=self.resource)
        return None if room else self._lack()

    def _lack(self) -> str:
        without = "" if self.resource is None else f" without resource {self.resource}"
        return f"no node{without} has {self._size()}"

    def _size(self) -> str:
        cpus = f"{self.cpus:g} CPU{'s' if self.cpus > 1 else ''}"
        return f"{cpus} and {self.gpus:g} GPU" if self.gpus else cpus

    def _described(self) -> str:
        nodes = len(self.cluster.nodes())
        text = (
            f"Ray: room for {self.at_once} training{'s' if self.at_once > 1 else ''} side by side "
            f"({self._size()} each) on {nodes} node{'s' if nodes > 1 else ''}"
        )
        if self.measures:
            text += f", measuring where resource {self.resource} is"
        elif self.workshop.measured:
            text += ", measuring in this process before them"
        if self.at_once == 1:
            text += "; --threads, --ray-cpus and --ray-gpus say how much each takes"
        return text


def _share(cluster: RayCluster, workshop: Workshop) -> tuple[float, float]:
    """CPUs and GPUs of one training."""
    options, device = cluster.options, workshop.school.device
    gpus, cpus = options.gpus, options.cpus
    if gpus is None:
        gpus = 1.0 if device.type == "cuda" else 0.0
    if device.type == "cuda" and not gpus:
        raise InputError("--ray-gpus must be above 0 where training is on cuda, but is 0")
    if cpus is None:
        cpus = 1.0 if device.type == "cuda" else float(torch.get_num_threads())
    return cpus, gpus
