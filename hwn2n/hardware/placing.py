"""Networks and images where a measurement wants them: copies, in its precision."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from hwn2n.errors import InputError, MeasurementError, one_line


def placed(model: nn.Module, device: torch.device, dtype: torch.dtype, name: str) -> nn.Module:
    """A copy of `model` in eval mode on the device in the precision, for the target `name`.

    Raises MeasurementError where it cannot be copied there.
    """
    try:
        copied = copy.deepcopy(model).to(device=device, dtype=dtype)
    except Exception as error:
        raise MeasurementError(
            f"the model must be copyable to {name} to be measured; found "
            f"{type(error).__name__}: {one_line(error)}"
        ) from error
    for module in copied.modules():
        module.training = False  # networks of torch.export refuse .eval()
    return copied


def host_batch(
    input_shape: tuple[int, ...], batch: int, given: Tensor | None, dtype: torch.dtype
) -> Tensor:
    """(batch, C, H, W) on the host: `given` (n, C, H, W) over again, or noise in 0..1, never zeros.

    Raises InputError where `given` are images of another shape.
    """
    if given is None:
        generator = torch.Generator().manual_seed(0)
        given = torch.rand((batch, *input_shape), generator=generator)
    if tuple(given.shape[1:]) != tuple(input_shape):
        raise InputError(
            f"images must have the shape {tuple(input_shape)}; found {tuple(given.shape[1:])}"
        )
    repeated = given.repeat(-(-batch // len(given)), 1, 1, 1)[:batch]
    return repeated.cpu().to(dtype).contiguous()


def check_shape(input_shape: tuple[int, ...]) -> None:
    """Raise InputError unless `input_shape` is (C, H, W)."""
    if len(input_shape) != 3 or min(input_shape) < 1:
        raise InputError(
            f"an input shape must be (channels, height, width); found {tuple(input_shape)}"
        )
