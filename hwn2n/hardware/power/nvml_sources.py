"""NVIDIA GPUs: the energy counter (Volta and newer) and the power sensor, through NVML.

How good they are was measured by Yang, Adamek and Armour (SC 2024, arXiv 2312.02741) on some
seventy GPUs: a steady error of about 5 % that a card keeps, and on A100 and H100 a sensor that
looks at 25 ms of each 100 ms. NVML's own documentation of nvmlDeviceGetPowerUsage says +-5 %, and
that from Ampere on, except GA100 (A100, A30), it gives an average over 1 s.
"""

from __future__ import annotations

import re

from hwn2n.hardware.gpu import Gpu
from hwn2n.hardware.nvml import NvmlError
from hwn2n.hardware.power.base import MOST_WATTS
from hwn2n.hardware.power.counter import Counter
from hwn2n.hardware.power.sampler import Sampler
from hwn2n.hardware.sensor import SensorError

RAIL = "GPU"
"""What NVML meters: the whole card or module of the GPU, its memory included, not the host."""

_CALIBRATION = "NVML: about +-5 %"
_AMPERE = 7  # NVML_DEVICE_ARCH_AMPERE
_GA100 = re.compile(r"\b(A100|A800|A30)\b")
_PART_TIME = re.compile(r"\b(A100|A800|A30|H100|H800|H200|H20|GH200)\b")
_SECONDS_AVERAGED = 1.0
_SENSOR_PERIOD_S = 0.1

# Short spikes go above the power limit; a whole reading of three times the limit is in other units.
_LIMIT_MARGIN = 3.0


class NvmlEnergy(Counter):
    """NVML's counter of the GPU's energy in mJ, which moves every 20 to 100 ms.

    Raises SensorError where the GPU has none, or where it is shared by MIG.
    """

    name = "nvml-energy"
    rail = RAIL
    calibration = _CALIBRATION
    period_s = _SENSOR_PERIOD_S
    poll_s = 0.005

    def __init__(self, gpu: Gpu) -> None:
        _check_whole(gpu)
        self.gpu = gpu
        self.most_w = _most_watts(gpu)
        self.note = _described(gpu, "energy counter")
        self.read()

    def read(self) -> tuple[float, ...]:
        return (self.gpu.energy(),)


class NvmlPower(Sampler):
    """NVML's power, the momentary one where driver and GPU have it.

    Raises SensorError where the GPU has none, or where it is shared by MIG.
    """

    name = "nvml-power"
    rail = RAIL
    calibration = _CALIBRATION

    def __init__(self, gpu: Gpu) -> None:
        _check_whole(gpu)
        self.gpu = gpu
        self.most_w = _most_watts(gpu)
        self.note = _described(gpu, "power sensor")
        try:
            gpu.power_now()
        except NvmlError:
            gpu.power_usage()  # raises where there is neither
            self.momentary = False
            self.period_s = _SECONDS_AVERAGED if _averages(gpu) else _SENSOR_PERIOD_S
            self.note += "; only its average over 1 s is read" if _averages(gpu) else ""
        else:
            self.momentary = True
            self.period_s = _SENSOR_PERIOD_S
        self.poll_s = min(self.period_s / 2, 0.05)

    def read(self) -> float:
        return self.gpu.power_now() if self.momentary else self.gpu.power_usage()


def _check_whole(gpu: Gpu) -> None:
    if gpu.split_by_mig():
        raise SensorError("the GPU is split by MIG, and NVML meters all its instances together")


def _most_watts(gpu: Gpu) -> float:
    """Three times the power limit, so that a reading in other units is noticed."""
    for function in ("nvmlDeviceGetEnforcedPowerLimit", "nvmlDeviceGetPowerManagementLimit"):
        limit = gpu.ask(function)
        if isinstance(limit, int | float) and limit > 0:
            return min(MOST_WATTS, _LIMIT_MARGIN * limit * 1e-3)
    return MOST_WATTS


def _averages(gpu: Gpu) -> bool:
    """Whether nvmlDeviceGetPowerUsage averages over 1 s; where nobody knows, yes."""
    if _GA100.search(gpu.name):
        return False
    architecture = gpu.ask("nvmlDeviceGetArchitecture")
    return not (isinstance(architecture, int) and 0 < architecture < _AMPERE)


def _described(gpu: Gpu, sensor: str) -> str:
    note = f"NVML {sensor} of {gpu.name}: the whole GPU with its memory, not the host"
    if _PART_TIME.search(gpu.name):
        # Measured for A100 and H100; their siblings have the same chips.
        note += (
            "; sensors of this kind see 25 ms of each 100 ms (arXiv 2312.02741), so only long "
            "windows average out what they miss"
        )
    return note
