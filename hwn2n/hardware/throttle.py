"""Throttling between two looks: what held the clocks down, so that a round of timings is no good.

Which of NVML's clock reasons count is a decision. Slowdowns by heat, by the hardware's protection
and by the power brake come and go with the room and the power supply, and a round under one says
nothing about the next: they count. The software power cap does not. It is how a GPU that is
limited by its power runs all the time; to throw its rounds away would leave none, or only those
before the GPU was warm. It is in the conditions of a result instead. Idle, application clocks and
the like are settings, not throttling.

NVML's reasons are of the moment, and a slowdown between two looks would be missed; so its counters
of the time spent under each are read too, where driver and GPU have them. CPUs count their
throttlings in sysfs (Intel: thermal_throttle). Jetson boards count over-current events in the
hwmon `soctherm_oc` (the Jetson Linux Developer Guide: OC1 under-voltage, OC2 average and OC3
instantaneous over-current), and cap clocks through the kernel's cooling devices.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from hwn2n.hardware.gpu import CLOCK_REASONS, Gpu, Identify, find_gpu, torch_identity
from hwn2n.hardware.nvml import NvmlError
from hwn2n.hardware.sensor import number_or_none, text_or_none

# Hardware slowdown, software and hardware thermal slowdown, hardware power brake.
_THROTTLING = 0x8 | 0x20 | 0x40 | 0x80

# NVML_FI_DEV_CLOCKS_EVENT_REASON_*: nanoseconds spent under each since the driver was loaded.
_TIME_UNDER = {
    "SW_THERM_SLOWDOWN": (269, CLOCK_REASONS[0x20]),
    "HW_THERM_SLOWDOWN": (270, CLOCK_REASONS[0x40]),
    "HW_POWER_BRAKE_SLOWDOWN": (271, CLOCK_REASONS[0x80]),
}

_OVERCURRENT = {
    "oc1_event_cnt": "board under-voltage",
    "oc2_event_cnt": "board average over-current",
    "oc3_event_cnt": "board instantaneous over-current",
}

# Cooling devices that hold clocks down; fans are cooling devices too, and do no harm.
_COOLING = re.compile(r"(thermal-)?(cpufreq|devfreq)-.+|processor|.+-throttle-alert", re.IGNORECASE)


class ThrottleMonitor:
    """Reasons of throttling since the last call, for the device and the CPUs that serve it.

    `nvml` is the module to ask instead of `pynvml`; `cpus` are the CPUs to watch, by default
    those that this process may use. What cannot be watched is in `blind`, with its reason.
    """

    def __init__(
        self,
        device: torch.device | str,
        nvml: Any = None,
        sysfs: Path = Path("/sys"),
        *,
        cpus: Iterable[int] | None = None,
        identify: Identify = torch_identity,
    ) -> None:
        self.blind: list[str] = []
        self._gpu: Gpu | None = None
        if torch.device(device).type == "cuda":
            try:
                self._gpu = find_gpu(str(device), nvml, identify)
                self._gpu.clock_reasons()
            except NvmlError as error:
                self._lose_gpu(error)
        self._counters = dict(_cpu_counters(sysfs, cpus)) | _overcurrent_counters(sysfs)
        self._cooling = _cooling_devices(sysfs)
        self._counts = self._read_counters()
        self._times = self._times_under()

    def reasons(self) -> list[str]:
        """What throttled since the last call, or since the start; empty if nothing did.

        Cheap enough for every 50 ms: two calls of NVML and one read for each counter. It does not
        fail; a GPU that stops answering is left out from then on, and named in `blind`.
        """
        found: dict[str, None] = {}
        if self._gpu is not None:
            found |= dict.fromkeys(f"GPU {name}" for name in self._gpu_reasons(self._gpu))
        counts = self._read_counters()
        for path, count in counts.items():
            if count > self._counts.get(path, count):
                found[self._counters[path]] = None
        self._counts |= counts
        for path, name in self._cooling.items():
            if (number_or_none(path) or 0) > 0:
                found[name] = None
        return list(found)

    def _gpu_reasons(self, gpu: Gpu) -> list[str]:
        try:
            bits = gpu.clock_reasons() & _THROTTLING
        except NvmlError as error:
            if not error.passing:
                self._lose_gpu(error)
            return []
        names = [name for bit, name in CLOCK_REASONS.items() if bits & bit]
        times = self._times_under()
        names += [n for n, spent in times.items() if spent > self._times.get(n, spent)]
        self._times |= times
        return names

    def _times_under(self) -> dict[str, float]:
        """Nanoseconds under each reason, where NVML tells."""
        if self._gpu is None:
            return {}
        nvml = self._gpu.nvml
        fields = [
            nvml.constant(f"NVML_FI_DEV_CLOCKS_EVENT_REASON_{name}", number)
            for name, (number, _) in _TIME_UNDER.items()
        ]
        try:
            values = nvml.fields(self._gpu.handle, fields)
        except NvmlError:
            return {}
        named = zip(_TIME_UNDER.values(), values, strict=True)
        return {name: v for (_, name), v in named if not isinstance(v, NvmlError)}

    def _lose_gpu(self, error: NvmlError) -> None:
        self._gpu = None
        self.blind.append(f"GPU throttling is not watched: {error}")

    def _read_counters(self) -> dict[Path, float]:
        read = ((path, number_or_none(path)) for path in self._counters)
        return {path: number for path, number in read if number is not None}


def _cpu_counters(sysfs: Path, cpus: Iterable[int] | None) -> Iterable[tuple[Path, str]]:
    """One counter for each core and each package of `cpus`: threads of a core have the same."""
    if cpus is None:
        cpus = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else ()
    seen: set[tuple[str | None, ...]] = set()
    for number in sorted(cpus):
        folder = sysfs / f"devices/system/cpu/cpu{number}"
        package = text_or_none(folder / "topology/physical_package_id") or "0"
        core = text_or_none(folder / "topology/core_id") or str(number)
        for name, place in (("core", (package, core)), ("package", (package,))):
            path = folder / f"thermal_throttle/{name}_throttle_count"
            if place not in seen and path.exists():
                seen.add(place)
                yield path, f"CPU {name} thermal throttling"


def _overcurrent_counters(sysfs: Path) -> dict[Path, str]:
    return {
        path: _OVERCURRENT.get(path.name, f"board over-current ({path.name})")
        for path in sorted((sysfs / "class/hwmon").glob("hwmon*/oc*_event_cnt"))
    }


def _cooling_devices(sysfs: Path) -> dict[Path, str]:
    """The state files of cooling devices that hold clocks down: 0 is free, more is slower."""
    found: dict[Path, str] = {}
    for folder in sorted((sysfs / "class/thermal").glob("cooling_device*")):
        kind = text_or_none(folder / "type")
        if kind is not None and _COOLING.fullmatch(kind):
            found[folder / "cur_state"] = f"cooling device {kind} holds clocks down"
    return found
