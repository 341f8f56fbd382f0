"""From a decision to the student's architecture, in milliseconds and without any weights."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache

from hwn2n.network.architecture import (
    INPUT,
    Architecture,
    IllegalArchitectureError,
    Operation,
    owner,
)
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


def _shared_kernel(
    architecture: Architecture, op: Operation, kernel: tuple[int, int]
) -> dict[str, tuple[int, int]]:
    """The kernel for an operation and for those that share its weights."""
    return {other.name: kernel for other in architecture if owner(other) == owner(op)}


class Planner:
    """Plans students of one teacher; what a removal leaves is worked out once and kept."""

    def __init__(self, teacher: Architecture) -> None:
        self.teacher = teacher
        self.channels = relate(teacher)
        self._left = lru_cache(maxsize=256)(self._leave)
        self._kernels = lru_cache(maxsize=256)(self._find_kernels)

    def left(self, removed: Collection[str]) -> tuple[Architecture, ChannelMap]:
        """The teacher without `removed`, at full width, and its channel groups.

        Raises `IllegalArchitectureError` if it cannot be.
        """
        return self._left(frozenset(removed))

    def _leave(self, removed: frozenset[str]) -> tuple[Architecture, ChannelMap]:
        architecture = without(self.teacher, removed)
        return architecture, relate(architecture)

    def free_kernels(self, removed: Collection[str] = ()) -> frozenset[str]:
        """The convolutions of what `removed` leaves whose kernel may shrink.

        Those with a kernel larger than one and as much padding; of the others, whose output would
        grow, those that the rest of the network lets grow. The search is not offered kernels that
        could only make illegal candidates.
        """
        return self._kernels(frozenset(removed))

    def _find_kernels(self, removed: frozenset[str]) -> frozenset[str]:
        architecture, channels = self.left(removed)
        found = set()
        for op in architecture:
            if not rule(op).has_kernel or max(op.config["kernel_size"]) == 1:
                continue
            size, padding, dilation = (
                op.config[key] for key in ("kernel_size", "padding", "dilation")
            )
            least = (2 - size[0] % 2, 2 - size[1] % 2)
            less = [dilation[i] * (size[i] - least[i]) for i in range(2)]
            if all(2 * padding[i] >= less[i] for i in range(2)):
                found.add(op.name)
                continue
            try:
                resize(architecture, {}, _shared_kernel(architecture, op, least), channels)
            except IllegalArchitectureError:
                continue
            found.add(op.name)
        return frozenset(found)

    def plan(self, decision: Decision) -> Architecture:
        """The student's architecture. Raises `IllegalArchitectureError` with the reason."""
        architecture, channels = self.left(decision.removed)
        return resize(architecture, decision.widths, decision.kernels, channels)
