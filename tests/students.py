"""Networks as the runtimes meet them: a student of hwn2n, and one out of a `.pt2`."""

import io
from functools import cache

import torch
from networks import Plain, images, seeded
from torch import nn
from torch.export import Dim, export, load, save

from hwn2n.network.capture import Captured, capture

SHAPE = (3, 8, 8)


@cache
def _captured(seed: int) -> Captured:
    return capture(seeded(Plain, seed), SHAPE)


def student(seed: int = 0) -> nn.Module:
    """A network as hwn2n makes them."""
    return _captured(seed).module()


@cache
def _saved() -> bytes:
    program = export(
        seeded(Plain), (images(SHAPE),), dynamic_shapes=({0: Dim("batch")},), strict=False
    )
    buffer = io.BytesIO()
    save(program, buffer)
    return buffer.getvalue()


def exported() -> nn.Module:
    """A network as `torch.export.load` gives it, which refuses .eval()."""
    return load(io.BytesIO(_saved())).module()


def eager(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """The logits that every runtime must give."""
    with torch.inference_mode():
        return model(x)
