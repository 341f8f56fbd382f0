"""The sizes that every tensor of a student can have: intervals, carried through the teacher.

Interval arithmetic in the order of the forward pass. A kept operation's output lies between what
it makes of its smallest and of its largest input, since no operator's output shrinks when its
input grows. Readers of an operation that may be removed see its output or its bypass, so an
interval that holds both; a removed pooling enlarges all that follows, and a removed stride inside
a branch stays as subsampling (`network.bypass`). Where a legal student's inputs must agree, as in
a sum, their intervals are intersected. Each interval holds the teacher's own size, so none is
empty.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from hwn2n.network.architecture import INPUT, Architecture, Operation
from hwn2n.network.bypass import chain_operations
from hwn2n.network.operators.base import channel_axis, pooled
from hwn2n.network.operators.opaque import SIZE_OF_BATCH
from hwn2n.network.operators.weighted import LINEAR_INPUT_LIMIT
from hwn2n.network.resize import with_kernel
from hwn2n.search.bounds.widths import Range

Kernel = tuple[int, int]

Sizes = tuple[Range, ...] | None
"""An interval for each dimension of one image's tensor; None for what is no single tensor."""


@dataclass(frozen=True)
class Variant:
    """An operation with one kernel that it can have, and what it can make with it where kept."""

    op: Operation
    inputs: tuple[Sizes, ...]
    output: Sizes


def variants(
    teacher: Architecture,
    removable: Collection[str],
    widths: Mapping[str, Range],
    kernels: Callable[[Operation], Sequence[Kernel]],
) -> dict[str, list[Variant]]:
    """For each operation, what it reads and makes in the students that keep it.

    `widths`: of `width_ranges`; `kernels`: the kernels that the search can give a convolution.
    One variant for each of these, and one for any other operation.
    """
    chain = chain_operations(teacher)
    seen: dict[str, Sizes] = {INPUT: tuple((size, size) for size in teacher.input_shape)}
    found: dict[str, list[Variant]] = {}
    for op in teacher:
        inputs = tuple(seen[name] for name in op.inputs)
        if op.kind == "linear":
            inputs = (_within_the_limit(op, _sizes(inputs[0])),)
        forms = [op]
        if op.kind == "conv2d":
            forms = [with_kernel(op, kernel) for kernel in kernels(op)]
        found[op.name] = [
            Variant(form, inputs, RULES[op.kind](form, inputs, widths.get(op.name)))
            for form in forms
        ]
        output = found[op.name][0].output
        for variant in found[op.name][1:]:
            output = _hull(output, variant.output)
        if op.name in removable:
            output = _hull(output, _bypassed(op, _sizes(inputs[0]), op.name in chain))
        seen[op.name] = output
    return found


def _sizes(sizes: Sizes) -> tuple[Range, ...]:
    assert sizes is not None, "only operators without a rule read what is no tensor"
    return sizes


def _hull(first: Sizes, second: Sizes) -> Sizes:
    return tuple(
        (min(a[0], b[0]), max(a[1], b[1]))
        for a, b in zip(_sizes(first), _sizes(second), strict=True)
    )


def _common(ranges: Sequence[Range]) -> Range:
    """What lies in all of the intervals."""
    return max(low for low, _ in ranges), min(high for _, high in ranges)


def _bypassed(op: Operation, source: tuple[Range, ...], in_chain: bool) -> Sizes:
    stride = op.config.get("stride", [1, 1])
    if in_chain or max(stride) == 1:
        return source
    subsampled = [_slid(source[1 + i], 1, stride[i], 0, 1, False) for i in range(2)]
    return (source[0], *subsampled)


def _within_the_limit(op: Operation, source: tuple[Range, ...]) -> tuple[Range, ...]:
    """The inputs of a linear layer that is not refused as a giant one."""
    limit = max(LINEAR_INPUT_LIMIT, op.config["in_features"])
    low, high = source[-1]
    return (*source[:-1], (low, min(high, limit)))


def _slid(
    length: Range, kernel: int, stride: int, padding: int, dilation: int, ceil: bool
) -> Range:
    """Lengths after a sliding window. A window that does not fit makes no legal student."""
    low, high = (pooled(size, kernel, stride, padding, dilation, ceil) for size in length)
    return max(1, low), max(1, high)


_Rule = Callable[[Operation, tuple[Sizes, ...], Range | None], Sizes]


def _window(op: Operation, source: tuple[Range, ...]) -> list[Range]:
    cfg = op.config
    dilation, ceil = cfg.get("dilation", [1, 1]), cfg.get("ceil_mode", False)
    return [
        _slid(
            source[1 + i],
            cfg["kernel_size"][i],
            cfg["stride"][i],
            cfg["padding"][i],
            dilation[i],
            ceil,
        )
        for i in range(2)
    ]


def _conv2d(op: Operation, inputs: tuple[Sizes, ...], width: Range | None) -> Sizes:
    source = _sizes(inputs[0])
    made = width
    if op.config["depthwise"]:
        made = source[0]
    elif op.config["groups"] > 1:
        made = (op.config["out_channels"], op.config["out_channels"])
    assert made is not None
    return (made, *_window(op, source))


def _linear(op: Operation, inputs: tuple[Sizes, ...], width: Range | None) -> Sizes:
    assert width is not None
    return (*_sizes(inputs[0])[:-1], width)


def _keeps(op: Operation, inputs: tuple[Sizes, ...], width: Range | None) -> Sizes:
    return inputs[0]


def _pool2d(op: Operation, inputs: tuple[Sizes, ...], width: Range | None) -> Sizes:
    source = _sizes(inputs[0])
    return (source[0], *_window(op, source))


def _adaptive(op: Operation, inputs: tuple[Sizes, ...], width: Range | None) -> Sizes:
    channels, *spatial = _sizes(inputs[0])
    wanted = op.config["output_size"]
    fixed = [(size, size) if size else now for size, now in zip(wanted, spatial, strict=True)]
    return (channels, *fixed)


def _mean(op: Operation, inputs: tuple[Sizes, ...], width: Range | None) -> Sizes:
    channels = _sizes(inputs[0])[0]
    return (channels, (1, 1), (1, 1)) if op.config["keepdim"] else (channels,)


def _flatten(op: Operation, inputs: tuple[Sizes, ...], width: Range | None) -> Sizes:
    source = _sizes(inputs[0])
    return ((math.prod(low for low, _ in source), math.prod(high for _, high in source)),)


def _binary(op: Operation, inputs: tuple[Sizes, ...], width: Range | None) -> Sizes:
    """Channels must agree; elsewhere a size of 1 is stretched to the other's."""
    first, second = (_sizes(sizes) for sizes in inputs)
    axis = channel_axis((-1, *(0 for _ in first))) - 1
    made = []
    for i, (a, b) in enumerate(zip(first, second, strict=True)):
        # The larger one: that of both, or that of the one which is not 1.
        size = (max(a[0], b[0]), max(a[1], b[1]))
        if a[0] > 1 or i == axis:
            size = _common([size, a])
        if b[0] > 1 or i == axis:
            size = _common([size, b])
        made.append(size)
    return tuple(made)


def _cat(op: Operation, inputs: tuple[Sizes, ...], width: Range | None) -> Sizes:
    tensors = [_sizes(sizes) for sizes in inputs]
    along = op.config["dim"] - 1  # sizes leave the first dimension out
    made = []
    for i, ranges in enumerate(zip(*tensors, strict=True)):
        total = (sum(low for low, _ in ranges), sum(high for _, high in ranges))
        made.append(total if i == along else _common(ranges))
    return tuple(made)


def _function(op: Operation, inputs: tuple[Sizes, ...], width: Range | None) -> Sizes:
    """As in the teacher: what reads another shape, or would make one, is illegal."""
    if op.config.get("elementwise"):
        return inputs[0]
    if op.config["target"] == SIZE_OF_BATCH or op.shape is None:
        return None
    return tuple((size, size) for size in op.shape[1:])


def _constant(op: Operation, inputs: tuple[Sizes, ...], width: Range | None) -> Sizes:
    assert op.shape is not None
    return tuple((size, size) for size in op.shape[1:])


RULES: dict[str, _Rule] = {
    "conv2d": _conv2d,
    "linear": _linear,
    "batch_norm": _keeps,
    "activation": _keeps,
    "dropout": _keeps,
    "max_pool2d": _pool2d,
    "avg_pool2d": _pool2d,
    "adaptive_avg_pool2d": _adaptive,
    "mean": _mean,
    "flatten": _flatten,
    "add": _binary,
    "sub": _binary,
    "mul": _binary,
    "cat": _cat,
    "function": _function,
    "constant": _constant,
}
"""What each kind of `operators.OPERATORS` makes of intervals, as its `resize` does of numbers."""
