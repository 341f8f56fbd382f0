"""Convolutions whose filters are standardised in each forward pass (BiT, NF-Nets)."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn


class StandardisedConv2d(nn.Conv2d):
    """A convolution by filters of mean 0 and variance 1 (Qiao et al. 2019).

    With `gamma` they are scaled by `gain * gamma / sqrt(fan in)`, where `gain` is a weight for
    each filter (Brock et al. 2021): the scale follows the number of inputs that a filter has left.
    """

    def __init__(self, *args: Any, eps: float, gamma: float | None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.eps, self.gamma = eps, gamma
        if gamma is not None:
            self.gain = nn.Parameter(torch.ones(self.out_channels, 1, 1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, in, H, W) to (N, out, H', W')."""
        scale = None
        if self.gamma is not None:
            scale = (self.gain * (self.gamma * self.weight[0].numel() ** -0.5)).view(-1)
        rows = self.weight.reshape(1, self.out_channels, -1)
        rows = F.batch_norm(rows, None, None, scale, training=True, momentum=0.0, eps=self.eps)
        return self._conv_forward(x, rows.reshape_as(self.weight), self.bias)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, eps={self.eps}, gamma={self.gamma}"


def standardising_flops(weights: int, gamma: float | None) -> int:
    """What fvcore counts for the statistics of so many weights, once for each batch."""
    return weights * (4 if gamma is None else 5)
