"""From a call of an aten operator to an operation: one small function for each, and the table.

A rule answers None where the call is one that it cannot express; the call then stays as it is
(`function`), which freezes the channels that it touches.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import fx

from hwn2n.network.architecture import Operation
from hwn2n.network.operators.base import channel_axis
from hwn2n.network.operators.simple import ACTIVATIONS
from hwn2n.network.translation import Translation, function

Rule = Callable[[Translation, fx.Node, str], Operation | None]


def _pair(value: Any) -> list[int]:
    values = list(value) if isinstance(value, list | tuple) else [value]
    return [int(v) for v in (values * 2 if len(values) == 1 else values)]


def _arguments(node: fx.Node, names: tuple[str, ...], defaults: dict[str, Any]) -> dict[str, Any]:
    """The operator's arguments by name, after the input."""
    given = dict(zip(names, node.args[1:], strict=False))
    return {**defaults, **given, **node.kwargs}


def _conv2d(t: Translation, node: fx.Node, target: str) -> Operation | None:
    names = ("weight", "bias", "stride", "padding", "dilation", "groups")
    a = _arguments(
        node, names, {"bias": None, "stride": 1, "padding": 0, "dilation": 1, "groups": 1}
    )
    if a["weight"] not in t.tensor_of:
        return None
    shape = t.tensor_of[a["weight"]][1].shape
    padding, dilation = a["padding"], _pair(a["dilation"])
    if isinstance(padding, str):
        same = [d * (k - 1) for d, k in zip(dilation, shape[2:], strict=True)]
        if padding == "same" and any(total % 2 for total in same):
            return None
        padding = [total // 2 for total in same] if padding == "same" else 0
    config = {
        "in_channels": shape[1] * a["groups"],
        "out_channels": shape[0],
        "kernel_size": list(shape[2:]),
        "stride": _pair(a["stride"]),
        "padding": _pair(padding),
        "dilation": dilation,
        "groups": a["groups"],
        "depthwise": a["groups"] > 1 and a["groups"] == shape[0] == shape[1] * a["groups"],
        "bias": a["bias"] is not None,
    }
    return t.weighted(node, "conv2d", config, weight=a["weight"], bias=a["bias"])


def _linear(t: Translation, node: fx.Node, target: str) -> Operation | None:
    a = _arguments(node, ("weight", "bias"), {"bias": None})
    if a["weight"] not in t.tensor_of:
        return None
    outputs, inputs = t.tensor_of[a["weight"]][1].shape
    config = {"in_features": inputs, "out_features": outputs, "bias": a["bias"] is not None}
    return t.weighted(node, "linear", config, weight=a["weight"], bias=a["bias"])


def _batch_norm(t: Translation, node: fx.Node, target: str) -> Operation | None:
    names = ("weight", "bias", "running_mean", "running_var", "training", "momentum", "eps")
    a = _arguments(node, names, {})
    shape = t.shape(node)
    if (
        a["weight"] is None
        or a["running_mean"] is None
        or a["running_mean"] not in t.tensor_of
        or shape is None
        or len(shape) not in (2, 4)
    ):
        return None
    config = {
        "num_features": shape[1],
        "eps": a["eps"],
        # a cumulative average (momentum None) is exported as 0, which would never learn anything
        "momentum": a["momentum"] or None,
        "affine": True,
        "track_running_stats": True,
    }
    operation = t.weighted(
        node,
        "batch_norm",
        config,
        weight=a["weight"],
        bias=a["bias"],
        running_mean=a["running_mean"],
        running_var=a["running_var"],
    )
    if operation is not None and "tied_to" not in operation.config:
        path = t.tensor_of[a["running_mean"]][0].removesuffix("running_mean")
        counted = t.state.get(f"{path}num_batches_tracked", torch.tensor(0))
        t.weights[f"{operation.name}.num_batches_tracked"] = counted.detach().cpu().clone()
    return operation


def _activation(t: Translation, node: fx.Node, target: str) -> Operation | None:
    name = target.split(".")[1]
    args = list(node.args[1:])
    if name == "hardtanh" and args == [0.0, 6.0]:
        name, args = "relu6", []
    if name == "gelu":
        args = [node.kwargs.get("approximate", "none")]
    if name == "elu" and len(args) > 1:
        return None  # scales that nn.ELU does not have
    config = {"function": name, "args": args}
    return Operation(
        t.named(node, name), "activation", (t.read(node.args[0]),), config, t.shape(node)
    )


def _dropout(t: Translation, node: fx.Node, target: str) -> Operation | None:
    config = {"p": node.args[1], "channels": "feature" in target}
    return Operation(
        t.named(node, "dropout"), "dropout", (t.read(node.args[0]),), config, t.shape(node)
    )


def _pool2d(t: Translation, node: fx.Node, target: str) -> Operation | None:
    kind = target.split(".")[1]
    third = "dilation" if kind == "max_pool2d" else "ceil_mode"
    names: tuple[str, ...] = ("kernel_size", "stride", "padding", third)
    names += ("ceil_mode",) if kind == "max_pool2d" else ("count_include_pad", "divisor_override")
    defaults = {"stride": [], "padding": 0, "dilation": 1, "ceil_mode": False}
    a = _arguments(node, names, {**defaults, "count_include_pad": True, "divisor_override": None})
    shape = t.shape(node)
    if a["divisor_override"] is not None or shape is None or len(shape) != 4:
        return None
    config = {
        "kernel_size": _pair(a["kernel_size"]),
        "stride": _pair(a["stride"] or a["kernel_size"]),
        "padding": _pair(a["padding"]),
        "ceil_mode": bool(a["ceil_mode"]),
    }
    if kind == "max_pool2d":
        config["dilation"] = _pair(a["dilation"])
    else:
        config["count_include_pad"] = bool(a["count_include_pad"])
    return Operation(t.named(node, kind), kind, (t.read(node.args[0]),), config, shape)


def _adaptive(t: Translation, node: fx.Node, target: str) -> Operation | None:
    shape = t.shape(node)
    if shape is None or len(shape) != 4:
        return None
    config = {"output_size": _pair(node.args[1])}
    name = t.named(node, "adaptive_avg_pool2d")
    return Operation(name, "adaptive_avg_pool2d", (t.read(node.args[0]),), config, shape)


def _flatten(t: Translation, node: fx.Node, target: str) -> Operation | None:
    """`flatten(x, 1)`, and the views that say the same."""
    source, shape = node.args[0], t.shape(node)
    before = t.shape(source)
    if before is None or shape is None or len(shape) != 2 or shape[0] != -1 or before[0] != -1:
        return None
    if torch.Size(before[1:]).numel() != shape[1]:
        return None
    return Operation(t.named(node, "flatten"), "flatten", (t.read(source),), {}, shape)


def _mean(t: Translation, node: fx.Node, target: str) -> Operation | None:
    a = _arguments(node, ("dim", "keepdim"), {"keepdim": False, "dtype": None})
    before, dims = t.shape(node.args[0]), a["dim"]
    if before is None or len(before) != 4 or not isinstance(dims, list | tuple):
        return None
    if {int(d) % 4 for d in dims} != {2, 3} or a["dtype"] is not None:
        return None
    config = {"keepdim": bool(a["keepdim"])}
    return Operation(t.named(node, "mean"), "mean", (t.read(node.args[0]),), config, t.shape(node))


def _binary(t: Translation, node: fx.Node, target: str) -> Operation | None:
    kind = target.split(".")[1]
    left, right = node.args[:2]
    if not isinstance(left, fx.Node) or node.kwargs:
        return None
    if not isinstance(right, fx.Node):
        return _scalar(t, node, target)
    first, second = t.shape(left), t.shape(right)
    if first is None or second is None or len(first) != len(second) or len(first) < 2:
        return None
    if first[channel_axis(first)] != second[channel_axis(second)]:
        return None
    inputs = (t.read(left), t.read(right))
    return Operation(t.named(node, kind), kind, inputs, {}, t.shape(node))


def _scalar(t: Translation, node: fx.Node, target: str) -> Operation | None:
    """A tensor and a number: a function of each element."""
    if len(node.all_input_nodes) != 1 or not isinstance(node.args[0], fx.Node):
        return None
    return function(t, node, target).with_config(elementwise=True)


def _cat(t: Translation, node: fx.Node, target: str) -> Operation | None:
    shape = t.shape(node)
    if shape is None:
        return None
    dim = int(node.args[1]) if len(node.args) > 1 else 0  # type: ignore[arg-type]
    inputs = tuple(t.read(item) for item in node.args[0])  # type: ignore[union-attr]
    return Operation(t.named(node, "cat"), "cat", inputs, {"dim": dim % len(shape)}, shape)


RULES: dict[str, Rule] = {
    "aten.conv2d.default": _conv2d,
    "aten.conv2d.padding": _conv2d,
    "aten.linear.default": _linear,
    "aten.batch_norm.default": _batch_norm,
    **{f"aten.{name}.default": _activation for name in ACTIVATIONS},
    "aten.dropout.default": _dropout,
    "aten.feature_dropout.default": _dropout,
    "aten.max_pool2d.default": _pool2d,
    "aten.avg_pool2d.default": _pool2d,
    "aten.adaptive_avg_pool2d.default": _adaptive,
    "aten.flatten.using_ints": _flatten,
    "aten.view.default": _flatten,
    "aten.reshape.default": _flatten,
    "aten._unsafe_view.default": _flatten,
    "aten.mean.dim": _mean,
    "aten.add.Tensor": _binary,
    "aten.sub.Tensor": _binary,
    "aten.mul.Tensor": _binary,
    "aten.div.Tensor": _scalar,
    "aten.cat.default": _cat,
}
