"""Rules of the normalisations: they keep their input's channels, and have weights for each."""

from __future__ import annotations

from torch import nn

from hwn2n.network.architecture import IllegalArchitectureError, Operation
from hwn2n.network.layout import Layout
from hwn2n.network.operators.base import Operator, Shape, freeze_all, on_axis, shaped, size
from hwn2n.network.variables import ChannelVariables


class BatchNorm(Operator):
    """Batch normalisation: one scale, shift, mean and variance for each channel of its input."""

    bypassable = True
    has_weights = True

    def relate(
        self,
        op: Operation,
        inputs: list[Layout | None],
        shapes: list[Shape],
        variables: ChannelVariables,
    ) -> Layout | None:
        return on_axis(op, inputs[0], 1, variables)

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


class LayerNorm(Operator):
    """Layer normalisation over the last dimension, which holds the channels."""

    bypassable = True
    has_weights = True

    def relate(
        self,
        op: Operation,
        inputs: list[Layout | None],
        shapes: list[Shape],
        variables: ChannelVariables,
    ) -> Layout | None:
        return on_axis(op, inputs[0], len(shapes[0]) - 1, variables)

    def resize(self, op: Operation, inputs: list[Shape], width: int | None) -> Operation:
        return shaped(op.with_config(num_features=inputs[0][-1]), inputs[0])

    def build(self, op: Operation) -> nn.Module:
        cfg = op.config
        return nn.LayerNorm(
            cfg["num_features"], cfg["eps"], elementwise_affine=cfg["affine"], bias=cfg["bias"]
        )

    def parameters(self, op: Operation) -> int:
        return (op.config["affine"] + op.config["bias"]) * op.config["num_features"]

    def flops(self, op: Operation, inputs: list[Shape]) -> int:
        return size(inputs[0]) * (5 if op.config["affine"] else 4)  # fvcore's estimate


class GroupNorm(Operator):
    """Group normalisation: whole groups are taken out, so that those left see the same values.

    With one group only, single channels are.
    """

    bypassable = True
    has_weights = True

    def relate(
        self,
        op: Operation,
        inputs: list[Layout | None],
        shapes: list[Shape],
        variables: ChannelVariables,
    ) -> Layout | None:
        layout = on_axis(op, inputs[0], 1, variables)
        groups, block = op.config["groups"], op.config["num_features"] // op.config["groups"]
        if layout is None or groups == 1:
            return layout
        whole = all(variables.width(part) % block == 0 for part in layout.parts)
        if layout.order or layout.flat or not whole:
            reason = f"{op.name} normalises {groups} groups across several inputs"
            freeze_all([layout], variables, reason)
            return layout
        for part in layout.parts:
            if not variables.in_blocks(part, block):
                variables.freeze(part, f"{op.name} normalises groups of {block} channels")
        return layout

    def resize(self, op: Operation, inputs: list[Shape], width: int | None) -> Operation:
        cfg, channels = op.config, inputs[0][1]
        groups, block = cfg["groups"], cfg["num_features"] // cfg["groups"]
        if groups > 1 and channels % block:
            raise IllegalArchitectureError(
                f"{op.name} normalises groups of {block} channels, but would get {channels}"
            )
        groups = channels // block if groups > 1 else 1
        return shaped(op.with_config(num_features=channels, groups=groups), inputs[0])

    def build(self, op: Operation) -> nn.Module:
        cfg = op.config
        return nn.GroupNorm(cfg["groups"], cfg["num_features"], cfg["eps"], affine=cfg["affine"])

    def parameters(self, op: Operation) -> int:
        return 2 * op.config["num_features"] * op.config["affine"]

    def flops(self, op: Operation, inputs: list[Shape]) -> int:
        return size(inputs[0]) * (5 if op.config["affine"] else 4)  # fvcore's estimate
