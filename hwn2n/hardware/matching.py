"""What a target describes, and whether this machine is it."""

from __future__ import annotations

import os
from fnmatch import fnmatchcase

import torch

from hwn2n.budget.target_schema import TargetModel
from hwn2n.hardware.conditions import board_model, power_mode
from hwn2n.hardware.fingerprint import fingerprint


def why_not_this_machine(settings: TargetModel) -> str | None:
    """Why figures taken here would not be those of the target; None if they would.

    Its device must exist here, each pattern of `match` must fit this machine (case ignored), and
    the board must be in its power mode.
    """
    device = torch.device(settings.device)
    if reason := device_missing(device):
        return reason
    if settings.threads is not None and settings.threads > (most := most_threads()):
        return f"this machine can start {most} threads at most, and this target has more"
    if settings.match is not None:
        machine = fingerprint()
        gpus = machine["gpu"]
        found = {
            "cpu": machine["cpu"],
            "gpu": gpus[device.index or 0] if gpus else None,
            "board": board_model(),
        }
        for part, here in found.items():
            pattern = getattr(settings.match, part)
            if pattern is not None and not fnmatchcase((here or "").lower(), pattern.lower()):
                return (
                    f"the {part} of this target must match {pattern!r}; here it is "
                    f"{here or 'unknown'}"
                )
    if settings.power_mode is not None and (mode := power_mode()) != settings.power_mode:
        return f"the board must be in power mode {settings.power_mode}; found {mode or 'none'}"
    return None


def most_threads() -> int:
    """CPU threads that torch may be asked for here: where its pool cannot start all of them, the
    process ends at once, with an exit code that says something else."""
    return 8 * (os.cpu_count() or 1)


def device_missing(device: torch.device) -> str | None:
    """Why torch cannot use `device` here; None if it can."""
    if device.type == "cpu":
        return None
    if not torch.cuda.is_available():
        return "torch sees no CUDA device on this machine"
    index, known = device.index or 0, torch.cuda.device_count()
    return None if index < known else f"torch sees {known} CUDA devices, so no {device}"


def described(settings: TargetModel) -> str:
    """The device of a target, and the settings that are not the usual ones."""
    parts = [settings.device]
    parts += [settings.runtime] if settings.runtime != "eager" else []
    parts += [settings.precision] if settings.precision != "fp32" else []
    parts += [f"batch={settings.batch}"] if (settings.batch or 1) != 1 else []
    parts += [f"threads={settings.threads}"] if settings.threads is not None else []
    return " ".join(parts)
