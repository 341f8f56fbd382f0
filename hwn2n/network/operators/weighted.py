"""Rules of the operators that make channels: convolutions and fully connected layers."""

from __future__ import annotations

import math

from torch import nn

from hwn2n.network.architecture import IllegalArchitectureError, Operation
from hwn2n.network.layout import Layout
from hwn2n.network.operators.base import (
    Operator,
    Shape,
    freeze_all,
    on_axis,
    one_shape,
    pooled,
    shaped,
    size,
)
from hwn2n.network.operators.standardised import StandardisedConv2d, standardising_flops
from hwn2n.network.variables import ChannelVariables

LINEAR_INPUT_LIMIT = 50_000
"""A fully connected layer with more inputs is a degenerate candidate (the paper's "giant fully
connected layer"; the figure is the one in the authors' public code)."""


class Conv2d(Operator):
    """Convolution: makes channels of its own, except depthwise, which keeps its input's.

    `config["depthwise"]` says so, for groups cannot: with one channel left, both have one group.
    Another grouped convolution loses whole groups: as many channels for each group as before, of
    fewer groups, so that no filter changes what it reads. `config["standardised"]`, if it is
    there, holds `eps` and `gamma` of a `StandardisedConv2d`.
    """

    bypassable = True
    has_kernel = True
    has_weights = True

    def relate(
        self,
        op: Operation,
        inputs: list[Layout | None],
        shapes: list[Shape],
        variables: ChannelVariables,
    ) -> Layout | None:
        source = on_axis(op, inputs[0], 1, variables)
        cfg = op.config
        if cfg["depthwise"]:
            return source
        if cfg["groups"] == 1:
            return Layout(1, (variables.fresh(op.name, cfg["out_channels"]),))
        made, read = variables.fresh_in_groups(
            op.name, cfg["out_channels"], cfg["groups"], cfg["in_channels"]
        )
        reason = f"{op.name} is a convolution of {cfg['groups']} groups"
        if source is None or source.order or source.flat or len(source.parts) > 1:
            # its groups lie across channels of different origin
            freeze_all([source, Layout(1, (made,))], variables, f"{reason} across several inputs")
        else:
            variables.merge(source.parts[0], read, f"{reason} that do not fit those before it")
        return Layout(1, (made,))

    def resize(self, op: Operation, inputs: list[Shape], width: int | None) -> Operation:
        shape = one_shape(op, inputs, rank=4)
        if op.config["depthwise"]:
            op = op.with_config(in_channels=shape[1], out_channels=shape[1], groups=shape[1])
        elif op.config["groups"] == 1:
            op = op.with_config(in_channels=shape[1], out_channels=width)
        else:
            op = _with_groups(op, shape[1], width or op.config["out_channels"])
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
        return shaped(op, (shape[0], cfg["out_channels"], *spatial))

    def build(self, op: Operation) -> nn.Module:
        cfg = op.config
        given = {
            "stride": tuple(cfg["stride"]),
            "padding": tuple(cfg["padding"]),
            "dilation": tuple(cfg["dilation"]),
            "groups": cfg["groups"],
            "bias": cfg["bias"],
        }
        sizes = (cfg["in_channels"], cfg["out_channels"], tuple(cfg["kernel_size"]))
        if "standardised" in cfg:
            return StandardisedConv2d(*sizes, **given, **cfg["standardised"])
        return nn.Conv2d(*sizes, **given)

    def parameters(self, op: Operation) -> int:
        cfg = op.config
        gain = cfg.get("standardised", {}).get("gamma") is not None
        return cfg["out_channels"] * (_fan_in(op) + cfg["bias"] + gain)

    def flops(self, op: Operation, inputs: list[Shape]) -> int:
        assert op.shape is not None
        work = size(op.shape) * _fan_in(op)
        if how := op.config.get("standardised"):
            work += standardising_flops(op.config["out_channels"] * _fan_in(op), how["gamma"])
        return work


def _fan_in(op: Operation) -> int:
    cfg = op.config
    return cfg["in_channels"] // cfg["groups"] * math.prod(cfg["kernel_size"])


def _with_groups(op: Operation, read: int, made: int) -> Operation:
    """The convolution with fewer groups of the same size; the reason where they do not fit."""
    cfg = op.config
    in_group, out_group = (cfg[k] // cfg["groups"] for k in ("in_channels", "out_channels"))
    if read % in_group or made % out_group or read // in_group != made // out_group:
        raise IllegalArchitectureError(
            f"{op.name} makes {out_group} channels of {in_group} in each group, so it cannot make "
            f"{made} of {read}"
        )
    return op.with_config(in_channels=read, out_channels=made, groups=read // in_group)


class ConvTranspose2d(Operator):
    """Transposed convolution: makes channels of its own, and a larger image, so it always stays.

    Grouped ones keep their channels.
    """

    has_weights = True

    def relate(
        self,
        op: Operation,
        inputs: list[Layout | None],
        shapes: list[Shape],
        variables: ChannelVariables,
    ) -> Layout | None:
        source = on_axis(op, inputs[0], 1, variables)
        made = Layout(1, (variables.fresh(op.name, op.config["out_channels"]),))
        if op.config["groups"] > 1:
            reason = f"{op.name} is a transposed convolution of {op.config['groups']} groups"
            freeze_all([source, made], variables, reason)
        return made

    def resize(self, op: Operation, inputs: list[Shape], width: int | None) -> Operation:
        shape, cfg = one_shape(op, inputs, rank=4), op.config
        if cfg["groups"] > 1 and shape[1] != cfg["in_channels"]:
            raise IllegalArchitectureError(
                f"{op.name} has {cfg['groups']} groups and must read {cfg['in_channels']} "
                f"channels, but would get {shape[1]}"
            )
        op = op.with_config(in_channels=shape[1], out_channels=width)
        cfg = op.config
        spatial = [
            (shape[2 + i] - 1) * cfg["stride"][i]
            - 2 * cfg["padding"][i]
            + cfg["dilation"][i] * (cfg["kernel_size"][i] - 1)
            + cfg["output_padding"][i]
            + 1
            for i in range(2)
        ]
        return shaped(op, (shape[0], cfg["out_channels"], *spatial))

    def build(self, op: Operation) -> nn.Module:
        cfg = op.config
        return nn.ConvTranspose2d(
            cfg["in_channels"],
            cfg["out_channels"],
            tuple(cfg["kernel_size"]),
            stride=tuple(cfg["stride"]),
            padding=tuple(cfg["padding"]),
            output_padding=tuple(cfg["output_padding"]),
            groups=cfg["groups"],
            bias=cfg["bias"],
            dilation=tuple(cfg["dilation"]),
        )

    def parameters(self, op: Operation) -> int:
        cfg = op.config
        filters = cfg["in_channels"] // cfg["groups"] * math.prod(cfg["kernel_size"])
        return cfg["out_channels"] * (filters + cfg["bias"])

    def flops(self, op: Operation, inputs: list[Shape]) -> int:
        cfg = op.config
        filters = cfg["out_channels"] // cfg["groups"] * math.prod(cfg["kernel_size"])
        return size(inputs[0]) * filters


class Linear(Operator):
    """Fully connected layer on the last dimension."""

    bypassable = True
    has_weights = True

    def relate(
        self,
        op: Operation,
        inputs: list[Layout | None],
        shapes: list[Shape],
        variables: ChannelVariables,
    ) -> Layout | None:
        assert op.shape is not None
        axis = len(op.shape) - 1
        on_axis(op, inputs[0], axis, variables)
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
