"""One GPU as NVML knows it, found by what torch knows of it.

Torch's index is not NVML's: CUDA_VISIBLE_DEVICES and CUDA's own order (fastest first) renumber
devices for CUDA and not for NVML. The UUID and the PCI bus id are the same for both.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hwn2n.hardware.nvml import Nvml, NvmlError, open_nvml

# nvmlClocksEventReasons (nvml.h), by bit. Older drivers call them throttle reasons.
CLOCK_REASONS: dict[int, str] = {
    0x1: "idle",
    0x2: "application clocks",
    0x4: "software power cap",
    0x8: "hardware slowdown",
    0x10: "sync boost",
    0x20: "software thermal slowdown",
    0x40: "hardware thermal slowdown",
    0x80: "hardware power brake",
    0x100: "display clocks",
    0x200: "board limit",
    0x400: "reliability",
}

# What NVML says where a GPU cannot be looked up in this way: the next way may do.
_OTHER_WAY = frozenset({2, 3, 6, 13, 28})

_FIELD_POWER_INSTANT = 186  # NVML_FI_DEV_POWER_INSTANT, in mW


@dataclass(frozen=True, kw_only=True)
class GpuIdentity:
    """What torch knows of a CUDA device.

    `uuid` has no prefix; `pci` is "00000000:17:00.0"; `integrated` says that GPU and CPU share
    one chip, as on a Jetson board; `alone` that torch sees no other GPU. None: not known.
    """

    uuid: str | None = None
    pci: str | None = None
    integrated: bool | None = None
    alone: bool = False


Identify = Callable[[int], GpuIdentity]


def torch_identity(index: int) -> GpuIdentity:
    """The identity of torch's device `index`. Raises NvmlError where torch sees no such device."""
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if index >= count:
        raise NvmlError(f"torch sees {count} CUDA devices here, so no cuda:{index}")
    properties = torch.cuda.get_device_properties(index)
    numbers = [getattr(properties, f"pci_{n}_id", None) for n in ("domain", "bus", "device")]
    known = [int(number) for number in numbers if number is not None]
    integrated = getattr(properties, "is_integrated", None)
    uuid = str(getattr(properties, "uuid", "")).removeprefix("GPU-").removeprefix("MIG-")
    return GpuIdentity(
        uuid=uuid or None,
        pci="{:08x}:{:02x}:{:02x}.0".format(*known) if len(known) == 3 else None,
        integrated=None if integrated is None else bool(integrated),
        alone=count == 1,
    )


class Gpu:
    """One GPU (or one MIG instance of it) and the library that answers for it."""

    def __init__(self, nvml: Nvml, handle: Any) -> None:
        self.nvml = nvml
        self.handle = handle

    def get(self, function: str, *arguments: Any) -> Any:
        """What NVML answers about this GPU. Raises NvmlError."""
        return self.nvml.call(function, self.handle, *arguments)

    def ask(self, function: str, *arguments: Any) -> Any:
        """The same, None where NVML does not answer."""
        try:
            return self.get(function, *arguments)
        except NvmlError:
            return None

    @property
    def name(self) -> str:
        """The product's name; "GPU" where NVML does not tell."""
        return str(self.ask("nvmlDeviceGetName") or "GPU")

    def split_by_mig(self) -> bool:
        """Whether the GPU is divided into instances, or this is one of them."""
        mode = self.ask("nvmlDeviceGetMigMode")
        return bool(mode and mode[0]) or bool(self.ask("nvmlDeviceIsMigDeviceHandle"))

    def energy(self) -> float:
        """Energy since the driver was loaded, in J; Volta and newer. Raises NvmlError."""
        return self.nvml.number("nvmlDeviceGetTotalEnergyConsumption", self.handle) * 1e-3

    def power_now(self) -> float:
        """The sensor's latest power in W, not averaged; drivers of 2023 on. Raises NvmlError."""
        field = self.nvml.constant("NVML_FI_DEV_POWER_INSTANT", _FIELD_POWER_INSTANT)
        (value,) = self.nvml.fields(self.handle, [field])
        if isinstance(value, NvmlError):
            raise value
        return value * 1e-3

    def power_usage(self) -> float:
        """Power in W, averaged over 1 s from Ampere on but for GA100. Raises NvmlError."""
        return self.nvml.number("nvmlDeviceGetPowerUsage", self.handle) * 1e-3

    def clock_reasons(self) -> int:
        """Why the clocks are what they are: bits of `CLOCK_REASONS`. Raises NvmlError."""
        try:
            return int(self.nvml.number("nvmlDeviceGetCurrentClocksEventReasons", self.handle))
        except NvmlError:
            # The name of drivers and modules before 2023.
            return int(self.nvml.number("nvmlDeviceGetCurrentClocksThrottleReasons", self.handle))


def find_gpu(device: str, nvml: Any = None, identify: Identify = torch_identity) -> Gpu:
    """NVML's GPU for the torch device `device` ("cuda" or "cuda:1").

    Looked up by UUID, then by PCI bus id; where NVML can do neither, the only GPU of NVML is taken
    for the only one of torch. Raises NvmlError where that leaves none.
    """
    library = open_nvml(nvml)
    known = identify(int(device.partition(":")[2] or 0))
    ways: list[tuple[str, str]] = []
    if known.uuid is not None:
        ways += [("nvmlDeviceGetHandleByUUID", f"{p}-{known.uuid}") for p in ("GPU", "MIG")]
    if known.pci is not None:
        ways.append(("nvmlDeviceGetHandleByPciBusId", known.pci))
    for function, value in ways:
        try:
            return Gpu(library, library.call(function, value))
        except NvmlError as error:
            if error.code not in _OTHER_WAY:
                raise
    if known.alone and library.number("nvmlDeviceGetCount") == 1:
        return Gpu(library, library.call("nvmlDeviceGetHandleByIndex", 0))
    raise NvmlError(
        f"NVML finds no GPU with the UUID {known.uuid or 'unknown'} or the PCI bus id "
        f"{known.pci or 'unknown'} of {device}"
    )
