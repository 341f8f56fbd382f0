"""Multiply-adds of an einsum, from its equation and the shapes of its operands."""

from __future__ import annotations

import math
from collections.abc import Sequence

_ELLIPSIS = "..."


def einsum_flops(equation: str, shapes: Sequence[Sequence[int]], path: Sequence[int] = ()) -> int:
    """Multiply-adds of `equation` on operands of these shapes, contracted two at a time.

    `path` is torch's: pairs of places of operands, one after the other; each pair is taken out and
    its product put at the end. Without one, operands are contracted from left to right, as torch
    does. What only one of two operands has, and nobody needs later, is summed first, which is
    free; the rest of a pair's indices span its multiply-adds. One operand alone is only summed.
    Raises ValueError where equation and shapes do not fit.
    """
    inputs, output = _labels(equation, shapes)
    sizes: dict[str, int] = {}
    for labels, shape in zip(inputs, shapes, strict=True):
        for label, size in zip(labels, shape, strict=True):
            sizes[label] = max(size, sizes.get(label, 1)) if size else 0
    left = [set(labels) for labels in inputs]
    steps = [(path[i], path[i + 1]) for i in range(0, len(path) - 1, 2)]
    flops = 0
    for first, second in steps or [(0, 1)] * (len(left) - 1):
        a, b = left[first], left[second]
        left = [labels for i, labels in enumerate(left) if i not in (first, second)]
        needed = set(output).union(*left)
        together = (a & (b | needed)) | (b & (a | needed))
        flops += math.prod(sizes[label] for label in together)
        product = together & needed
        # Without a path the product is the next left operand, with one it goes to the end.
        left = [*left, product] if steps else [product, *left]
    return flops


def _labels(equation: str, shapes: Sequence[Sequence[int]]) -> tuple[list[list[str]], list[str]]:
    """The labels of each operand's dimensions, and those of the output."""
    before, arrow, after = equation.replace(" ", "").partition("->")
    terms = before.split(",")
    if len(terms) != len(shapes):
        raise ValueError(f"einsum {equation!r} must have {len(shapes)} operands")
    inputs = [_expanded(term, len(shape)) for term, shape in zip(terms, shapes, strict=True)]
    if arrow:
        widest = max((len([x for x in labels if len(x) > 1]) for labels in inputs), default=0)
        return inputs, _expanded(after, widest + len(after.replace(_ELLIPSIS, "")))
    seen = [label for labels in inputs for label in labels]
    return inputs, [x for x in dict.fromkeys(seen) if len(x) > 1 or seen.count(x) == 1]


def _expanded(term: str, rank: int) -> list[str]:
    """The labels of one operand; dimensions of an ellipsis are counted from the last."""
    head, dots, tail = term.partition(_ELLIPSIS)
    hidden = rank - len(head) - len(tail)
    if hidden < 0 or (hidden and not dots):
        raise ValueError(f"einsum operand {term!r} must have {len(head + tail)} dimensions")
    return [*head, *(f"...{i}" for i in range(hidden, 0, -1)), *tail]
