"""What every teacher file becomes, and the checks that each of them must pass."""

from __future__ import annotations

import io
import math
import sys
from collections.abc import Iterator
from contextlib import redirect_stderr
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from hwn2n.errors import InputError, one_line

LARGEST_IMAGE = 2**26
"""Most values in one image: 256 MiB of float32. The shape may come from a hostile file."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Teacher:
    """A trained classifier and what its file says about it.

    `model` maps float32 images (batch, C, H, W) to logits (batch, classes), is in eval mode, and
    lies on the CPU. For a `.pt2` it is `program.module()`: its graph is that of evaluation, so
    `train()` and `eval()` only set the flag. `None` stands for what the file does not say.
    """

    model: nn.Module
    program: ExportedProgram | None = None
    """The exported program, when the file is a `.pt2`."""
    arch: str | None = None
    """A name that `hwn2n.network.teachers` knows, or "package.module:factory"."""
    input_shape: tuple[int, int, int] | None = None
    """(C, H, W) of one image."""
    classes: tuple[str, ...] | None = None
    mean: tuple[float, ...] | None = None
    """Per channel, in units of 0..1."""
    std: tuple[float, ...] | None = None
    data: str | None = None
    """Name of the data set it was trained on."""
    metadata: dict[str, Any] = field(default_factory=dict)
    """What else the file records, such as the accuracies and the recipe."""
    source: str
    """The file it was read from."""


def check_weights(model: nn.Module, source: str) -> None:
    """Raise InputError unless all floating-point weights are float32 and finite."""
    for name, tensor in _tensors(model):
        if tensor.layout is not torch.strided or tensor.is_quantized or tensor.is_complex():
            raise InputError(
                f"{source}: teacher weights must be dense and real, but {name} has layout"
                f" {tensor.layout} and type {tensor.dtype}"
            )
        if not tensor.is_floating_point():
            continue
        if tensor.dtype != torch.float32:
            raise InputError(
                f"{source}: teacher weights must be float32, but {name} is {tensor.dtype};"
                " call model.float() before saving"
            )
        if not_finite := int((~torch.isfinite(tensor)).sum()):
            layer = name.rpartition(".")[0] or name
            raise InputError(
                f"{source}: teacher weights must be finite: {not_finite} non-finite values in"
                f" layer {layer} ({name})"
            )


def check_classifier(
    model: nn.Module,
    input_shape: tuple[int, int, int],
    classes: tuple[str, ...] | None,
    source: str,
) -> None:
    """Run two blank images through `model`; raise InputError unless logits (2, classes) result."""
    if math.prod(input_shape) > LARGEST_IMAGE:
        raise InputError(
            f"{source}: an image must have at most {LARGEST_IMAGE} values, but its shape is"
            f" {input_shape}"
        )
    images = torch.zeros(2, *input_shape)
    said = io.StringIO()  # of a graph that fails torch prints a traceback and its code
    try:
        with torch.inference_mode(), redirect_stderr(said):
            logits = model(images)
    except Exception as error:
        raise InputError(
            f"{source}: the teacher must accept images of shape {tuple(images.shape)}"
            f" (batch, C, H, W), but it fails on them: {one_line(error)}"
        ) from error
    sys.stderr.write(said.getvalue())
    if not isinstance(logits, Tensor) or logits.ndim != 2 or logits.shape[0] != 2:
        found = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise InputError(
            f"{source}: the teacher must map (batch, C, H, W) to (batch, classes), but it maps"
            f" {tuple(images.shape)} to {found}"
        )
    if classes is not None and logits.shape[1] != len(classes):
        raise InputError(
            f"{source}: the teacher must have one output per class, but it has"
            f" {logits.shape[1]} outputs and the file names {len(classes)} classes"
        )


def _tensors(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from model.named_parameters()
    yield from model.named_buffers()
