"""torch as it is: operator after operator, each launched from Python."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from hwn2n.hardware.runtimes.base import Executable, Runtime, logits_of
from hwn2n.hardware.runtimes.in_process import InProcess
from hwn2n.hardware.runtimes.pt2 import pt2_bytes


class TorchExecutable(InProcess):
    """A network, or what torch made of it, that is called with the images."""

    def __init__(
        self, name: str, function: Callable[[Tensor], Any], images: Tensor, device: torch.device
    ) -> None:
        super().__init__(name, images, device)
        self._function: Callable[[Tensor], Any] | None = function
        self._last: Any = None

    def _compute(self) -> None:
        assert self._function is not None, "the executable is closed"
        self._last = self._function(self.images)

    def _output(self) -> Tensor:
        return logits_of(self._last)

    def close(self) -> None:
        """Let go of the network and of its last output."""
        self._function = self._last = None


class TorchRuntime(Runtime):
    """What the runtimes of torch itself have in common: the file is a `.pt2`."""

    def file_missing(self, device: torch.device, dtype: torch.dtype = torch.float32) -> str | None:
        """A `.pt2` can be written anywhere."""
        return None

    def _file_bytes(self, model: nn.Module, images: Tensor, device: torch.device) -> int:
        return pt2_bytes(model, images)


class Eager(TorchRuntime):
    """torch in eager mode, and the reference of all other runtimes."""

    name = "eager"
    exact = True

    def missing(self, device: torch.device, dtype: torch.dtype = torch.float32) -> str | None:
        """None where torch can use the device."""
        return torch_missing(device)

    def _prepare(self, model: nn.Module, images: Tensor, device: torch.device) -> Executable:
        return TorchExecutable(self.name, model, images, device)


def torch_missing(device: torch.device) -> str | None:
    """Why torch cannot use `device` here; None if it can."""
    if device.type == "cpu":
        return None
    known = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device.type != "cuda" or (device.index or 0) >= known:
        return f"torch sees {known} CUDA devices here, so no {device}"
    return None
