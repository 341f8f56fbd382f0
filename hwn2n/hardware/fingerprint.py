"""What machine a cost was measured on, as plain data that is the same in every process.

Two costs may be compared only where their fingerprints agree. So it holds what decides speed and
does not change between two processes, and nothing that does: no load, no clocks, no thread count
that somebody set for this process alone (a saved profile has that one with its samples).
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

_CPUINFO = Path("/proc/cpuinfo")


def fingerprint() -> dict[str, Any]:
    """CPU, its cores and threads, GPU, operating system and versions; JSON values only.

    `cores` are physical cores and `threads` the logical processors of the machine, of which this
    process may use `usable_threads`; `cores` is None where the system does not tell.
    """
    cuda = torch.cuda.is_available()
    return {
        "cpu": _cpu_model(),
        "cores": _physical_cores(),
        "threads": os.cpu_count(),
        "usable_threads": _usable_threads(),
        "gpu": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        if cuda
        else [],
        "os": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "cuda": torch.version.cuda if cuda else None,
    }


RUNTIME_PACKAGES: dict[str, tuple[str, ...]] = {
    "eager": (),
    "compile": ("triton",),
    "cuda-graph": (),
    "onnxruntime": ("onnx", "onnxscript", "onnxruntime", "onnxruntime-gpu"),
    "tensorrt": ("onnx", "onnxscript", "tensorrt"),
}
"""Packages besides torch whose versions decide how fast a network of this runtime is."""


def installed(packages: Iterable[str]) -> dict[str, str]:
    """Versions of those of `packages` that are installed."""
    found = {}
    for name in packages:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


_LABELS = ("target.name",)
"""Fields that only name things: the same machine with the same settings is as fast by any name."""


def differences(a: Any, b: Any) -> dict[str, tuple[Any, Any]]:
    """The fields in which two fingerprints differ, each with its value in `a` and in `b`.

    Fields inside others are named "target.batch"; one that is missing counts as None. Costs that
    were measured may be compared only where this is empty, so nothing that could decide speed is
    left out: only the name that somebody gave to the target is.
    """
    flat_a, flat_b = dict(_fields(a, "")), dict(_fields(b, ""))
    names = [*flat_a, *(name for name in flat_b if name not in flat_a)]
    pairs = {name: (flat_a.get(name), flat_b.get(name)) for name in names}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def _fields(value: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    """The leaves of nested mappings under dotted names; tuples as the lists that JSON makes."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _fields(inner, f"{prefix}.{key}" if prefix else str(key))
    elif prefix not in _LABELS:
        yield prefix, list(value) if isinstance(value, tuple) else value


def _cpuinfo() -> list[dict[str, str]]:
    """Linux's description of each logical processor; empty elsewhere."""
    try:
        text = _CPUINFO.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    blocks = (block.splitlines() for block in text.strip().split("\n\n"))
    return [
        {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in block)}
        for block in blocks
    ]


def _cpu_model() -> str:
    # "model name" on x86, "Model" or "Hardware" on many Arm boards.
    for block in _cpuinfo():
        for key in ("model name", "Model", "Hardware"):
            if block.get(key):
                return " ".join(block[key].split())
    return platform.processor() or platform.machine()


def _physical_cores() -> int | None:
    cores = {
        (block["physical id"], block["core id"])
        for block in _cpuinfo()
        if "physical id" in block and "core id" in block
    }
    return len(cores) or None


def _usable_threads() -> int | None:
    if hasattr(os, "sched_getaffinity"):  # Linux only
        return len(os.sched_getaffinity(0))
    return os.cpu_count()
