"""Rules of the operators without weights that keep channels: activations, dropout, pooling."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from hwn2n.network.architecture import IllegalArchitectureError, Operation
from hwn2n.network.layout import Layout
from hwn2n.network.operators.base import (
    Operator,
    Shape,
    on_axis,
    one_shape,
    pooled,
    shaped,
    size,
)
from hwn2n.network.variables import ChannelVariables

ACTIVATIONS: dict[str, Callable[..., nn.Module]] = {
    "relu": nn.ReLU,
    "relu6": nn.ReLU6,
    "silu": nn.SiLU,
    "gelu": nn.GELU,
    "hardswish": nn.Hardswish,
    "hardsigmoid": nn.Hardsigmoid,
    "hardtanh": nn.Hardtanh,
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "mish": nn.Mish,
    "softplus": nn.Softplus,
}
"""Activations by the name of their aten operator; `config["args"]` are their own arguments."""


class _Keeps(Operator):
    """Channels and shape of the output are those of the input."""

    def relate(
        self,
        op: Operation,
        inputs: list[Layout | None],
        shapes: list[Shape],
        variables: ChannelVariables,
    ) -> Layout | None:
        return inputs[0]

    def resize(self, op: Operation, inputs: list[Shape], width: int | None) -> Operation:
        return shaped(op, inputs[0])


class _KeepsImages(_Keeps):
    """The same, of images (N, C, H, W)."""

    def relate(
        self,
        op: Operation,
        inputs: list[Layout | None],
        shapes: list[Shape],
        variables: ChannelVariables,
    ) -> Layout | None:
        return on_axis(op, inputs[0], 1, variables)


class Activation(_Keeps):
    """A function of each element."""

    bypassable = True

    def build(self, op: Operation) -> nn.Module:
        return ACTIVATIONS[op.config["function"]](*op.config["args"])


class Dropout(_Keeps):
    """Dropout of elements, or of whole channels; active in training only."""

    bypassable = True

    def build(self, op: Operation) -> nn.Module:
        return (nn.Dropout2d if op.config["channels"] else nn.Dropout)(op.config["p"])


class Pool2d(_KeepsImages):
    """Maximum or average over a sliding window."""

    bypassable = True

    def resize(self, op: Operation, inputs: list[Shape], width: int | None) -> Operation:
        shape = one_shape(op, inputs, rank=4)
        cfg = op.config
        dilation = cfg.get("dilation", [1, 1])
        spatial = [
            pooled(
                shape[2 + i],
                cfg["kernel_size"][i],
                cfg["stride"][i],
                cfg["padding"][i],
                dilation[i],
                cfg["ceil_mode"],
            )
            for i in range(2)
        ]
        if min(spatial) < 1:
            raise IllegalArchitectureError(
                f"{op.name} with window {cfg['kernel_size']} does not fit an input of {shape[2:]}"
            )
        return shaped(op, (shape[0], shape[1], *spatial))

    def build(self, op: Operation) -> nn.Module:
        cfg = op.config
        kernel, stride, padding = (tuple(cfg[k]) for k in ("kernel_size", "stride", "padding"))
        if op.kind == "max_pool2d":
            return nn.MaxPool2d(
                kernel, stride, padding, tuple(cfg["dilation"]), ceil_mode=cfg["ceil_mode"]
            )
        return nn.AvgPool2d(
            kernel, stride, padding, cfg["ceil_mode"], count_include_pad=cfg["count_include_pad"]
        )


class AdaptiveAvgPool2d(_KeepsImages):
    """Average to a fixed size: what lets a classifier see any input size, so it always stays."""

    def resize(self, op: Operation, inputs: list[Shape], width: int | None) -> Operation:
        shape = one_shape(op, inputs, rank=4)
        wanted = op.config["output_size"]
        return shaped(op, (shape[0], shape[1], wanted[0] or shape[2], wanted[1] or shape[3]))

    def build(self, op: Operation) -> nn.Module:
        return nn.AdaptiveAvgPool2d(tuple(op.config["output_size"]))

    def flops(self, op: Operation, inputs: list[Shape]) -> int:
        return size(inputs[0])  # fvcore counts one FLOP for each element read


class SpatialMean(_KeepsImages):
    """Mean over the spatial dimensions (global average pooling written as a mean)."""

    def resize(self, op: Operation, inputs: list[Shape], width: int | None) -> Operation:
        shape = one_shape(op, inputs, rank=4)
        return shaped(op, (*shape[:2], 1, 1) if op.config["keepdim"] else shape[:2])

    def build(self, op: Operation) -> Callable[..., Any]:
        return _SpatialMean(op.config["keepdim"])


class _SpatialMean(nn.Module):
    def __init__(self, keepdim: bool) -> None:
        super().__init__()
        self.keepdim = keepdim

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, H, W) to (N, C), or (N, C, 1, 1) with keepdim."""
        return x.mean((2, 3), keepdim=self.keepdim)

    def extra_repr(self) -> str:
        return f"keepdim={self.keepdim}"
