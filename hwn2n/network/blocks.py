"""Residual branches: what lies between a fork of the network and the sum that closes it.

With granularity `block` the removal policy takes out a whole branch at once: all operations of
the longer side of a residual sum, and the sum itself, which then is its other side. Where that is
the fork itself the block disappears; where it is a projection (a shortcut with a convolution), the
projection stays.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hwn2n.network.architecture import INPUT, Architecture, Operation, owner
from hwn2n.network.depth import LAYERS
from hwn2n.network.operators import rule


@dataclass(frozen=True)
class Block:
    """A residual branch: the sum that closes it, and the operations that are its own, in order."""

    join: str
    operations: tuple[str, ...]


def find_blocks(architecture: Architecture) -> tuple[Block, ...]:
    """The residual branches of a network that have weights, in the order of their sums.

    None of them overlap: of nested branches the inner ones are found.
    """
    operations = architecture.by_name()
    readers = architecture.readers()
    ancestors = _ancestors(architecture)
    shared = {owner(op) for op in architecture if owner(op) != op.name}
    taken: set[str] = set()
    found: list[Block] = []
    for op in architecture:
        if op.kind != "add" or len(set(op.inputs)) != 2 or op.name in taken:
            continue
        first, second = (ancestors[name] for name in op.inputs)
        if INPUT not in first & second:
            continue  # an embedding of positions is no shortcut
        branches = [
            _own(op, mine - theirs, operations, readers)
            for mine, theirs in ((first, second), (second, first))
        ]
        branch = _longer(branches, operations)
        if branch is None or taken & set(branch) or shared & set(branch):
            continue
        taken |= {op.name, *branch}
        found.append(Block(op.name, branch))
    return tuple(found)


def _ancestors(architecture: Architecture) -> dict[str, set[str]]:
    """For each operation: those that it depends on, and itself."""
    found: dict[str, set[str]] = {INPUT: {INPUT}}
    for op in architecture:
        found[op.name] = {op.name}.union(*(found[name] for name in op.inputs))
    return found


def _own(
    join: Operation,
    side: set[str],
    operations: Mapping[str, Operation],
    readers: Mapping[str, list[str]],
) -> tuple[str, ...] | None:
    """The operations of one side of a sum that nothing else reads, in order.

    None where the side has weights that something else depends on.
    """
    own = {join.name}
    for name in reversed([name for name in operations if name in side]):
        if readers[name] and own.issuperset(readers[name]):
            own.add(name)
        elif rule(operations[name]).has_weights and operations[name].kind != "constant":
            return None
    return tuple(name for name in operations if name in own - {join.name})


def _longer(
    branches: list[tuple[str, ...] | None], operations: Mapping[str, Operation]
) -> tuple[str, ...] | None:
    """The side of a sum that has more layers, if it is closed in itself and there is one."""
    if any(branch is None for branch in branches):
        # The side that does leak is the stem of something else; the other may be a branch still.
        branches = [branch for branch in branches if branch is not None]
        return branches[0] if len(branches) == 1 and _layers(branches[0], operations) > 0 else None
    first, second = sorted(branches, key=lambda branch: -_layers(branch, operations))
    return first if _layers(first, operations) > _layers(second, operations) else None


def _layers(branch: tuple[str, ...] | None, operations: Mapping[str, Operation]) -> int:
    return sum(operations[name].kind in LAYERS for name in branch or ())
