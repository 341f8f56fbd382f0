"""What the machine was doing when it was measured: load, clocks, temperatures, limits.

All of it is plain data for a result, and nothing of it decides anything. What is not known is left
out: a temperature of 0 would be a claim. Frequencies are in MHz, temperatures in degrees Celsius,
power in W.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from hwn2n.hardware.board import board_model, power_mode
from hwn2n.hardware.gpu import CLOCK_REASONS, Gpu, Identify, find_gpu, torch_identity
from hwn2n.hardware.nvml import NvmlError
from hwn2n.hardware.sensor import number_or_none, text_or_none

__all__ = ["board_model", "conditions", "power_mode"]

# By which names the integrated GPU of a Jetson board stands in /sys/class/devfreq: 17000000.gpu
# or 17000000.ga10b on Orin, gpu-gpc-0 on Thor.
_GPU_DEVFREQ = ("*.gpu", "*.ga10b", "*.gv11b", "*.gp10b", "gpu*")


def conditions(
    device: torch.device | str,
    nvml: Any = None,
    sysfs: Path = Path("/sys"),
    proc: Path = Path("/proc"),
    *,
    root: Path = Path("/"),
    identify: Identify = torch_identity,
) -> dict[str, Any]:
    """The machine's state now, JSON values only; parts that are not known are left out.

    `load`, `cpu`, `temperatures` and `board` of the machine, and `gpu` of a CUDA device. `nvml` is
    the module to ask instead of `pynvml`, and the paths are where Linux's files are looked for.
    Takes a few milliseconds, and never fails for want of an answer.
    """
    found = {
        "load": _load(proc),
        "cpu": _cpu(sysfs, proc),
        "temperatures": _temperatures(sysfs),
        "board": _known(
            model=board_model(proc),
            power_mode=power_mode(root),
            # Readable by root only, as all of debugfs.
            memory_mhz=_scaled(sysfs / "kernel/debug/bpmp/debug/clk/emc/rate", 1e-6),
            gpu=_devfreq(sysfs),
        ),
    }
    if torch.device(device).type == "cuda":
        try:
            found["gpu"] = _gpu(find_gpu(str(device), nvml, identify))
        except NvmlError as error:
            found["gpu"] = {"unavailable": str(error)}
    return {key: value for key, value in found.items() if value}


def _known(**values: Any) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value not in (None, {}, [])}


def _scaled(path: Path, factor: float) -> float | None:
    number = number_or_none(path)
    return None if number is None else round(number * factor, 3)


def _load(proc: Path) -> list[float]:
    """Processes that ran or wanted to, averaged over 1, 5 and 15 minutes."""
    words = (text_or_none(proc / "loadavg") or "").split()[:3]
    try:
        return [float(word) for word in words]
    except ValueError:
        return []


def _cpu(sysfs: Path, proc: Path) -> dict[str, Any]:
    folders = sorted((sysfs / "devices/system/cpu").glob("cpu[0-9]*/cpufreq"))
    now = _numbers(folders, "scaling_cur_freq") or _told_by_cpuinfo(proc)
    boost = number_or_none(sysfs / "devices/system/cpu/cpufreq/boost")
    return _known(
        governors=sorted({text for f in folders if (text := text_or_none(f / "scaling_governor"))}),
        now_mhz={"lowest": min(now), "highest": max(now)} if now else None,
        min_mhz=min(_numbers(folders, "cpuinfo_min_freq"), default=None),
        max_mhz=max(_numbers(folders, "cpuinfo_max_freq"), default=None),
        # What is allowed may be less than what the CPU could do: a power mode, a thermal limit.
        allowed_mhz=max(_numbers(folders, "scaling_max_freq"), default=None),
        boost=None if boost is None else bool(boost),
    )


def _numbers(folders: list[Path], name: str) -> list[float]:
    """MHz of the files that hold kHz."""
    read = (_scaled(folder / name, 1e-3) for folder in folders)
    return [number for number in read if number is not None]


def _told_by_cpuinfo(proc: Path) -> list[float]:
    """MHz of each CPU, on x86; a virtual machine has this and no cpufreq."""
    text = text_or_none(proc / "cpuinfo") or ""
    return [float(number) for number in re.findall(r"^cpu MHz\s*:\s*([\d.]+)$", text, re.M)]


def _temperatures(sysfs: Path) -> dict[str, float]:
    """By the name of the thermal zone or of the CPU's sensor."""
    return dict(_zones(sysfs))


def _zones(sysfs: Path) -> Iterator[tuple[str, float]]:
    for zone in sorted((sysfs / "class/thermal").glob("thermal_zone*")):
        name, degrees = text_or_none(zone / "type"), _scaled(zone / "temp", 1e-3)
        if name is not None and degrees is not None:  # zones of switched-off units do not answer
            yield name, degrees
    for folder in sorted((sysfs / "class/hwmon").glob("hwmon*")):
        chip = text_or_none(folder / "name")
        if chip in ("coretemp", "k10temp", "zenpower", "cpu_thermal"):
            # The first is the package's; the rest are its cores.
            degrees = _scaled(folder / "temp1_input", 1e-3)
            if degrees is not None:
                yield f"{chip} {text_or_none(folder / 'temp1_label') or ''}".strip(), degrees


def _devfreq(sysfs: Path) -> dict[str, Any]:
    """Clocks of an integrated GPU."""
    for pattern in _GPU_DEVFREQ:
        for folder in sorted((sysfs / "class/devfreq").glob(pattern)):
            return _known(
                now_mhz=_scaled(folder / "cur_freq", 1e-6),
                min_mhz=_scaled(folder / "min_freq", 1e-6),
                max_mhz=_scaled(folder / "max_freq", 1e-6),
                governor=text_or_none(folder / "governor"),
            )
    return {}


_CLOCKS = {"graphics_mhz": 0, "sm_mhz": 1, "memory_mhz": 2}  # NVML_CLOCK_*
_TEMPERATURE_OF_GPU = 0  # NVML_TEMPERATURE_GPU


def _gpu(gpu: Gpu) -> dict[str, Any]:
    """What NVML answers, each part on its own: a GPU that refuses one may know the others."""
    found: dict[str, Any] = {
        "name": gpu.ask("nvmlDeviceGetName"),
        "driver": _ask_system(gpu, "nvmlSystemGetDriverVersion"),
        "temperature": gpu.ask("nvmlDeviceGetTemperature", _TEMPERATURE_OF_GPU),
        "performance_state": _prefixed("P", gpu.ask("nvmlDeviceGetPerformanceState")),
        "power_w": _watts(gpu.ask("nvmlDeviceGetPowerUsage")),
        "power_limit_w": _watts(gpu.ask("nvmlDeviceGetPowerManagementLimit")),
        "enforced_limit_w": _watts(gpu.ask("nvmlDeviceGetEnforcedPowerLimit")),
        "persistence_mode": _flag(gpu.ask("nvmlDeviceGetPersistenceMode")),
        "ecc": _flag(_first(gpu.ask("nvmlDeviceGetEccMode"))),
        "mig": _flag(_first(gpu.ask("nvmlDeviceGetMigMode"))),
        "now": _known(**{n: gpu.ask("nvmlDeviceGetClockInfo", i) for n, i in _CLOCKS.items()}),
        "max": _known(**{n: gpu.ask("nvmlDeviceGetMaxClockInfo", i) for n, i in _CLOCKS.items()}),
    }
    usage = gpu.ask("nvmlDeviceGetUtilizationRates")
    if usage is not None:
        found["busy_percent"] = getattr(usage, "gpu", None)
        found["memory_busy_percent"] = getattr(usage, "memory", None)
    processes = gpu.ask("nvmlDeviceGetComputeRunningProcesses")
    if processes is not None:
        # Other processes' work is in every clock and every watt; this process is one of them.
        found["compute_processes"] = len(processes)
    result = _known(**found)
    with suppress(NvmlError):
        result["clock_reasons"] = reason_names(gpu.clock_reasons())
    return result


def reason_names(bits: int) -> list[str]:
    """NVML's reasons for the clocks being what they are, by name."""
    names = [name for bit, name in CLOCK_REASONS.items() if bits & bit]
    unnamed = bits & ~sum(CLOCK_REASONS)
    return [*names, f"unknown ({unnamed:#x})"] if unnamed else names


def _ask_system(gpu: Gpu, function: str) -> Any:
    try:
        return gpu.nvml.call(function)
    except NvmlError:
        return None


def _watts(milliwatts: Any) -> float | None:
    return round(milliwatts * 1e-3, 3) if isinstance(milliwatts, int | float) else None


def _flag(value: Any) -> bool | None:
    return None if value is None else bool(value)


def _first(pair: Any) -> Any:
    """The current one of NVML's (current, pending)."""
    return None if pair is None else pair[0]


_UNKNOWN_STATE = 32  # NVML_PSTATE_UNKNOWN


def _prefixed(prefix: str, value: Any) -> str | None:
    return None if value is None or value == _UNKNOWN_STATE else f"{prefix}{value}"
