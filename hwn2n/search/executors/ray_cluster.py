"""A Ray cluster, one machine or a thousand GPUs: tasks, their results, and who has what."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from hwn2n.errors import Hwn2nError, InputError, one_line
from hwn2n.run.provenance import versions
from hwn2n.search.executors import ray_worker
from hwn2n.search.executors.options import RayOptions
from hwn2n.search.executors.ray_start import connect, disconnect, import_ray

RETRIES = 8
"""A task is done again so often where its worker or its node died: what is preempted returns, but
a network that takes its worker down each time must not go round for ever."""

LOOK_SECONDS = 30.0
"""After so long without any result it is looked whether the cluster still has room."""


class RayCluster:
    """Connected from when it is made until `close`. Workers that it has started end with it.

    A process that is connected to a cluster already stays so, whatever the address.
    """

    def __init__(self, options: RayOptions, notify: Callable[[str], None]) -> None:
        self.ray = import_ray()
        self.options = options
        self.notify = notify
        self._connected = not self.ray.is_initialized()
        if self._connected:
            connect(self.ray, options)

    def close(self) -> None:
        """Disconnect; a local cluster ends."""
        if self._connected:
            disconnect(self.ray)

    def order(self, **parts: Any) -> ray_worker.Order:
        """An order with objects of its own in the store.

        Raises `InputError` for what cannot travel.
        """
        try:
            references = {name: self.ray.put(part) for name, part in parts.items()}
        except Exception as error:
            raise InputError(
                "with --ray the teacher and the target must be objects that can be pickled, but: "
                f"{one_line(error)}"
            ) from error
        return ray_worker.Order(
            run=uuid.uuid4().hex,
            versions=versions(),
            threads=torch.get_num_threads(),
            **references,
        )

    def remote(self, function: Callable[..., Any], **options: Any) -> Any:
        """A function that is done on the cluster, again where a worker died."""
        # max_calls: by default Ray ends a process that used a GPU after each task.
        made = self.ray.remote(max_calls=0, num_cpus=0)(function)
        name = f"hwn2n {function.__name__}"
        return made.options(max_retries=RETRIES, name=name, **options).remote

    def result(self, reference: Any) -> Any:
        """What came of a task that is done; raises what it raised, as itself."""
        try:
            return self.ray.get(reference)
        except self.ray.exceptions.RayTaskError as error:
            cause = error.cause
            if isinstance(cause, ImportError | self.ray.exceptions.RaySystemError):
                raise ray_worker.not_loaded(cause, "one") from error
            if isinstance(cause, Hwn2nError):
                raise cause from None
            if isinstance(cause, Exception):
                raise cause from error
            raise
        except self.ray.exceptions.RayError as error:
            raise InputError(
                f"the Ray cluster must finish each task, at the latest after {RETRIES} lost "
                f"workers, but: {type(error).__name__}: {one_line(error)}"
            ) from error

    def wait(
        self, references: Sequence[Any], *, block: bool, room: Callable[[], str | None]
    ) -> list[Any]:
        """Those that are done, at least one if it is to `block`.

        `room` says what the cluster lacks, None if nothing; that is passed on, once each time.
        """
        done = self._done(references, at_least=len(references), seconds=0)
        told, looked = None, time.monotonic()
        while block and not done:
            # in short turns, so that a signal is seen soon
            done = self._done(references, at_least=1, seconds=1.0)
            if not done and time.monotonic() - looked > LOOK_SECONDS:
                lacking, looked = room(), time.monotonic()
                if lacking is not None and lacking != told:
                    self.notify(f"waiting for the Ray cluster: {lacking}")
                told = lacking
        return done

    def _done(self, references: Sequence[Any], *, at_least: int, seconds: float) -> list[Any]:
        """Those that are done as soon as so many are, or after so many seconds."""
        try:
            done, _ = self.ray.wait(
                list(references), num_returns=at_least, timeout=seconds, fetch_local=False
            )
        except SystemError as error:
            if error.__cause__ is None:
                raise
            raise error.__cause__ from None  # what a handler of signals raised, inside of Ray
        return list(done)

    def cancel(self, references: Sequence[Any]) -> None:
        """End tasks, and the processes that they run in."""
        for reference in references:
            try:
                self.ray.cancel(reference, force=True)
            except Exception:  # the cluster may be gone itself
                return

    def nodes(self) -> list[Mapping[str, Any]]:
        """The nodes that live, as Ray describes them."""
        return [node for node in self.ray.nodes() if node["Alive"]]

    def room(self, cpus: float, gpus: float, *, avoid: str | None) -> int:
        """How many tasks of a size fit on the cluster when nothing else runs on it.

        `avoid` is a resource whose nodes do not count.
        """
        total = 0
        for node in self.nodes():
            resources = node["Resources"]
            if avoid is None or avoid not in resources:
                shares = [(resources.get("CPU", 0.0), cpus), (resources.get("GPU", 0.0), gpus)]
                total += min(int(there / one + 1e-9) for there, one in shares if one)
        return total

    def elsewhere(self, resource: str | None) -> dict[str, Any]:
        """Options that keep a task off the nodes that have a resource."""
        ids = [] if resource is None else [node["NodeID"] for node in self.having(resource)]
        return {"label_selector": {"ray.io/node-id": f"!in({','.join(ids)})"}} if ids else {}

    def lacks(self, resource: str) -> str | None:
        """Says so if no node has a resource."""
        return None if self.having(resource) else f"no node has resource {resource}"

    def having(self, resource: str) -> list[Mapping[str, Any]]:
        """The nodes that have some of a resource."""
        return [node for node in self.nodes() if resource in node["Resources"]]
