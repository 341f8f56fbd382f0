"""Finding the meter: each source in order, and the first that works.

NVML's energy counter misses nothing; NVML's power is sampled; then come the sensors of a Jetson
board, where NVML knows no power, and last RAPL. A source is taken only if it was read: a file that
is there, or a function that exists, proves nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hwn2n.budget.target_schema import PowerModel
from hwn2n.hardware.board import is_jetson
from hwn2n.hardware.gpu import Identify, find_gpu, torch_identity
from hwn2n.hardware.power.base import Missing, PowerSource
from hwn2n.hardware.power.clock import Clock, SystemClock
from hwn2n.hardware.power.ina import Ina
from hwn2n.hardware.power.nvml_sources import RAIL, NvmlEnergy, NvmlPower
from hwn2n.hardware.power.rapl import Rapl
from hwn2n.hardware.sensor import SensorError


@dataclass(frozen=True, kw_only=True)
class _Place:
    """Where to look, and for what."""

    device: str
    rail: str | None
    nvml: Any
    sysfs: Path
    proc: Path
    identify: Identify

    @property
    def on_gpu(self) -> bool:
        return self.device != "cpu"


def _nvml_energy(place: _Place) -> PowerSource:
    _check_nvml(place)
    return NvmlEnergy(find_gpu(place.device, place.nvml, place.identify))


def _nvml_power(place: _Place) -> PowerSource:
    _check_nvml(place)
    return NvmlPower(find_gpu(place.device, place.nvml, place.identify))


def _check_nvml(place: _Place) -> None:
    if not place.on_gpu:
        raise SensorError("it meters a GPU, and the device is the CPU")
    if place.rail not in (None, RAIL):
        raise SensorError(f"it has the one rail {RAIL!r}, and no {place.rail!r}")


def _ina(place: _Place) -> PowerSource:
    if place.on_gpu and place.identify(_index(place.device)).integrated is False:
        raise SensorError("the board's sensors do not meter a GPU on a card of its own")
    return Ina(place.sysfs, place.rail, jetson=is_jetson(place.proc))


def _rapl(place: _Place) -> PowerSource:
    if place.on_gpu:
        raise SensorError("it meters the CPU, and the device is a GPU")
    return Rapl(place.sysfs, place.rail)


def _index(device: str) -> int:
    return int(device.partition(":")[2] or 0)


_SOURCES: dict[str, tuple[str, Callable[[_Place], PowerSource]]] = {
    "nvml-energy": ("NVML energy", _nvml_energy),
    "nvml-power": ("NVML power", _nvml_power),
    "ina": ("INA", _ina),
    "rapl": ("RAPL", _rapl),
}


def find_source(
    device: str,
    settings: PowerModel,
    *,
    nvml: Any = None,
    sysfs: Path = Path("/sys"),
    proc: Path = Path("/proc"),
    clock: Clock | None = None,
    identify: Identify = torch_identity,
) -> PowerSource | Missing:
    """The meter of `device` ("cpu", "cuda", "cuda:1") that the settings ask for.

    "auto" tries NVML's counter, NVML's power, INA and RAPL, and leaves out what says nothing about
    the device: NVML of a CPU, RAPL of a GPU. Any other source is that one or none. Where there is
    none, `Missing` has the reasons of all that were tried, on one line.
    `nvml` is the module to ask instead of `pynvml`.
    """
    if settings.source == "none":
        return Missing(reason="the target's power source is none")
    place = _Place(
        device=device,
        rail=settings.rail,
        nvml=nvml,
        sysfs=sysfs,
        proc=proc,
        identify=identify,
    )
    if settings.source != "auto":
        names = [settings.source]
    elif place.on_gpu:
        names = ["nvml-energy", "nvml-power", "ina"]
    else:
        names = ["ina", "rapl"]
    reasons: dict[str, list[str]] = {}
    for name in names:
        title, find = _SOURCES[name]
        try:
            source = find(place)
            source.prove(clock or SystemClock())
        except SensorError as error:
            reasons.setdefault(str(error), []).append(title)
        else:
            return source
    found = "; ".join(f"{' and '.join(titles)}: {why}" for why, titles in reasons.items())
    return Missing(reason=f"no power source: {found}")
