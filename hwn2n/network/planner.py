"""From a decision to the student's architecture, in milliseconds and without any weights."""

from __future__ import annotations

from collections.abc import Collection
from functools import lru_cache

from hwn2n.network.architecture import (
    Architecture,
    IllegalArchitectureError,
    Operation,
    owner,
)
from hwn2n.network.bypass import without
from hwn2n.network.channels import ChannelMap, relate
from hwn2n.network.counts import Counts
from hwn2n.network.decision import Decision
from hwn2n.network.depth import depth
from hwn2n.network.operators import rule
from hwn2n.network.quick_counts import QuickCounts
from hwn2n.network.resize import resize


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
        self._depths = lru_cache(maxsize=4096)(self._find_depth)
        self._quick = QuickCounts(self.left, teacher.input_shape)

    def left(self, removed: Collection[str]) -> tuple[Architecture, ChannelMap]:
        """The teacher without `removed`, at full width, and its channel groups.

        Raises `IllegalArchitectureError` if it cannot be.
        """
        return self._left(frozenset(removed))

    def _leave(self, removed: frozenset[str]) -> tuple[Architecture, ChannelMap]:
        architecture = without(self.teacher, removed)
        return architecture, relate(architecture)

    def depth(self, removed: Collection[str] = ()) -> int:
        """Layers on the longest way through what `removed` leaves (`network.depth`)."""
        return self._depths(frozenset(removed))

    def _find_depth(self, removed: frozenset[str]) -> int:
        return depth(self.left(removed)[0])

    def free_kernels(self, removed: Collection[str] = ()) -> frozenset[str]:
        """The convolutions of what `removed` leaves whose kernel may shrink.

        Those with a kernel larger than one and as much padding; of the others, whose output would
        grow, those that the rest of the network lets grow. The search is not offered kernels that
        could only make illegal candidates: nor those of weights that something else uses as they
        are.
        """
        return self._kernels(frozenset(removed))

    def _find_kernels(self, removed: frozenset[str]) -> frozenset[str]:
        architecture, channels = self.left(removed)
        fixed = {op.config.get("of") for op in architecture}
        found = set()
        for op in architecture:
            if f"{owner(op)}.weight" in fixed:
                continue
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

    def count(self, decision: Decision) -> Counts:
        """The counts of `plan(decision)`, many times faster; it raises the same.

        But for names and numbers that do not fit the teacher, which only `plan` checks.
        """
        return self._quick.count(decision)
