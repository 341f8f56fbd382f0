"""From bytes to logits: normalisation, precision, memory format and checks, in one place."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hwn2n.distil.augment import normalise
from hwn2n.distil.recipes import PRECISIONS
from hwn2n.errors import Hwn2nError, InputError


class DivergedError(Hwn2nError):
    """A network gives NaN or infinite logits, losses or weights."""


def choose_precision(device: torch.device | str) -> str:
    """What "auto" means on a device: "bf16" where its matrix units have it, else "fp32".

    That is CUDA from Ampere on, and CPUs with AMX or AVX512-BF16 (measured on one core of such a
    CPU: a step of ResNet-18 takes half the time). torch has no public question for that; where
    its private ones are gone, the answer is "fp32".
    """
    kind = torch.device(device).type
    if kind == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    if kind == "cpu":
        for question in ("_is_amx_tile_supported", "_is_avx512_bf16_supported"):
            answer = getattr(torch.cpu, question, None)
            if answer is not None and answer():
                return "bf16"
    return "fp32"


@dataclass(frozen=True, kw_only=True)
class Feed:
    """How images are given to a network on a device.

    Attributes:
        mean: of each channel, in units of 0..1.
        std: deviation of each channel, in units of 0..1.
        device: where the network is.
        precision: "fp32" or "bf16" (autocast); "auto" is settled by `make`.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    device: torch.device
    precision: str

    @staticmethod
    def make(
        mean: Sequence[float], std: Sequence[float], device: torch.device | str, precision: str
    ) -> Feed:
        """A feed with "auto" settled for the device.

        Raises:
            InputError: unknown precision.
        """
        if precision not in PRECISIONS:
            raise InputError(
                f"precision must be one of {', '.join(PRECISIONS)}, but got {precision!r}"
            )
        if precision == "auto":
            precision = choose_precision(device)
        return Feed(
            mean=tuple(mean), std=tuple(std), device=torch.device(device), precision=precision
        )

    @property
    def memory_format(self) -> torch.memory_format:
        """The format in which the device's kernels for this precision are fast."""
        if self.precision == "bf16" or self.device.type == "cuda":
            return torch.channels_last
        # in float32, channels-last, the gradient of a 1x1 convolution with a stride and few
        # channels writes beyond its memory on a CPU with AVX2 (oneDNN issue 6035)
        return torch.contiguous_format

    def pixels(self, images: Tensor) -> Tensor:
        """Normalised float32 (N, C, H, W) on the device, of bytes (N, C, H, W)."""
        last = self.memory_format == torch.channels_last
        return normalise(images.to(self.device), self.mean, self.std, channels_last=last)

    def logits(self, model: nn.Module, pixels: Tensor, num_classes: int | None) -> Tensor:
        """The network's float32 logits (N, K).

        Raises:
            InputError: its output is not such a tensor, or K is not `num_classes`.
        """
        with torch.autocast(
            self.device.type, dtype=torch.bfloat16, enabled=self.precision == "bf16"
        ):
            output = model(pixels)
        if not isinstance(output, Tensor) or output.ndim != 2 or len(output) != len(pixels):
            found = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
            raise InputError(
                f"a network must return logits of shape ({len(pixels)}, classes), but got {found}"
            )
        if num_classes is not None and output.shape[1] != num_classes:
            raise InputError(
                f"a network must have one output for each of {num_classes} classes, "
                f"but has {output.shape[1]}"
            )
        return output.float()


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Eval mode within, and afterwards every module in the mode that it had."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
