"""What is known of a network from its architecture alone."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from hwn2n.network.architecture import INPUT, Architecture
from hwn2n.network.operators import Shape, rule


@dataclass(frozen=True)
class Counts:
    """What is known of an architecture before it is built, for one image.

    `flops` in fvcore's counting (one multiply-add is one FLOP); `weight_bytes` of float32
    parameters and of the buffers of a state dict. `operations` are counted as they stand in the
    graph, and `elements` are the numbers that all of them give out.
    """

    params: int
    flops: int
    weight_bytes: int
    operations: int
    elements: int


def count(architecture: Architecture) -> Counts:
    """Parameters, FLOPs and bytes of an architecture whose shapes are fitted."""
    each = count_each(architecture).values()
    return Counts(
        sum(c.params for c in each),
        sum(c.flops for c in each),
        sum(c.weight_bytes for c in each),
        len(each),
        sum(c.elements for c in each),
    )


def count_each(architecture: Architecture) -> dict[str, Counts]:
    """The same by operation; weights that are tied count where they are made."""
    shapes: dict[str, Shape] = {INPUT: (-1, *architecture.input_shape)}
    found: dict[str, Counts] = {}
    for op in architecture:
        operator = rule(op)
        flops = operator.flops(op, [shapes[name] for name in op.inputs])
        own = "tied_to" not in op.config
        params = operator.parameters(op) if own else 0
        buffers = operator.buffers_bytes(op) if own else 0
        shapes[op.name] = op.shape or ()
        size = elements(shapes[op.name])
        found[op.name] = Counts(params, flops, 4 * params + buffers, 1, size)
    return found


def elements(shape: Shape) -> int:
    """The numbers in an output of this shape, for one image; the batch is -1."""
    return abs(prod(shape))
