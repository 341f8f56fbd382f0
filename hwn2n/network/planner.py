"""From a decision to the student's architecture, in milliseconds and without any weights."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache

from hwn2n.network.architecture import INPUT, Architecture
from hwn2n.network.bypass import without
from hwn2n.network.channels import ChannelMap, relate
from hwn2n.network.decision import Decision
from hwn2n.network.operators import Shape, rule
from hwn2n.network.resize import resize


@dataclass(frozen=True)
class Counts:
    """What is known of an architecture before it is built, for one image.

    `flops` in fvcore's counting (one multiply-add is one FLOP); `weight_bytes` of float32
    parameters and of the buffers of a state dict.
    """

    params: int
    flops: int
    weight_bytes: int


def count(architecture: Architecture) -> Counts:
    """Parameters, FLOPs and bytes of an architecture whose shapes are fitted."""
    each = count_each(architecture).values()
    return Counts(
        sum(c.params for c in each), sum(c.flops for c in each), sum(c.weight_bytes for c in each)
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
        found[op.name] = Counts(params, flops, 4 * params + buffers)
        shapes[op.name] = op.shape or ()
    return found


class Planner:
    """Plans students of one teacher; what a removal leaves is worked out once and kept."""

    def __init__(self, teacher: Architecture) -> None:
        self.teacher = teacher
        self.channels = relate(teacher)
        self._left = lru_cache(maxsize=256)(self._leave)

    def left(self, removed: Collection[str]) -> tuple[Architecture, ChannelMap]:
        """The teacher without `removed`, at full width, and its channel groups.

        Raises `IllegalArchitectureError` if it cannot be.
        """
        return self._left(frozenset(removed))

    def _leave(self, removed: frozenset[str]) -> tuple[Architecture, ChannelMap]:
        architecture = without(self.teacher, removed)
        return architecture, relate(architecture)

    def plan(self, decision: Decision) -> Architecture:
        """The student's architecture. Raises `IllegalArchitectureError` with the reason."""
        architecture, channels = self.left(decision.removed)
        return resize(architecture, decision.widths, decision.kernels, channels)
