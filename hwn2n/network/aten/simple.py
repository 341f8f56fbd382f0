"""From calls of aten operators to operations without weights that keep channels apart."""

from __future__ import annotations

import math

from torch import fx

from hwn2n.network.architecture import Operation
from hwn2n.network.aten.arguments import arguments, pair
from hwn2n.network.translation import Translation, function


def activation(t: Translation, node: fx.Node, target: str) -> Operation | None:
    """An activation that torch has as a module."""
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


def dropout(t: Translation, node: fx.Node, target: str) -> Operation | None:
    """Dropout, which does nothing in evaluation but is trained with."""
    config = {"p": node.args[1], "channels": "feature" in target}
    return Operation(
        t.named(node, "dropout"), "dropout", (t.read(node.args[0]),), config, t.shape(node)
    )


def pool2d(t: Translation, node: fx.Node, target: str) -> Operation | None:
    """Maximum or average over a sliding window."""
    kind = target.split(".")[1]
    third = "dilation" if kind == "max_pool2d" else "ceil_mode"
    names: tuple[str, ...] = ("kernel_size", "stride", "padding", third)
    names += ("ceil_mode",) if kind == "max_pool2d" else ("count_include_pad", "divisor_override")
    defaults = {"stride": [], "padding": 0, "dilation": 1, "ceil_mode": False}
    a = arguments(node, names, {**defaults, "count_include_pad": True, "divisor_override": None})
    shape = t.shape(node)
    if a["divisor_override"] is not None or shape is None or len(shape) != 4:
        return None
    config = {
        "kernel_size": pair(a["kernel_size"]),
        "stride": pair(a["stride"] or a["kernel_size"]),
        "padding": pair(a["padding"]),
        "ceil_mode": bool(a["ceil_mode"]),
    }
    if kind == "max_pool2d":
        config["dilation"] = pair(a["dilation"])
    else:
        config["count_include_pad"] = bool(a["count_include_pad"])
    return Operation(t.named(node, kind), kind, (t.read(node.args[0]),), config, shape)


def adaptive(t: Translation, node: fx.Node, target: str) -> Operation | None:
    """Average to a fixed size."""
    shape = t.shape(node)
    if shape is None or len(shape) != 4:
        return None
    config = {"output_size": pair(node.args[1])}
    name = t.named(node, "adaptive_avg_pool2d")
    return Operation(name, "adaptive_avg_pool2d", (t.read(node.args[0]),), config, shape)


def mean(t: Translation, node: fx.Node, target: str) -> Operation | None:
    """Global average pooling written as a mean; any other mean."""
    a = arguments(node, ("dim", "keepdim"), {"keepdim": False, "dtype": None})
    before, dims = t.shape(node.args[0]), a["dim"]
    whole = before is not None and len(before) == 4 and isinstance(dims, list | tuple)
    if not whole or {int(d) % 4 for d in dims} != {2, 3} or a["dtype"] is not None:
        return reduced(t, node, target)
    config = {"keepdim": bool(a["keepdim"])}
    return Operation(t.named(node, "mean"), "mean", (t.read(node.args[0]),), config, t.shape(node))


def elementwise(t: Translation, node: fx.Node, target: str) -> Operation | None:
    """A function of each element that has no rule of its own."""
    if len(node.all_input_nodes) != 1 or not isinstance(node.args[0], fx.Node):
        return None
    return function(t, node, target).with_config(elementwise=True)


def zero(t: Translation, node: fx.Node, target: str) -> Operation | None:
    """`zero_()`: as zeros_like, for torch cannot trace aten.zero."""
    made = function(t, node, "aten.zeros_like.default")
    return made.with_config(elementwise=True)


def prelu(t: Translation, node: fx.Node, target: str) -> Operation | None:
    """With one slope for all, a function of each element; with one for each channel, no rule."""
    slopes = t.shape(node.args[1])
    if slopes is None or any(length != 1 for length in slopes):
        return None
    return function(t, node, target).with_config(elementwise=True)


def _along(
    t: Translation, node: fx.Node, target: str, dims: set[int], keepdim: bool = True
) -> Operation | None:
    """A function that works along some dimensions, and on all others by itself."""
    before, after = t.shape(node.args[0]), t.shape(node)
    if before is None or after is None or len(node.all_input_nodes) != 1:
        return None
    return function(t, node, target).with_config(axes=axes_along(len(before), dims, keepdim))


def axes_along(rank: int, dims: set[int], keepdim: bool) -> list[int | None]:
    """Where each dimension is after a function along `dims`: None for these."""
    along = {d % rank for d in dims}
    axes: list[int | None] = []
    for i in range(rank):
        dropped = 0 if keepdim else sum(d < i for d in along)
        axes.append(None if i in along else i - dropped)
    return axes


def softmax(t: Translation, node: fx.Node, target: str) -> Operation | None:
    """Softmax along one dimension, of whatever length: each of its places stays where it is."""
    return _along(t, node, target, set())


def reduced(
    t: Translation, node: fx.Node, target: str, names: tuple[str, ...] = ("dim", "keepdim")
) -> Operation | None:
    """Mean, sum, maximum ... over some dimensions."""
    a = arguments(node, names, {"dim": None, "keepdim": False})
    if a["dim"] is None or a["dim"] == []:
        return None
    dims = a["dim"] if isinstance(a["dim"], list | tuple) else [a["dim"]]
    made = _along(t, node, target, {int(d) for d in dims}, bool(a["keepdim"]))
    return made and made.with_config(reduces=True)


def deviation(t: Translation, node: fx.Node, target: str) -> Operation | None:
    """Variance or standard deviation over some dimensions.

    An unbiased one divides by one less than there are values, which a single channel would make
    nought: where no other dimension brings enough of them, channels keep their number.
    """
    names = ("dim", "unbiased", "keepdim")
    made, before = reduced(t, node, target, names), t.shape(node.args[0])
    if made is None or before is None:
        return None
    a = arguments(node, names, {"unbiased": True, "correction": None})
    less = int(a["unbiased"]) if a["correction"] is None else a["correction"]
    lengths = [n for n, axis in zip(before, made.config["axes"], strict=True) if axis is None]
    enough = less <= 0 or math.prod(lengths) // max(lengths) > less
    return made.with_config(reduces=enough)


def vector_norm(t: Translation, node: fx.Node, target: str) -> Operation | None:
    """A norm along some dimensions."""
    a = arguments(node, ("ord", "dim", "keepdim"), {"dim": None, "keepdim": False})
    if not a["dim"]:
        return None
    made = _along(t, node, target, {int(d) for d in a["dim"]}, bool(a["keepdim"]))
    return made and made.with_config(reduces=True)


def conv1d(t: Translation, node: fx.Node, target: str) -> Operation | None:
    """Efficient channel attention: a filter that slides over the channels, whatever their number.

    Only one that makes as many places as it reads; a convolution of sequences has no rule.
    """
    names = ("weight", "bias", "stride", "padding", "dilation", "groups")
    a = arguments(node, names, {})
    before, after, weight = t.shape(node.args[0]), t.shape(node), t.shape(a["weight"])
    if before is None or before != after or weight is None or weight[:2] != (1, 1):
        return None
    return function(t, node, target).with_config(axes=[0, None, 2])


def to_device(t: Translation, node: fx.Node, target: str) -> Operation | None:
    """A change of precision; the device is that of the network."""
    made = function(t, node, "aten.to.dtype")
    args = [made.config["args"][0], made.config["args"][2]]
    return made.with_config(args=args, kwargs={}, elementwise=True)


def select(t: Translation, node: fx.Node, target: str) -> Operation | None:
    """One place of a dimension."""
    return _along(t, node, target, {int(node.args[1])}, keepdim=False)  # type: ignore[arg-type]


def images(t: Translation, node: fx.Node, target: str) -> Operation | None:
    """Interpolation and the like, on each channel of (N, C, H, W) by itself."""
    shape = t.shape(node)
    return None if shape is None or len(shape) != 4 else _along(t, node, target, {2, 3})


def pad(t: Translation, node: fx.Node, target: str) -> Operation | None:
    """Padding, along the dimensions that grow."""
    shape, amounts = t.shape(node), node.args[1]
    if shape is None or not isinstance(amounts, list | tuple):
        return None
    pairs = [amounts[i : i + 2] for i in range(0, len(amounts), 2)]
    dims = {len(shape) - 1 - i for i, ends in enumerate(pairs) if any(end != 0 for end in ends)}
    return _along(t, node, target, dims)


def roll(t: Translation, node: fx.Node, target: str) -> Operation | None:
    """A rotation along some dimensions."""
    dims = node.args[2] if len(node.args) > 2 else node.kwargs.get("dims", [])
    return _along(t, node, target, {int(d) for d in dims}) if dims else None  # type: ignore


def flip(t: Translation, node: fx.Node, target: str) -> Operation | None:
    """A reversal of some dimensions."""
    return _along(t, node, target, {int(d) for d in node.args[1]})  # type: ignore


def expand(t: Translation, node: fx.Node, target: str) -> Operation | None:
    """Repetition along dimensions of length one; the others are named -1, whatever their length."""
    before, after = t.shape(node.args[0]), t.shape(node)
    if before is None or after is None or len(before) > len(after):
        return None
    ahead = len(after) - len(before)
    axes = [i + ahead if a == after[i + ahead] else None for i, a in enumerate(before)]
    made = function(t, node, target)
    sizes = list(made.config["args"][1])
    for axis in axes:
        if axis is not None and isinstance(sizes[axis], int):
            sizes[axis] = -1
    return made.with_config(args=[made.config["args"][0], sizes], axes=axes)
