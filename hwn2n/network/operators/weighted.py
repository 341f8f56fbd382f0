"""Rules of the operators with weights: convolution, linear layer, batch normalisation."""

from __future__ import annotations

import math

from torch import nn

from hwn2n.network.architecture import IllegalArchitectureError, Operation
from hwn2n.network.operators.base import (
    Operator,
    Shape,
    freeze_all,
    one_shape,
    pooled,
    shaped,
    size,
)
from hwn2n.network.variables import ChannelVariables, Layout

LINEAR_INPUT_LIMIT = 50_000
"""A fully connected layer with more inputs is a degenerate candidate (the paper's "giant fully
connected layer"; the figure is the one in the authors' public code)."""


class Conv2d(Operator):
    """Convolution: makes channels of its own, except depthwise, which keeps its input's.

    `config["depthwise"]` says so, for groups cannot: with one channel left, both have one group.
    """

    bypassable = True
    has_kernel = True
    has_weights = True

    def relate(
        self, op: Operation, inputs: list[Layout | None], variables: ChannelVariables
    ) -> Layout | None:
        source = inputs[0]
        if op.config["depthwise"]:
            return source
        if op.config["groups"] == 1:
            return Layout(1, (variables.fresh(op.name, op.config["out_channels"]),))
        reason = f"{op.name} is a grouped convolution ({op.config['groups']} groups)"
        freeze_all([source], variables, reason)
        return Layout(1, (variables.fixed(op.config["out_channels"], reason),))

    def resize(self, op: Operation, inputs: list[Shape], width: int | None) -> Operation:
        shape = one_shape(op, inputs, rank=4)
        if op.config["depthwise"]:
            op = op.with_config(in_channels=shape[1], out_channels=shape[1], groups=shape[1])
        elif op.config["groups"] == 1:
            op = op.with_config(in_channels=shape[1], out_channels=width)
        elif shape[1] != op.config["in_channels"]:
            raise IllegalArchitectureError(
                f"{op.name} needs {op.config['in_channels']} channels in {op.config['groups']} "
                f"groups, but would get {shape[1]}"
            )
        cfg = op.config
        spatial = [
            pooled(
                shape[2 + i],
                cfg["kernel_size"][i],
                cfg["stride"][i],
                cfg["padding"][i],
                cfg["dilation"][i],
                False,
            )
            for i in range(2)
        ]
        if min(spatial) < 1:
            raise IllegalArchitectureError(
                f"{op.name} with kernel {cfg['kernel_size']} does not fit an input of {shape[2:]}"
            )
        return shaped(op, (-1, cfg["out_channels"], *spatial))

    def build(self, op: Operation) -> nn.Module:
        cfg = op.config
        return nn.Conv2d(
            cfg["in_channels"],
            cfg["out_channels"],
            tuple(cfg["kernel_size"]),
            stride=tuple(cfg["stride"]),
            padding=tuple(cfg["padding"]),
            dilation=tuple(cfg["dilation"]),
            groups=cfg["groups"],
            bias=cfg["bias"],
        )

    def parameters(self, op: Operation) -> int:
        cfg = op.config
        filters = cfg["in_channels"] // cfg["groups"] * math.prod(cfg["kernel_size"])
        return cfg["out_channels"] * (filters + cfg["bias"])

    def flops(self, op: Operation, inputs: list[Shape]) -> int:
        cfg = op.config
        assert op.shape is not None
        return size(op.shape) * cfg["in_channels"] // cfg["groups"] * math.prod(cfg["kernel_size"])


class Linear(Operator):
    """Fully connected layer on the last dimension."""

    bypassable = True
    has_weights = True

    def relate(
        self, op: Operation, inputs: list[Layout | None], variables: ChannelVariables
    ) -> Layout | None:
        assert op.shape is not None
        axis = len(op.shape) - 1
        if inputs[0] is not None and inputs[0].axis != axis:
            freeze_all(inputs, variables, f"{op.name} reads along another dimension")
        return Layout(axis, (variables.fresh(op.name, op.config["out_features"]),))

    def resize(self, op: Operation, inputs: list[Shape], width: int | None) -> Operation:
        assert op.shape is not None
        shape = one_shape(op, inputs, rank=len(op.shape))
        if shape[-1] > max(LINEAR_INPUT_LIMIT, op.config["in_features"]):
            raise IllegalArchitectureError(
                f"{op.name} would be a giant fully connected layer of {shape[-1]} inputs "
                f"(limit {LINEAR_INPUT_LIMIT})"
            )
        op = op.with_config(in_features=shape[-1], out_features=width)
        return shaped(op, (*shape[:-1], op.config["out_features"]))

    def build(self, op: Operation) -> nn.Module:
        cfg = op.config
        return nn.Linear(cfg["in_features"], cfg["out_features"], bias=cfg["bias"])

    def parameters(self, op: Operation) -> int:
        return op.config["out_features"] * (op.config["in_features"] + op.config["bias"])

    def flops(self, op: Operation, inputs: list[Shape]) -> int:
        return size(inputs[0]) * op.config["out_features"]


class BatchNorm(Operator):
    """Batch normalisation: one scale, shift, mean and variance for each channel of its input."""

    bypassable = True
    has_weights = True

    def relate(
        self, op: Operation, inputs: list[Layout | None], variables: ChannelVariables
    ) -> Layout | None:
        return inputs[0]

    def resize(self, op: Operation, inputs: list[Shape], width: int | None) -> Operation:
        shape = inputs[0]
        return shaped(op.with_config(num_features=shape[1]), shape)

    def build(self, op: Operation) -> nn.Module:
        assert op.shape is not None
        cls = nn.BatchNorm2d if len(op.shape) == 4 else nn.BatchNorm1d
        cfg = op.config
        return cls(
            cfg["num_features"],
            eps=cfg["eps"],
            momentum=cfg["momentum"],
            affine=cfg["affine"],
            track_running_stats=cfg["track_running_stats"],
        )

    def parameters(self, op: Operation) -> int:
        return 2 * op.config["num_features"] if op.config["affine"] else 0

    def buffers_bytes(self, op: Operation) -> int:
        if not op.config["track_running_stats"]:
            return 0
        return 8 * op.config["num_features"] + 8  # two float32 vectors and an int64 counter

    def flops(self, op: Operation, inputs: list[Shape]) -> int:
        return size(inputs[0]) * (2 if op.config["affine"] else 1)
