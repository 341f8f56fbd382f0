"""What is exported: a network as data, from a run or from a file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from hwn2n.errors import InputError, one_line
from hwn2n.network.architecture import Architecture
from hwn2n.network.files.stored import Stored

PRECISIONS: dict[str, torch.dtype] = {"fp32": torch.float32, "fp16": torch.float16}
"""Of weights, images and logits alike."""


@dataclass(frozen=True, kw_only=True)
class Student:
    """A network in the precision in which it is written.

    `network` computes in `precision`; `reference` is the same in float32, which files are
    compared with. Both are in eval mode, on the CPU, and take images (N, C, H, W).
    """

    stored: Stored
    precision: str
    network: nn.Module
    reference: nn.Module

    @property
    def architecture(self) -> Architecture:
        """Its layers, without weights."""
        return self.stored.architecture

    @property
    def description(self) -> Mapping[str, Any]:
        """Classes, mean, std, data and metadata, those that are known."""
        return self.stored.description

    @property
    def dtype(self) -> torch.dtype:
        """That of weights, images and logits."""
        return PRECISIONS[self.precision]

    def example(self) -> Tensor:
        """Two images of the student's own shape and type, to trace with."""
        return torch.zeros((2, *self.architecture.input_shape), dtype=self.dtype)


def in_precision(stored: Stored, precision: str) -> Student:
    """The network ready to be written; `InputError` if it cannot compute in that precision."""
    if precision not in PRECISIONS:
        raise InputError(f"precision must be one of {', '.join(PRECISIONS)}, but got {precision!r}")
    student = Student(
        stored=stored,
        precision=precision,
        network=stored.module(PRECISIONS[precision]),
        reference=stored.module(),
    )
    try:
        with torch.no_grad():
            student.network(student.example())
    except (RuntimeError, NotImplementedError) as error:
        raise InputError(
            f"{stored.source}: the network must run in {precision}, but: {one_line(error)}"
        ) from error
    return student
