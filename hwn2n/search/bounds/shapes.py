"""The sizes that every tensor of a student can have: intervals, carried through the teacher.

Interval arithmetic in the order of the forward pass. A kept operation's output lies between what
it makes of its smallest and of its largest input, since no operator's output shrinks when its
input grows. Readers of an operation that may be removed see its output or its bypass, so an
interval that holds both; those of a residual branch's sum see its other side. A removed pooling
enlarges all that follows, and a removed stride inside a branch stays as subsampling
(`network.bypass`). Where a legal student's inputs must agree, as in a sum, their intervals are
intersected. Each interval holds the teacher's own size, so none is empty.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from hwn2n.network.architecture import INPUT, Architecture, Operation
from hwn2n.network.bypass import chain_operations
from hwn2n.network.operators.weighted import LINEAR_INPUT_LIMIT
from hwn2n.network.resize import with_kernel
from hwn2n.search.bounds.intervals import RULES, Sizes, known, slid
from hwn2n.search.bounds.presence import Presence
from hwn2n.search.bounds.widths import Range

Kernel = tuple[int, int]


@dataclass(frozen=True)
class Variant:
    """An operation with one kernel that it can have, and what it can make with it where kept."""

    op: Operation
    inputs: tuple[Sizes, ...]
    output: Sizes


def variants(
    teacher: Architecture,
    presence: Presence,
    widths: Mapping[str, Range],
    kernels: Callable[[Operation], Sequence[Kernel]],
) -> dict[str, list[Variant]]:
    """For each operation, what it reads and makes in the students that keep it.

    `widths`: of `width_ranges`; `kernels`: the kernels that the search can give a convolution.
    One variant for each of these, and one for any other operation.
    """
    chain = chain_operations(teacher)
    image = ((-1, -1), *((size, size) for size in teacher.input_shape))
    seen: dict[str, Sizes] = {INPUT: image}
    found: dict[str, list[Variant]] = {}
    for op in teacher:
        inputs = tuple(seen[name] for name in op.inputs)
        if op.kind == "linear":
            inputs = (_within_the_limit(op, known(inputs[0])),)
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
        for name in presence.stand_ins(op):
            source = seen[name]
            if len(inputs) == 1:
                source = _bypassed(op, known(source), op.name in chain)
            output = _hull(output, source)
        seen[op.name] = output
    return found


def _hull(first: Sizes, second: Sizes) -> Sizes:
    """What holds both; where a sum stretches a side of fewer dimensions, of the full number."""
    one, two = known(first), known(second)
    rank = max(len(one), len(two))
    one, two = (((1, 1),) * (rank - len(sizes)) + sizes for sizes in (one, two))
    return tuple((min(a[0], b[0]), max(a[1], b[1])) for a, b in zip(one, two, strict=True))


def _bypassed(op: Operation, source: tuple[Range, ...], in_chain: bool) -> Sizes:
    stride = op.config.get("stride", [1, 1])
    if in_chain or max(stride) == 1:
        return source
    subsampled = [slid(source[2 + i], 1, stride[i], 0, 1, False) for i in range(2)]
    return (*source[:2], *subsampled)


def _within_the_limit(op: Operation, source: tuple[Range, ...]) -> tuple[Range, ...]:
    """The inputs of a linear layer that is not refused as a giant one."""
    limit = max(LINEAR_INPUT_LIMIT, op.config["in_features"])
    low, high = source[-1]
    return (*source[:-1], (low, min(high, limit)))
