"""From calls of aten operators to operations that join tensors, or see them in another shape."""

from __future__ import annotations

import math
from typing import Any

from torch import fx

from hwn2n.network.architecture import Operation
from hwn2n.network.aten.arguments import calls
from hwn2n.network.aten.simple import elementwise
from hwn2n.network.operators.base import broadcast
from hwn2n.network.translation import Translation

_VIEWS = ("view", "reshape", "_unsafe_view", "unflatten", "flatten")
_COPIES = ("contiguous", "clone")


def view(t: Translation, node: fx.Node, target: str) -> Operation | None:
    """A view: the end of a channel shuffle, `flatten(x, 1)` in all its forms, or any other."""
    source = node.args[0]
    before, after = t.shape(source), t.shape(node)
    if before is None or after is None or target.endswith(".dtype"):
        return None
    if shuffled := _shuffle(t, node):
        return shuffled
    flat = len(after) == 2 and len(before) > 1 and after[0] == before[0] == -1
    if flat and math.prod(before[1:]) == after[1]:
        return Operation(t.named(node, "flatten"), "flatten", (t.read(source),), {}, after)
    if sum(length < 0 for length in after) > 1:
        return None
    name = t.named(node, target.split(".")[1].strip("_"))
    config = {"from": list(before), "to": list(after)}
    return Operation(name, "reshape", (t.read(source),), config, after)


def _shuffle(t: Translation, node: fx.Node) -> Operation | None:
    """The last view of a channel shuffle: (N, C, ...), split in groups, transposed, joined."""
    swapped: Any = node.args[0]
    while calls(swapped, _COPIES):
        swapped = swapped.args[0]
    if not calls(swapped, ("transpose", "swapaxes", "permute")):
        return None
    split = swapped.args[0]
    if not calls(split, _VIEWS):
        return None
    shape, parts, end = t.shape(split.args[0]), t.shape(split), t.shape(node)
    if shape is None or parts is None or len(parts) != len(shape) + 1 or end != shape:
        return None
    if len(shape) < 3 or _order(swapped, len(parts)) != [0, 2, 1, *range(3, len(parts))]:
        return None
    if parts != (shape[0], parts[1], shape[1] // parts[1], *shape[2:]):
        return None
    config = {"groups": parts[1]}
    name = t.named(node, "channel_shuffle")
    return Operation(name, "channel_shuffle", (t.read(split.args[0]),), config, end)


def channel_shuffle(t: Translation, node: fx.Node, target: str) -> Operation | None:
    """torch's own channel shuffle."""
    shape = t.shape(node)
    if shape is None or len(shape) < 3:
        return None
    config = {"groups": node.args[1]}
    name = t.named(node, "channel_shuffle")
    return Operation(name, "channel_shuffle", (t.read(node.args[0]),), config, shape)


def _order(node: fx.Node, rank: int) -> list[int]:
    """Which dimension comes where in a permutation, a transposition, or `.mT`-like calls."""
    if calls(node, ("permute",)):
        dims: Any = node.args[1]
        return [int(d) % rank for d in dims]
    order = list(range(rank))
    first, second = (int(d) % rank for d in node.args[1:3])  # type: ignore[arg-type]
    order[first], order[second] = second, first
    return order


def permute(t: Translation, node: fx.Node, target: str) -> Operation | None:
    """Any permutation or transposition."""
    before, after = t.shape(node.args[0]), t.shape(node)
    if before is None or after is None:
        return None
    config = {"dims": _order(node, len(before))}
    return Operation(t.named(node, "permute"), "permute", (t.read(node.args[0]),), config, after)


def binary(t: Translation, node: fx.Node, target: str) -> Operation | None:
    """A sum, difference, product or quotient, of two tensors or with a number."""
    kind = target.split(".")[1]
    left, right = node.args[:2]
    if not isinstance(left, fx.Node) or node.kwargs or len(node.args) > 2:
        return None
    if not isinstance(right, fx.Node):
        return elementwise(t, node, target)
    first, second, shape = t.shape(left), t.shape(right), t.shape(node)
    if first is None or second is None or shape is None:
        return None
    inputs = (t.read(left), t.read(right))
    config = {} if first == second else {"broadcast": True}
    return Operation(t.named(node, kind), kind, inputs, config, shape)


def cat(t: Translation, node: fx.Node, target: str) -> Operation | None:
    """A concatenation along any dimension."""
    shape, tensors = t.shape(node), node.args[0]
    dim: Any = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", 0)
    if shape is None or not isinstance(tensors, list | tuple):
        return None
    if any(t.shape(item) is None for item in tensors):
        return None
    inputs = tuple(t.read(item) for item in tensors)
    return Operation(t.named(node, "cat"), "cat", inputs, {"dim": dim % len(shape)}, shape)


def stack(t: Translation, node: fx.Node, target: str) -> Operation | None:
    """A stack: each tensor with one more dimension, concatenated along that."""
    shape, tensors = t.shape(node), node.args[0]
    dim: Any = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", 0)
    if shape is None or not isinstance(tensors, list | tuple):
        return None
    dim %= len(shape)
    parts = []
    for tensor in tensors:
        before = t.shape(tensor)
        if before is None or sum(length < 0 for length in before) > 1:
            return None
        after = (*before[:dim], 1, *before[dim:])
        source, name = t.read(tensor), t.named(node, "unsqueeze")
        config = {"from": list(before), "to": list(after)}
        t.operations[name] = Operation(name, "reshape", (source,), config, after)
        parts.append(name)
    return Operation(t.named(node, "stack"), "cat", tuple(parts), {"dim": dim}, shape)


def addcmul(t: Translation, node: fx.Node, target: str) -> Operation | None:
    """A sum with a product, as the two operations that it is."""
    added, *factors = node.args
    shapes = [t.shape(factor) for factor in factors]
    shape = t.shape(node)
    if node.kwargs or shape is None or None in shapes or t.shape(added) is None:
        return None
    inputs = tuple(t.read(factor) for factor in factors)
    given = [s for s in shapes if s is not None]
    middle = broadcast(given)
    if middle is None:
        return None
    name, end = t.named(node, "mul"), t.read(added)
    config = {} if given[0] == given[1] else {"broadcast": True}
    t.operations[name] = Operation(name, "mul", inputs, config, middle)
    config = {} if t.shape(added) == middle else {"broadcast": True}
    return Operation(t.named(node, "add"), "add", (end, name), config, shape)


def expand_as(t: Translation, node: fx.Node, target: str) -> Operation | None:
    """Left out where all readers would do the same: products with what it expands to."""
    operators = ("mul", "mul_", "add", "add_", "sub", "div")
    readers = [r for r in node.users if calls(r, operators) and node.args[1] in r.args]
    if len(readers) < len(node.users) or any(r.args[0] is r.args[1] for r in readers):
        return None
    return t.alias(node, node.args[0])
