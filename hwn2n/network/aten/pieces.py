"""From calls of aten operators that take a part of a tensor to operations that do."""

from __future__ import annotations

import math
from typing import Any

from torch import fx

from hwn2n.network.architecture import Operation
from hwn2n.network.aten.arguments import arguments, calls
from hwn2n.network.aten.simple import axes_along, elementwise
from hwn2n.network.operators.base import Shape
from hwn2n.network.translation import Translation, function


def item(t: Translation, node: fx.Node, target: str) -> Operation | None:
    """One of the pieces of a chunk, a split or an unbind, or the values of a maximum."""
    pieces, index = node.args[:2]
    if calls(pieces, ("unbind",)):
        return _one_place(t, node, pieces)
    if calls(pieces, ("max", "adaptive_max_pool2d")):
        return _greatest(t, node, pieces)
    if not calls(pieces, ("chunk", "split", "split_with_sizes")):
        return None
    assert isinstance(pieces, fx.Node)
    a = arguments(pieces, ("sizes", "dim"), {"dim": 0})
    values = pieces.meta["val"]
    rank = values[0].dim()
    dim = int(a["dim"]) % rank
    lengths = [value.shape[dim] for value in values]
    if not all(isinstance(length, int) for length in lengths):
        return None
    start = sum(lengths[: int(index)])  # type: ignore[arg-type]
    return _piece(t, node, pieces.args[0], dim, start, start + lengths[int(index)])  # type: ignore


def _one_place(t: Translation, node: fx.Node, pieces: Any) -> Operation | None:
    """One of the tensors of an unbind, as the selection that it is."""
    before = t.shape(pieces.args[0])
    if before is None:
        return None
    dim = int(pieces.args[1] if len(pieces.args) > 1 else 0) % len(before)
    return _instead(t, node, pieces, "select.int", [dim, node.args[1]], {dim}, keepdim=False)


def _greatest(t: Translation, node: fx.Node, pieces: Any) -> Operation | None:
    """The values of a maximum that tells their places too, as one that does not.

    A pooled maximum is one where a single place is left of each image.
    """
    before, shape = t.shape(pieces.args[0]), t.shape(node)
    if before is None or shape is None or node.args[1] != 0:
        return None
    rank = len(before)
    if calls(pieces, ("adaptive_max_pool2d",)):
        dims, keepdim = [rank - 2, rank - 1], True
        if rank != 4 or list(shape[2:]) != [1, 1]:
            return None
    else:
        a = arguments(pieces, ("dim", "keepdim"), {"keepdim": False})
        dims, keepdim = [int(a["dim"]) % rank], bool(a["keepdim"])
    made = _instead(t, node, pieces, "amax.default", [dims, keepdim], {*dims}, keepdim=keepdim)
    return made and made.with_config(reduces=True)


def _instead(
    t: Translation,
    node: fx.Node,
    pieces: fx.Node,
    call: str,
    args: list[Any],
    dims: set[int],
    *,
    keepdim: bool,
) -> Operation | None:
    """Another function along `dims` of what `pieces` reads, in place of one of its tensors."""
    source, shape = pieces.args[0], t.shape(node)
    before = t.shape(source)
    if before is None or shape is None:
        return None
    config = {
        "target": f"aten.{call}",
        "args": [{"ref": 0}, *args],
        "kwargs": {},
        "input_shapes": [list(before)],
        "axes": axes_along(len(before), dims, keepdim),
    }
    name = t.named(node, call.split(".")[0])
    return Operation(name, "function", (t.read(source),), config, shape)


def slice_(t: Translation, node: fx.Node, target: str) -> Operation | None:
    """A slice along one dimension."""
    source, shape = node.args[0], t.shape(node)
    a = arguments(node, ("dim", "start", "end", "step"), {"dim": 0, "start": None, "step": 1})
    before = t.shape(source)
    if before is None or shape is None:
        return None
    dim = int(a["dim"]) % len(before)
    if before == shape:
        return elementwise(t, node, target)  # all of it
    if not isinstance(a["start"], int | None) or before[dim] < 0:
        return None
    if a["step"] != 1:
        axes = axes_along(len(before), {dim}, keepdim=True)
        return function(t, node, target).with_config(axes=axes)
    start = min((a["start"] or 0) + (before[dim] if (a["start"] or 0) < 0 else 0), before[dim])
    return _piece(t, node, source, dim, start, start + shape[dim])


def _piece(
    t: Translation, node: fx.Node, source: Any, dim: int, start: int, stop: int
) -> Operation | None:
    before: Shape | None = t.shape(source)
    shape = t.shape(node)
    if before is None or shape is None or stop <= start:
        return None
    length = before[dim]
    unit = math.gcd(length, start, stop)
    config = {
        "dim": dim,
        "start": start // unit,
        "stop": stop // unit,
        "sections": length // unit,
        "length": length,
    }
    return Operation(t.named(node, "cut"), "cut", (t.read(source),), config, shape)
