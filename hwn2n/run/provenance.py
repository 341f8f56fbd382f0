"""What a result must say about where it came from."""

from __future__ import annotations

import hashlib
import platform
import time
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from hwn2n.distil.datasets import Data

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
        # as a view: what may be gigabytes of images is not copied
        total.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()


def digest_of_data(data: Data) -> str:
    """Equal where train and validation images, labels and the names of the classes are."""
    parts = {"train": data.train, "validation": data.validation}
    tensors = {f"{name} images": part.images for name, part in parts.items()}
    tensors |= {f"{name} labels": part.labels for name, part in parts.items()}
    return digest(tensors, rest=" ".join(map(repr, data.classes)))
