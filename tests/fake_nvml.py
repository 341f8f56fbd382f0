"""A stand-in for the module `pynvml` that answers, refuses and lies as it is told.

Errors, constants and structures are those of the real module, which can be imported without a
driver. What a real GPU answers was looked up in its documentation.
"""

# ruff: noqa: N802 (the names are those of the real module)

from __future__ import annotations

import types
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pynvml

from hwn2n.hardware.gpu import GpuIdentity

UUID = "11111111-2222-3333-4444-555555555555"
PCI = "00000000:17:00.0"

CODES: dict[str, int] = {
    name: value
    for name, value in vars(pynvml).items()
    if name.startswith("NVML_ERROR_") and isinstance(value, int)
}
"""Every error code that the module defines, by name."""

LOST = pynvml.NVML_ERROR_GPU_IS_LOST
UNSUPPORTED = pynvml.NVML_ERROR_NOT_SUPPORTED


@dataclass
class FakeGpu:
    """One GPU. `energy_mj` and `power_mw` are numbers or functions of no arguments."""

    name: str = "NVIDIA H100 PCIe"
    uuid: str = f"GPU-{UUID}"
    pci: str = PCI
    architecture: int = pynvml.NVML_DEVICE_ARCH_HOPPER
    energy_mj: Any = 0
    power_mw: Any = 100_000
    instant_mw: Any = None  # the same as power_mw
    limit_mw: int = 350_000
    clock_reasons: int = 0
    times_under: dict[int, int] = field(
        default_factory=lambda: {
            pynvml.NVML_FI_DEV_CLOCKS_EVENT_REASON_SW_THERM_SLOWDOWN: 0,
            pynvml.NVML_FI_DEV_CLOCKS_EVENT_REASON_HW_THERM_SLOWDOWN: 0,
            pynvml.NVML_FI_DEV_CLOCKS_EVENT_REASON_HW_POWER_BRAKE_SLOWDOWN: 0,
        }
    )
    mig: int = 0
    is_instance: int = 0
    field_error: int = 0


def identity(**changes: Any) -> Callable[[int], GpuIdentity]:
    """What torch would say of its only GPU."""
    known = {"uuid": UUID, "pci": PCI, "integrated": False, "alone": True} | changes
    return lambda index: GpuIdentity(**known)


class FakeNvml:
    """The module. `faults` has an error code for a function; `calls` counts the calls."""

    NVMLError = pynvml.NVMLError

    def __init__(self, *gpus: FakeGpu, faults: dict[str, int] | None = None) -> None:
        self.gpus = list(gpus) or [FakeGpu()]
        self.faults = dict(faults or {})
        self.calls: Counter[str] = Counter()
        self.missing: set[str] = set()
        self.as_bytes = False
        self.open = 0

    def __getattr__(self, name: str) -> Any:
        if name in self.missing or name.startswith("__"):
            raise AttributeError(name)
        if not name.startswith("nvml"):
            return getattr(pynvml, name)  # a constant
        if not hasattr(pynvml, name):
            raise AttributeError(name)  # no test may ask what the real module does not have
        answer = getattr(type(self), "_" + name, None)

        def called(*arguments: Any) -> Any:
            self.calls[name] += 1
            if name in self.faults:
                raise pynvml.NVMLError(self.faults[name])
            if answer is None:
                raise pynvml.NVMLError(UNSUPPORTED)
            found = answer(self, *arguments)
            return found.encode() if self.as_bytes and isinstance(found, str) else found

        return called

    def _nvmlInit(self) -> None:
        self.open += 1

    def _nvmlShutdown(self) -> None:
        self.open -= 1

    def _nvmlSystemGetDriverVersion(self) -> str:
        return "580.95.05"

    def _nvmlDeviceGetCount(self) -> int:
        return len(self.gpus)

    def _nvmlDeviceGetHandleByIndex(self, index: int) -> FakeGpu:
        return self.gpus[index]

    def _nvmlDeviceGetHandleByUUID(self, uuid: str) -> FakeGpu:
        return self._find("uuid", uuid)

    def _nvmlDeviceGetHandleByPciBusId(self, pci: str) -> FakeGpu:
        return self._find("pci", pci)

    def _find(self, key: str, value: str) -> FakeGpu:
        for gpu in self.gpus:
            if getattr(gpu, key) == value:
                return gpu
        raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_FOUND)

    def _nvmlDeviceGetName(self, gpu: FakeGpu) -> str:
        return gpu.name

    def _nvmlDeviceGetArchitecture(self, gpu: FakeGpu) -> int:
        return gpu.architecture

    def _nvmlDeviceGetTotalEnergyConsumption(self, gpu: FakeGpu) -> Any:
        return gpu.energy_mj() if callable(gpu.energy_mj) else gpu.energy_mj

    def _nvmlDeviceGetPowerUsage(self, gpu: FakeGpu) -> Any:
        return gpu.power_mw() if callable(gpu.power_mw) else gpu.power_mw

    def _nvmlDeviceGetPowerManagementLimit(self, gpu: FakeGpu) -> int:
        return gpu.limit_mw

    def _nvmlDeviceGetEnforcedPowerLimit(self, gpu: FakeGpu) -> int:
        return gpu.limit_mw

    def _nvmlDeviceGetFieldValues(self, gpu: FakeGpu, fields: list[int]) -> list[Any]:
        values = (pynvml.c_nvmlFieldValue_t * len(fields))()
        for value, number in zip(values, fields, strict=True):
            value.fieldId, value.nvmlReturn = number, gpu.field_error
            value.valueType = pynvml.NVML_VALUE_TYPE_UNSIGNED_LONG_LONG
            if number == pynvml.NVML_FI_DEV_POWER_INSTANT:
                value.valueType = pynvml.NVML_VALUE_TYPE_UNSIGNED_INT
                instant = gpu.power_mw if gpu.instant_mw is None else gpu.instant_mw
                value.value.uiVal = int(instant() if callable(instant) else instant)
            elif number in gpu.times_under:
                value.value.ullVal = gpu.times_under[number]
            else:
                value.nvmlReturn = UNSUPPORTED
        return list(values)

    def _nvmlDeviceGetCurrentClocksEventReasons(self, gpu: FakeGpu) -> int:
        return gpu.clock_reasons

    def _nvmlDeviceGetCurrentClocksThrottleReasons(self, gpu: FakeGpu) -> int:
        return gpu.clock_reasons

    def _nvmlDeviceGetMigMode(self, gpu: FakeGpu) -> list[int]:
        return [gpu.mig, gpu.mig]

    def _nvmlDeviceIsMigDeviceHandle(self, gpu: FakeGpu) -> int:
        return gpu.is_instance

    def _nvmlDeviceGetTemperature(self, gpu: FakeGpu, sensor: int) -> int:
        assert sensor == pynvml.NVML_TEMPERATURE_GPU
        return 41

    def _nvmlDeviceGetPerformanceState(self, gpu: FakeGpu) -> int:
        return 0

    def _nvmlDeviceGetPersistenceMode(self, gpu: FakeGpu) -> int:
        return 1

    def _nvmlDeviceGetEccMode(self, gpu: FakeGpu) -> list[int]:
        return [1, 0]

    def _nvmlDeviceGetClockInfo(self, gpu: FakeGpu, clock: int) -> int:
        return {0: 1500, 1: 1500, 2: 1593}[clock]

    def _nvmlDeviceGetMaxClockInfo(self, gpu: FakeGpu, clock: int) -> int:
        return {0: 1755, 1: 1755, 2: 1593}[clock]

    def _nvmlDeviceGetUtilizationRates(self, gpu: FakeGpu) -> Any:
        return types.SimpleNamespace(gpu=0, memory=3)

    def _nvmlDeviceGetComputeRunningProcesses(self, gpu: FakeGpu) -> list[Any]:
        return [types.SimpleNamespace(pid=1), types.SimpleNamespace(pid=2)]
