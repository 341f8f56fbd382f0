"""Rules of the operators without weights: activations, pooling, sums, shapes."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from hwn2n.network.architecture import IllegalArchitectureError, Operation
from hwn2n.network.operators.base import (
    Operator,
    Shape,
    channel_axis,
    freeze_all,
    merge_parts,
    one_shape,
    pooled,
    shaped,
    size,
)
from hwn2n.network.variables import ChannelVariables, Layout

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
}
"""Activations by the name of their aten operator; `config["args"]` are their own arguments."""


class _Keeps(Operator):
    """Channels and shape of the output are those of the input."""

    def relate(
        self, op: Operation, inputs: list[Layout | None], variables: ChannelVariables
    ) -> Layout | None:
        return inputs[0]

    def resize(self, op: Operation, inputs: list[Shape], width: int | None) -> Operation:
        return shaped(op, inputs[0])


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


class Pool2d(_Keeps):
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
        return shaped(op, (-1, shape[1], *spatial))

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


class AdaptiveAvgPool2d(_Keeps):
    """Average to a fixed size: what lets a classifier see any input size, so it always stays."""

    def resize(self, op: Operation, inputs: list[Shape], width: int | None) -> Operation:
        shape = one_shape(op, inputs, rank=4)
        wanted = op.config["output_size"]
        return shaped(op, (-1, shape[1], wanted[0] or shape[2], wanted[1] or shape[3]))

    def build(self, op: Operation) -> nn.Module:
        return nn.AdaptiveAvgPool2d(tuple(op.config["output_size"]))

    def flops(self, op: Operation, inputs: list[Shape]) -> int:
        return size(inputs[0])  # fvcore counts one FLOP for each element read


class SpatialMean(_Keeps):
    """Mean over the spatial dimensions (global average pooling written as a mean)."""

    def resize(self, op: Operation, inputs: list[Shape], width: int | None) -> Operation:
        shape = one_shape(op, inputs, rank=4)
        return shaped(op, (-1, shape[1], 1, 1) if op.config["keepdim"] else (-1, shape[1]))

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


class Flatten(Operator):
    """All but the batch into one dimension, channel after channel."""

    def relate(
        self, op: Operation, inputs: list[Layout | None], variables: ChannelVariables
    ) -> Layout | None:
        layout = inputs[0]
        if layout is None or layout.axis == 1:
            return layout and Layout(1, layout.parts, flat=True)
        reason = f"{op.name} flattens channels that are not the first dimension"
        freeze_all(inputs, variables, reason)
        assert op.shape is not None
        return Layout(1, (variables.fixed(op.shape[1], reason),))

    def resize(self, op: Operation, inputs: list[Shape], width: int | None) -> Operation:
        return shaped(op, (-1, math.prod(inputs[0][1:])))

    def build(self, op: Operation) -> nn.Module:
        return nn.Flatten(1)


class Binary(Operator):
    """Sum, difference or product of two tensors of as many channels.

    Other dimensions may be broadcast, as in squeeze and excitation; channels may not, for a
    width of its own that is stretched over another is no width of the same group.
    """

    def relate(
        self, op: Operation, inputs: list[Layout | None], variables: ChannelVariables
    ) -> Layout | None:
        known = [layout for layout in inputs if layout is not None]
        if len(known) < len(inputs):
            freeze_all(inputs, variables, f"{op.name} ({op.kind}) reads a tensor of fixed size")
        if known:
            reason = f"{op.name} ({op.kind}) combines channels of different origin"
            merge_parts(known, variables, reason)
        return known[0] if known else None

    def resize(self, op: Operation, inputs: list[Shape], width: int | None) -> Operation:
        try:
            shape = torch.broadcast_shapes(*(s[1:] for s in inputs))
        except RuntimeError:
            shape = None
        axis = channel_axis(inputs[0])
        if shape is None or len({s[axis] for s in inputs}) > 1:
            raise IllegalArchitectureError(
                f"{op.name} ({op.kind}) would combine shapes {[list(s[1:]) for s in inputs]}"
            )
        return shaped(op, (-1, *shape))

    def build(self, op: Operation) -> Callable[..., Any]:
        return {"add": operator.add, "sub": operator.sub, "mul": operator.mul}[op.kind]


class Concat(Operator):
    """Channels of several tensors one after the other."""

    def relate(
        self, op: Operation, inputs: list[Layout | None], variables: ChannelVariables
    ) -> Layout | None:
        dim = op.config["dim"]
        parts: list[int] = []
        for layout in inputs:
            if layout is None or layout.axis != dim or layout.flat:
                freeze_all(inputs, variables, f"{op.name} concatenates along another dimension")
                return None
            parts += layout.parts
        return Layout(dim, tuple(parts))

    def resize(self, op: Operation, inputs: list[Shape], width: int | None) -> Operation:
        dim = op.config["dim"]
        rests = {s[:dim] + s[dim + 1 :] for s in inputs}
        if len(rests) > 1:
            raise IllegalArchitectureError(
                f"{op.name} would concatenate shapes {[list(s[1:]) for s in inputs]}"
            )
        shape = list(inputs[0])
        shape[dim] = sum(s[dim] for s in inputs)
        return shaped(op, tuple(shape))

    def build(self, op: Operation) -> Callable[..., Any]:
        return Cat(op.config["dim"])


class Cat(nn.Module):
    """Concatenation of its arguments along `dim`, as a module so that a student prints well."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, *tensors: torch.Tensor) -> torch.Tensor:
        """Tensors that agree in all dimensions but `dim`."""
        return torch.cat(tensors, self.dim)

    def extra_repr(self) -> str:
        return f"dim={self.dim}"
