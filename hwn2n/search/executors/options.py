"""What a user says about Ray. It shapes no candidate, so it is no part of a run's settings."""

from __future__ import annotations

from dataclasses import dataclass

from hwn2n.errors import InputError

LOCAL = "local"
AUTO = "auto"


@dataclass(frozen=True, kw_only=True)
class RayOptions:
    """Which cluster, and how much of it one training takes.

    Attributes:
        address: "local" for workers on this machine, which are started and ended with the run;
            "auto" or HOST:PORT for a running cluster of which this machine is a node.
        gpus: of one training: a fraction, or a whole number. None: 1 where training is on CUDA.
        cpus: of one training. None: as many as torch has threads in this process, or 1 on CUDA.
        measure_resource: the custom resource of the nodes that measure. None: the target's name,
            where a node offers a resource of that name; otherwise this process measures.

    Raises:
        InputError: a value that cannot be used.
    """

    address: str = LOCAL
    gpus: float | None = None
    cpus: float | None = None
    measure_resource: str | None = None

    def __post_init__(self) -> None:
        if self.address.startswith("ray://"):
            raise InputError(
                "--ray must be local, auto or HOST:PORT of a cluster of which this machine is a "
                f"node, but is {self.address!r}, which is for clients outside of it"
            )
        if self.address not in (LOCAL, AUTO) and host_and_port(self.address) is None:
            raise InputError(f"--ray must be local, auto or HOST:PORT, but is {self.address!r}")
        gpus = 0.0 if self.gpus is None else self.gpus
        if not (0 <= gpus < 1 or (gpus >= 1 and float(gpus).is_integer())):
            raise InputError(
                f"--ray-gpus must be a fraction below 1 or a whole number, but is {gpus:g}"
            )
        if self.cpus is not None and not self.cpus > 0:
            raise InputError(f"--ray-cpus must be above 0, but is {self.cpus:g}")
        if self.measure_resource is not None and self.address == LOCAL:
            raise InputError(
                "--ray-measure-resource must come with the address of a cluster: with --ray local "
                "this process measures, before any training"
            )
        if self.measure_resource in ("", "CPU", "GPU", "memory", "object_store_memory"):
            raise InputError(
                "--ray-measure-resource must be a custom resource of some nodes, but is "
                f"{self.measure_resource!r}"
            )


def host_and_port(address: str) -> tuple[str, int] | None:
    """Of "HOST:PORT"; None for any other text."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
        return None
    return host.strip("[]"), int(port)


def ray_options(given: str | RayOptions | None) -> RayOptions | None:
    """The options of an address, or those given; None for a search in this process."""
    return RayOptions(address=given) if isinstance(given, str) else given
