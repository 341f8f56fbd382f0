"""A target whose device belongs to other nodes of a Ray cluster: each measurement is done there."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from torch import nn

from hwn2n.budget.cost import Cost
from hwn2n.hardware.measurement import FULL, Beside, Measurement, MeasurementProtocol
from hwn2n.hardware.target import Target
from hwn2n.search.executors import ray_worker
from hwn2n.search.executors.kit import PackedTarget, on_cpu
from hwn2n.search.executors.ray_cluster import RayCluster


class RayTarget(Target):
    """`inner`, asked on a node that has one unit of `resource`, which the task takes whole.

    So two measurements are never on one device, and training keeps off these nodes.
    """

    def __init__(self, inner: Target, cluster: RayCluster, resource: str) -> None:
        self.inner = inner
        self.cluster = cluster
        self.resource = resource
        self.precision = inner.precision
        self._order = cluster.order(target=PackedTarget.of(inner))

    @property
    def name(self) -> str:
        """The inner target's."""
        return self.inner.name

    def remote(self, function: Callable[..., Any]) -> Any:
        """A function that is done where the device is.

        It takes no GPU of Ray's, and so must be told to leave those of the node in sight.
        """
        return self.cluster.remote(
            function,
            resources={self.resource: 1},
            runtime_env={"env_vars": {"RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}},
        )

    def fingerprint(self) -> dict[str, Any]:
        """That of the node."""
        found: dict[str, Any] = self._ask("fingerprint")
        return found

    def unavailable(self, columns: Iterable[str]) -> dict[str, str]:
        """On the node (see `Target.unavailable`)."""
        found: dict[str, str] = self._ask("unavailable", list(columns))
        return found

    def measure(
        self,
        model: nn.Module,
        input_shape: tuple[int, ...],
        columns: Iterable[str],
        protocol: MeasurementProtocol = FULL,
    ) -> Cost:
        """On the node (see `Target.measure`)."""
        found: Cost = self._ask("measure", on_cpu(model), input_shape, list(columns), protocol)
        return found

    def measure_beside(
        self,
        student: nn.Module,
        teacher: nn.Module,
        input_shape: tuple[int, ...],
        columns: Iterable[str],
        teacher_columns: Iterable[str],
        protocol: MeasurementProtocol = FULL,
    ) -> Beside:
        """On the node (see `Target.measure_beside`)."""
        found: Beside = self._ask(
            "measure_beside",
            on_cpu(student),
            on_cpu(teacher),
            input_shape,
            list(columns),
            list(teacher_columns),
            protocol,
        )
        return found

    def examine(
        self,
        model: nn.Module,
        input_shape: tuple[int, ...],
        columns: Iterable[str],
        protocol: MeasurementProtocol = FULL,
    ) -> Measurement:
        """On the node (see `Target.examine`)."""
        found: Measurement = self._ask(
            "examine", on_cpu(model), input_shape, list(columns), protocol
        )
        return found

    def _ask(self, method: str, *arguments: Any) -> Any:
        task = self.remote(ray_worker.ask_target)(self._order, method, arguments)
        try:
            self.cluster.wait([task], block=True, room=lambda: self.cluster.lacks(self.resource))
        except BaseException:
            self.cluster.cancel([task])
            raise
        return self.cluster.result(task)
