"""hwn2n's own teacher file: weights and what is needed to use them, as plain data.

The file is `torch.save` of a dictionary of tensors, numbers, texts and plain containers, so that
it loads with `weights_only=True`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hwn2n.atomic import write_atomic
from hwn2n.errors import InputError, one_line
from hwn2n.network.files.description import plain_metadata, read_description
from hwn2n.network.files.teacher import check_weights
from hwn2n.network.files.weights import unwrap_state_dict

FORMAT = "hwn2n-teacher"
VERSION = 1


@dataclass(frozen=True, kw_only=True)
class OwnFile:
    """The content of hwn2n's own file, checked."""

    arch: str
    arch_kwargs: dict[str, int]
    weights: dict[str, Tensor]
    description: dict[str, Any]
    """Arguments of `Teacher`: classes, mean, std, data, metadata."""


def save_teacher(
    path: str | os.PathLike[str],
    model: nn.Module,
    *,
    arch: str,
    in_channels: int,
    num_classes: int,
    image_size: int,
    classes: Sequence[str] | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    data: str | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> None:
    """Write hwn2n's own teacher file, whole or not at all.

    `metadata` must be plain JSON data (accuracies, recipe, ...). `mean` and `std` are per channel,
    in units of 0..1. Raises InputError where a value cannot be stored, or the weights are not
    finite float32.
    """
    path = Path(path)
    check_weights(model, f"{path} (not written)")
    described = {
        "classes": None if classes is None else [str(name) for name in classes],
        "mean": None if mean is None else [float(value) for value in mean],
        "std": None if std is None else [float(value) for value in std],
        "data": data,
        "metadata": plain_metadata(metadata and dict(metadata), f"{path} (not written)"),
    }
    read_description(described, f"{path} (not written)")
    if classes is not None and len(classes) != num_classes:
        raise InputError(
            f"{path} (not written): there must be one name per class, but {num_classes} classes"
            f" have {len(classes)} names"
        )
    content = {
        "format": FORMAT,
        "version": VERSION,
        "arch": arch,
        "arch_kwargs": {
            "in_channels": int(in_channels),
            "num_classes": int(num_classes),
            "image_size": int(image_size),
        },
        "state_dict": {
            name: tensor.detach().cpu().clone() for name, tensor in model.state_dict().items()
        },
        **described,
    }
    _write(path, content)


def read_own_file(content: Any, source: str) -> OwnFile | None:
    """The parts of hwn2n's own file, or None when `content` is something else."""
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        return None
    version = content.get("version")
    if type(version) is not int or version != VERSION:
        raise InputError(
            f"{source}: the version of a teacher file must be {VERSION}, but it is"
            f" {one_line(repr(version), 40)}; it may need a newer hwn2n"
        )
    arch, arch_kwargs = content.get("arch"), content.get("arch_kwargs")
    named = isinstance(arch, str) and arch.isprintable() and isinstance(arch_kwargs, dict)
    if not named:
        raise InputError(f"{source}: a teacher file must name its architecture, but it does not")
    return OwnFile(
        arch=str(arch),
        arch_kwargs=dict(arch_kwargs or {}),
        weights=unwrap_state_dict({"state_dict": content.get("state_dict")}, source),
        description=read_description(content, source),
    )


def _write(path: Path, content: dict[str, Any]) -> None:
    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:
            torch.save(content, file)

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, write)
    except (OSError, RuntimeError) as error:  # torch makes the latter of a full disk
        raise InputError(f"{path}: must be writable, but: {one_line(error)}") from error
