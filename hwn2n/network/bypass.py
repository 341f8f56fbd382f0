"""Removal: an architecture with some operations taken out, and what could be taken out.

A removed operation becomes a bypass: its readers read its input. On the only path through the
network (a plain chain) the resolution may change; inside a branch, whose other side expects the
smaller image, a removed stride stays as plain subsampling, so that sums and concatenations still
meet (the paper's third degenerate case, section 3.3). An activation that comes to read its like
changes nothing any more, and goes: a device would take its time for it all the same.

A residual branch is removed by naming its operations and the sum that closes it: the sum then is
its other side, or what that is a bypass of, where it is removed as well. Whatever nobody reads any
more goes with it.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from hwn2n.errors import InputError
from hwn2n.network.architecture import (
    INPUT,
    Architecture,
    IllegalArchitectureError,
    Operation,
    owner,
)
from hwn2n.network.operators import rule

_CLIPS = ("relu", "relu6", "hardtanh")
"""Activations that change nothing the second time."""


def without(architecture: Architecture, removed: Collection[str]) -> Architecture:
    """The architecture with `removed` bypassed; shapes and widths are those of before.

    Raises `InputError` for names that it does not have, `IllegalArchitectureError` for
    operations that cannot be bypassed.
    """
    if not removed:
        return architecture
    operations = architecture.by_name()
    if unknown := sorted(set(removed) - operations.keys()):
        raise InputError(f"the network has no layer {unknown[0]!r}")
    if architecture.output in removed:
        raise IllegalArchitectureError(f"{architecture.output} makes the logits")
    users: dict[str, set[str]] = {}
    for op in architecture:
        users.setdefault(owner(op), set()).add(op.name)
    chain = chain_operations(architecture)
    stands_for: dict[str, str] = {INPUT: INPUT}
    gone: dict[str, str] = {}  # what nothing stands for, and why: it can go with its readers only
    closed: set[str] = set()  # sums at the end of a removed branch
    kept: list[Operation] = []
    for op in architecture:
        if op.name not in removed:
            if lost := [gone[name] for name in op.inputs if name in gone]:
                raise IllegalArchitectureError(lost[0])
            inputs = tuple(stands_for[name] for name in op.inputs)
            if (
                inputs != op.inputs
                and op.name != architecture.output
                and _repeats(op, inputs, kept)
            ):
                stands_for[op.name] = inputs[0]
                continue
            stands_for[op.name] = op.name
            kept.append(op if inputs == op.inputs else replace(op, inputs=inputs))
            continue
        if not users[owner(op)] <= set(removed):
            raise IllegalArchitectureError(f"{op.name} shares its weights with another layer")
        left = [name for name in op.inputs if name not in removed or name in closed]
        if op.kind == "add" and not left:
            # the shortcut goes, too: bypassed, either side is what they fork from
            left = [name for name in op.inputs if name not in gone][:1]
        if op.kind == "add" and len(left) == 1 and left[0] not in gone:
            stands_for[op.name] = stands_for[left[0]]
            closed.add(op.name)
            continue
        if not rule(op).bypassable or len(op.inputs) != 1:
            gone[op.name] = f"{op.name} ({op.kind}) cannot be bypassed"
            continue
        if op.inputs[0] in gone:
            gone[op.name] = gone[op.inputs[0]]
            continue
        inputs = (stands_for[op.inputs[0]],)
        stride = op.config.get("stride", [1, 1])
        if op.name in chain or max(stride) == 1:
            stands_for[op.name] = inputs[0]
        else:
            subsample = _subsample(op, inputs[0], stride)
            kept.append(subsample)
            stands_for[op.name] = subsample.name
    return Architecture(_read(kept, architecture), architecture.input_shape, architecture.output)


def _repeats(op: Operation, inputs: tuple[str, ...], kept: list[Operation]) -> bool:
    """Does an activation, now that its input has gone, read what the same one has clipped already?

    The largest of clipped values is one of them, so pooling may lie between.
    """
    if op.kind != "activation" or op.config["function"] not in _CLIPS:
        return False
    before = {operation.name: operation for operation in kept}
    at = before.get(inputs[0])
    while at is not None and at.kind == "max_pool2d":
        at = before.get(at.inputs[0])
    return at is not None and at.kind == "activation" and at.config == op.config


def _read(kept: list[Operation], before: Architecture) -> tuple[Operation, ...]:
    """Those of the operations that the output still depends on."""
    wanted = {before.output}
    for op in reversed(kept):
        if op.name in wanted:
            wanted.update(op.inputs)
            wanted.add(owner(op))
    return tuple(op for op in kept if op.name in wanted)


def chain_operations(architecture: Architecture) -> frozenset[str]:
    """Operations that every path from the image to the logits passes through.

    While walking in topological order, an operation is passed by every path exactly when
    nothing made before it is read after it.
    """
    last_read = {INPUT: -1}
    order = {op.name: i for i, op in enumerate(architecture)}
    for op in architecture:
        for name in op.inputs:
            last_read[name] = order[op.name]
    last_read[architecture.output] = len(order)
    reach = last_read[INPUT]
    chain = set()
    for i, op in enumerate(architecture):
        if reach <= i and op.inputs:
            chain.add(op.name)
        reach = max(reach, last_read.get(op.name, i))
    return frozenset(chain)


def _subsample(op: Operation, source: str, stride: list[int]) -> Operation:
    config = {
        "kernel_size": [1, 1],
        "stride": list(stride),
        "padding": [0, 0],
        "dilation": [1, 1],
        "ceil_mode": False,
    }
    name = f"{op.name}_bypass"
    return Operation(name, "max_pool2d", (source,), config, op.shape, source=op.name)
