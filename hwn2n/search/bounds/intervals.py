"""What each kind of operation makes of intervals of sizes: the rules of `shapes`.

As an operator's `resize` does of numbers. The batch stands in its dimension as the one negative
number that it is, or as a multiple of it (-9: nine windows of each image).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch

from hwn2n.network.architecture import Operation
from hwn2n.network.operators import rule
from hwn2n.network.operators.base import pooled
from hwn2n.network.operators.held import held_axis
from hwn2n.network.operators.opaque import NO_VALUES
from hwn2n.network.operators.views import move_of
from hwn2n.search.bounds.widths import Range

Sizes = tuple[Range, ...] | None
"""An interval for each dimension of a tensor; None for what is no single tensor."""

Rule = Callable[[Operation, tuple[Sizes, ...], Range | None], Sizes]
"""Called with the intervals of the inputs, and of the channels that the operation makes itself."""

_UNKNOWN = 10**6
"""More than any dimension of a tensor of one image has."""


def known(sizes: Sizes) -> tuple[Range, ...]:
    """The intervals of a tensor."""
    assert sizes is not None, "only operators without a rule read what is no tensor"
    return sizes


def _common(ranges: Sequence[Range]) -> Range:
    """What lies in all of the intervals."""
    return max(low for low, _ in ranges), min(high for _, high in ranges)


def _exactly(shape: Sequence[int] | None) -> Sizes:
    return None if shape is None else tuple((size, size) for size in shape)


def slid(length: Range, kernel: int, stride: int, padding: int, dilation: int, ceil: bool) -> Range:
    """Lengths after a sliding window. A window that does not fit makes no legal student."""
    low, high = (pooled(size, kernel, stride, padding, dilation, ceil) for size in length)
    return max(1, low), max(1, high)


def _window(op: Operation, source: tuple[Range, ...]) -> list[Range]:
    cfg = op.config
    dilation, ceil = cfg.get("dilation", [1, 1]), cfg.get("ceil_mode", False)
    return [
        slid(
            source[2 + i],
            cfg["kernel_size"][i],
            cfg["stride"][i],
            cfg["padding"][i],
            dilation[i],
            ceil,
        )
        for i in range(2)
    ]


def _conv2d(op: Operation, inputs: tuple[Sizes, ...], width: Range | None) -> Sizes:
    source = known(inputs[0])
    made = source[1] if op.config["depthwise"] else width
    assert made is not None
    return (source[0], made, *_window(op, source))


def _conv_transpose2d(op: Operation, inputs: tuple[Sizes, ...], width: Range | None) -> Sizes:
    source, cfg = known(inputs[0]), op.config
    assert width is not None
    spatial = []
    for i in range(2):
        more = cfg["dilation"][i] * (cfg["kernel_size"][i] - 1) + cfg["output_padding"][i] + 1
        low, high = (
            (size - 1) * cfg["stride"][i] - 2 * cfg["padding"][i] + more for size in source[2 + i]
        )
        spatial.append((max(1, low), max(1, high)))
    return (source[0], width, *spatial)


def _linear(op: Operation, inputs: tuple[Sizes, ...], width: Range | None) -> Sizes:
    assert width is not None
    return (*known(inputs[0])[:-1], width)


def _keeps(op: Operation, inputs: tuple[Sizes, ...], width: Range | None) -> Sizes:
    return inputs[0]


def _pool2d(op: Operation, inputs: tuple[Sizes, ...], width: Range | None) -> Sizes:
    source = known(inputs[0])
    return (*source[:2], *_window(op, source))


def _adaptive(op: Operation, inputs: tuple[Sizes, ...], width: Range | None) -> Sizes:
    source = known(inputs[0])
    wanted = op.config["output_size"]
    fixed = [(size, size) if size else now for size, now in zip(wanted, source[2:], strict=True)]
    return (*source[:2], *fixed)


def _mean(op: Operation, inputs: tuple[Sizes, ...], width: Range | None) -> Sizes:
    source = known(inputs[0])[:2]
    return (*source, (1, 1), (1, 1)) if op.config["keepdim"] else source


def _flatten(op: Operation, inputs: tuple[Sizes, ...], width: Range | None) -> Sizes:
    batch, *source = known(inputs[0])
    return (batch, (math.prod(low for low, _ in source), math.prod(high for _, high in source)))


def _reshape(op: Operation, inputs: tuple[Sizes, ...], width: Range | None) -> Sizes:
    """As in the teacher, but for the one dimension that may change, and the one it becomes."""
    before, after = op.config["from"], op.config["to"]
    made = [[(size, size)] for size in after]
    for axis, size in enumerate(known(inputs[0])[: len(before)]):
        move = None if size == (before[axis],) * 2 else move_of(before, after, axis)
        if move is not None:
            times = move.ahead * move.behind
            low, high = (max(1, length // move.divided) * times for length in size)
            made[move.axis].append((low, high))
    return tuple((min(low for low, _ in x), max(high for _, high in x)) for x in made)


def _permute(op: Operation, inputs: tuple[Sizes, ...], width: Range | None) -> Sizes:
    source = known(inputs[0])
    return tuple(source[dim] for dim in op.config["dims"])


def _cut(op: Operation, inputs: tuple[Sizes, ...], width: Range | None) -> Sizes:
    source, cfg = list(known(inputs[0])), op.config
    low, high = source[cfg["dim"]]
    part = cfg["stop"] - cfg["start"]
    sizes = (size * part // cfg["sections"] for size in (low, min(high, cfg["length"])))
    low, high = (max(part, size) for size in sizes)
    source[cfg["dim"]] = (low, high)
    return tuple(source)


def _binary(op: Operation, inputs: tuple[Sizes, ...], width: Range | None) -> Sizes:
    """Sizes must agree; where shapes may differ, a size of 1 is stretched to the other's."""
    tensors = [known(sizes) for sizes in inputs]
    if not op.config.get("broadcast"):
        return tuple(_common(ranges) for ranges in zip(*tensors, strict=True))
    rank = max(len(sizes) for sizes in tensors)
    full = [((1, 1),) * (rank - len(sizes)) + sizes for sizes in tensors]
    made = []
    for ranges in zip(*full, strict=True):
        batch = [low for low, _ in ranges if low < 0]
        # The larger one: that of both, or that of the one which is not 1.
        size = (max(low for low, _ in ranges), max(high for _, high in ranges))
        fixed = [found for found in ranges if found[0] > 1]
        made.append((batch[0], batch[0]) if batch else _common([size, *fixed]))
    return tuple(made)


def _cat(op: Operation, inputs: tuple[Sizes, ...], width: Range | None) -> Sizes:
    made = []
    for i, ranges in enumerate(zip(*(known(sizes) for sizes in inputs), strict=True)):
        total = (sum(low for low, _ in ranges), sum(high for _, high in ranges))
        made.append(total if i == op.config["dim"] else _common(ranges))
    return tuple(made)


def _function(op: Operation, inputs: tuple[Sizes, ...], width: Range | None) -> Sizes:
    """As in the teacher, for what would make another shape is illegal; but for dimensions that
    it works on one by one, and those that follow from the shape that it reads.
    """
    cfg = op.config
    if cfg.get("elementwise"):
        return inputs[0]
    if cfg["target"] in NO_VALUES or op.shape is None or "axes" not in cfg:
        return _exactly(op.shape)
    source, corners = known(inputs[0]), (op.shape, op.shape)
    if None not in inputs:  # else only what it works on one by one may change
        corners = (_computed(op, inputs, 0), _computed(op, inputs, 1))
    made = [
        (size, size) if size < 0 else (min(size, low), max(size, high))
        for size, low, high in zip(op.shape, *corners, strict=True)
    ]
    for axis, size in zip(cfg["axes"], source, strict=True):
        if axis is not None:
            made[axis] = size
    return tuple(made)


def _computed(op: Operation, inputs: tuple[Sizes, ...], side: int) -> tuple[int, ...]:
    """The function's output for its smallest or its largest inputs; if it has none, anything."""
    shapes = [[abs(size[side]) for size in known(sizes)] for sizes in inputs]
    try:
        made = rule(op).build(op)(*(torch.empty(shape, device="meta") for shape in shapes))
        return tuple(int(size) for size in made.shape)
    except (RuntimeError, IndexError, ValueError, TypeError):
        return ((1, _UNKNOWN)[side],) * len(op.shape or ())


def _constant(op: Operation, inputs: tuple[Sizes, ...], width: Range | None) -> Sizes:
    sizes = list(_exactly(op.config["shape"]) or ())
    axis = held_axis(op.config["shape"])
    if width is not None and axis is not None:
        sizes[axis] = width
    return tuple(sizes)


RULES: dict[str, Rule] = {
    "conv2d": _conv2d,
    "linear": _linear,
    "conv_transpose2d": _conv_transpose2d,
    "batch_norm": _keeps,
    "layer_norm": _keeps,
    "group_norm": _keeps,
    "activation": _keeps,
    "dropout": _keeps,
    "max_pool2d": _pool2d,
    "avg_pool2d": _pool2d,
    "adaptive_avg_pool2d": _adaptive,
    "mean": _mean,
    "flatten": _flatten,
    "reshape": _reshape,
    "permute": _permute,
    "channel_shuffle": _keeps,
    "cut": _cut,
    "add": _binary,
    "sub": _binary,
    "mul": _binary,
    "div": _binary,
    "cat": _cat,
    "function": _function,
    "constant": _constant,
}
"""What each kind of `operators.OPERATORS` makes of intervals, as its `resize` does of numbers."""
