"""The device that trains: named by a person, checked before anything is begun on it."""

from __future__ import annotations

import torch

from hwn2n.errors import InputError


def check_device(name: str) -> None:
    """Raise InputError unless `name` is cpu, cuda or cuda:N, and torch can use it here."""
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        raise InputError(f"device must be cpu, cuda or cuda:N, but got {name!r}")
    if device.type == "cpu":
        return
    known = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if (device.index or 0) >= known:
        raise InputError(f"device {name} must exist, but torch sees {known} CUDA devices here")
