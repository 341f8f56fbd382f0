"""What a result must say about where it came from."""

from __future__ import annotations

import hashlib
import platform
import time
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version

import torch
from torch import Tensor

PACKAGES = ("hwn2n", "torch", "torchvision", "fvcore", "numpy", "scipy")


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that results depend on."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed as a package"
    return found


def provenance() -> dict[str, object]:
    """Versions and the time, for a run's configuration."""
    return {"versions": versions(), "created": time.strftime("%Y-%m-%dT%H:%M:%S%z")}


def digest(weights: Mapping[str, Tensor], rest: str = "") -> str:
    """SHA-256 over names, shapes and bytes of a state dict, and over `rest`."""
    total = hashlib.sha256(rest.encode())
    for name in sorted(weights):
        tensor = weights[name].detach().cpu().contiguous()
        total.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        total.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return total.hexdigest()
