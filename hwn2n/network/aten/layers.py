"""From calls of aten operators to operations with weights: convolutions, linear layers, norms."""

from __future__ import annotations

from typing import Any

import torch
from torch import fx

from hwn2n.network.architecture import Operation
from hwn2n.network.aten.arguments import arguments, pair
from hwn2n.network.aten.standardised import Standard, standardised
from hwn2n.network.translation import Translation


def conv2d(t: Translation, node: fx.Node, target: str) -> Operation | None:
    """A convolution, padding by name included."""
    names = ("weight", "bias", "stride", "padding", "dilation", "groups")
    a = arguments(
        node, names, {"bias": None, "stride": 1, "padding": 0, "dilation": 1, "groups": 1}
    )
    standard = standardised(t, a["weight"]) if a["weight"] not in t.tensor_of else Standard()
    if standard is None:
        return None
    weight = standard.weight or a["weight"]
    shape = t.tensor_of[weight][1].shape
    padding, dilation = a["padding"], pair(a["dilation"])
    if isinstance(padding, str):
        same = [d * (k - 1) for d, k in zip(dilation, shape[2:], strict=True)]
        if padding == "same" and any(total % 2 for total in same):
            return None
        padding = [total // 2 for total in same] if padding == "same" else 0
    config = {
        "in_channels": shape[1] * a["groups"],
        "out_channels": shape[0],
        "kernel_size": list(shape[2:]),
        "stride": pair(a["stride"]),
        "padding": pair(padding),
        "dilation": dilation,
        "groups": a["groups"],
        "depthwise": a["groups"] > 1 and a["groups"] == shape[0] == shape[1] * a["groups"],
        "bias": a["bias"] is not None,
        **standard.config,
    }
    tensors = {"weight": weight, "bias": a["bias"], "gain": standard.gain}
    return t.weighted(node, "conv2d", config, **tensors)


def conv_transpose2d(t: Translation, node: fx.Node, target: str) -> Operation | None:
    """A transposed convolution."""
    names = ("weight", "bias", "stride", "padding", "output_padding", "groups", "dilation")
    defaults = {"stride": 1, "padding": 0, "output_padding": 0, "groups": 1, "dilation": 1}
    a = arguments(node, names, {"bias": None, **defaults})
    if a["weight"] not in t.tensor_of:
        return None
    shape = t.tensor_of[a["weight"]][1].shape
    config = {
        "in_channels": shape[0],
        "out_channels": shape[1] * a["groups"],
        "kernel_size": list(shape[2:]),
        **{key: pair(a[key]) for key in ("stride", "padding", "output_padding", "dilation")},
        "groups": a["groups"],
        "bias": a["bias"] is not None,
    }
    return t.weighted(node, "conv_transpose2d", config, weight=a["weight"], bias=a["bias"])


def linear(t: Translation, node: fx.Node, target: str) -> Operation | None:
    """A fully connected layer; a computed bias is added behind it."""
    a = arguments(node, ("weight", "bias"), {"bias": None})
    if a["weight"] not in t.tensor_of:
        return None
    outputs, inputs = t.tensor_of[a["weight"]][1].shape
    held = a["bias"] is None or a["bias"] in t.tensor_of
    config = {
        "in_features": inputs,
        "out_features": outputs,
        "bias": held and a["bias"] is not None,
    }
    if held:
        return t.weighted(node, "linear", config, weight=a["weight"], bias=a["bias"])
    # A bias that is computed (Swin v2 masks a part of its own) is added behind the layer.
    made = t.weighted(node, "linear", config, weight=a["weight"], bias=None)
    if made is None:
        return None
    t.operations[made.name] = made
    name = t.unique(f"{made.name}.bias_added")
    return Operation(
        name, "add", (made.name, t.read(a["bias"])), {"broadcast": True}, t.shape(node)
    )


def layer_norm(t: Translation, node: fx.Node, target: str) -> Operation | None:
    """Layer normalisation over the last dimension; over more than one, no rule."""
    names = ("normalized_shape", "weight", "bias", "eps", "cudnn_enable")
    a = arguments(node, names, {"weight": None, "bias": None, "eps": 1e-5})
    if len(a["normalized_shape"]) != 1:
        return None
    config = {
        "num_features": a["normalized_shape"][0],
        "eps": a["eps"],
        "affine": a["weight"] is not None,
        "bias": a["bias"] is not None,
    }
    if a["weight"] is None and a["bias"] is None:
        return _without_weights(t, node, "layer_norm", config)
    return t.weighted(node, "layer_norm", config, weight=a["weight"], bias=a["bias"])


def group_norm(t: Translation, node: fx.Node, target: str) -> Operation | None:
    """Group normalisation."""
    names = ("num_groups", "weight", "bias", "eps", "cudnn_enabled")
    a = arguments(node, names, {"weight": None, "bias": None, "eps": 1e-5})
    shape = t.shape(node)
    if shape is None or (a["weight"] is None) != (a["bias"] is None):
        return None
    config = {
        "num_features": shape[1],
        "groups": a["num_groups"],
        "eps": a["eps"],
        "affine": a["weight"] is not None,
    }
    if a["weight"] is None:
        return _without_weights(t, node, "group_norm", config)
    return t.weighted(node, "group_norm", config, weight=a["weight"], bias=a["bias"])


def _without_weights(
    t: Translation, node: fx.Node, kind: str, config: dict[str, Any]
) -> Operation | None:
    shape = t.shape(node)
    if shape is None:
        return None
    return Operation(t.named(node, kind), kind, (t.read(node.args[0]),), config, shape)


def batch_norm(t: Translation, node: fx.Node, target: str) -> Operation | None:
    """Batch normalisation with running statistics, of images or vectors.

    With weight and bias, or without a rule: torch has no module with one of them.
    """
    names = ("weight", "bias", "running_mean", "running_var", "training", "momentum", "eps")
    a = arguments(node, names, {})
    shape = t.shape(node)
    if (
        a["weight"] is None
        or a["bias"] is None
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
