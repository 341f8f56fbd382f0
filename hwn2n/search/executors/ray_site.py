"""A Ray cluster as the site of a search: its nodes train, and those of the target measure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hwn2n.errors import InputError
from hwn2n.hardware.target import Target
from hwn2n.search.executors.base import Executor
from hwn2n.search.executors.options import LOCAL, RayOptions
from hwn2n.search.executors.ray_cluster import RayCluster
from hwn2n.search.executors.ray_executor import RayExecutor
from hwn2n.search.executors.ray_target import RayTarget
from hwn2n.search.executors.site import Site
from hwn2n.search.workshop import Workshop


class RaySite(Site):
    """Connected from when it is made until `close` (see `RayCluster`)."""

    def __init__(self, options: RayOptions, notify: Callable[[str], None]) -> None:
        self.cluster = RayCluster(options, notify)

    def close(self) -> None:
        """Disconnect; a local cluster ends."""
        self.cluster.close()

    def target(self, target: Target, needed: Sequence[str]) -> Target:
        """The target, asked on the nodes that have its resource.

        Where there are none it is asked here, if it is this machine: `InputError` where it is not,
        or where the resource was named.
        """
        named = self.cluster.options.measure_resource
        resource = named or target.name
        found = {_name(n): n["Resources"][resource] for n in self.cluster.having(resource)}
        if not found:
            self._check_here(target, needed)
            return target
        for node, quantity in found.items():
            if quantity != 1:
                raise InputError(
                    f"node {node} must have resource {resource} with quantity 1, for one "
                    f"measurement at a time, but has {quantity:g}"
                )
        return RayTarget(target, self.cluster, resource)

    def _check_here(self, target: Target, needed: Sequence[str]) -> None:
        """That nobody asked for another place than here, and that here is the right one."""
        offered = sorted({r for n in self.cluster.nodes() for r in n["Resources"] if _is_custom(r)})
        has = f"which has {', '.join(offered) or 'none'}"
        if self.cluster.options.measure_resource is not None:
            raise InputError(
                f"--ray-measure-resource must be a resource of the cluster, {has}, but is "
                f"{self.cluster.options.measure_resource!r}"
            )
        missing = {} if self.cluster.options.address == LOCAL else target.unavailable(needed)
        if missing:
            name, reason = next(iter(missing.items()))
            raise InputError(
                f"a node of the cluster, {has}, must have resource {target.name} to measure the "
                f"budget's {name}, which cannot be measured here: {reason}"
            )

    def executor(self, workshop: Workshop) -> Executor:
        """Tasks side by side on the cluster."""
        return RayExecutor(workshop, self.cluster)


def _name(node: Mapping[str, Any]) -> str:
    return f"{node['NodeManagerHostname']} ({node['NodeID'][:8]})"


def _is_custom(resource: str) -> bool:
    known = ("CPU", "GPU", "memory", "object_store_memory")
    return resource not in known and not resource.startswith(("node:", "accelerator_type:"))
