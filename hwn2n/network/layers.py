"""The policy's view of a network: its layers, in order, and which of them could be removed.

The paper's policies take one step for each layer. A layer here is an operation that computes
something (a convolution, a fully connected layer, a pooling) together with the batch
normalisation, activation and dropout that only it feeds: they go when it goes, as in the
authors' experiments. With granularity `operator` each operation is a layer of its own; with
`block` a whole residual branch is one layer, beside those that are in no branch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from hwn2n.network.architecture import INPUT, Architecture, IllegalArchitectureError, Operation
from hwn2n.network.blocks import find_blocks
from hwn2n.network.operators import Shape, rule
from hwn2n.network.operators.base import channel_axis
from hwn2n.network.planner import Planner
from hwn2n.network.resize import resize

Granularity = Literal["unit", "operator", "block"]

MAIN_KINDS = ("conv2d", "linear", "max_pool2d", "avg_pool2d")
FOLLOWERS = ("batch_norm", "group_norm", "layer_norm", "activation", "dropout")
JOINS = ("add", "cat")


@dataclass(frozen=True)
class Layer:
    """One step of a policy.

    `operations` are removed together. `reason` says why the layer must stay, or is None.
    `kernel`, `stride` and `padding` are those of the first dimension (0 where there are none),
    `skip_end` tells whether its output goes into sums and concatenations only, `skip_start`
    whether a shortcut leaves from its output, or from the sum that it goes into;
    `params` and `flops` are those of all its operations.
    """

    name: str
    kind: str
    operations: tuple[str, ...]
    reason: str | None
    kernel: int
    stride: int
    padding: int
    inputs: int
    outputs: int
    skip_start: bool
    skip_end: bool
    params: int
    flops: int

    @property
    def removable(self) -> bool:
        """May the removal policy take it out?"""
        return self.reason is None


def find_layers(
    planner: Planner,
    granularity: Granularity = "unit",
    removed: frozenset[str] = frozenset(),
) -> tuple[Layer, ...]:
    """The layers of the teacher, or of what `removed` leaves of it, in forward order."""
    architecture, _ = planner.left(removed)
    readers = architecture.readers()
    operations = architecture.by_name()
    layers = []
    taken: set[str] = set()
    blocks = {}
    if granularity == "block":
        blocks = {block.join: block for block in find_blocks(architecture)}
        taken.update(name for block in blocks.values() for name in block.operations)
    for op in architecture:
        if op.name in blocks:
            members = [operations[name] for name in (*blocks[op.name].operations, op.name)]
            layers.append(_layer(planner, architecture, members, readers, removed, op))
            continue
        main = op.kind in MAIN_KINDS and op.source is None
        alone = granularity == "operator" and op.kind in FOLLOWERS
        if op.name in taken or not (main or alone):
            continue
        members = [op]
        if granularity != "operator":
            members += _followers(op, readers, operations)
        taken.update(member.name for member in members)
        layers.append(_layer(planner, architecture, members, readers, removed, op))
    return tuple(layers)


def _followers(
    op: Operation, readers: dict[str, list[str]], operations: dict[str, Operation]
) -> list[Operation]:
    """What normalises or activates the operation's output and nothing else."""
    found: list[Operation] = []
    at = op
    while len(readers[at.name]) == 1:
        at = operations[readers[at.name][0]]
        if at.kind not in FOLLOWERS:
            break
        found.append(at)
    return found


def _leaves(
    last: Operation, readers: dict[str, list[str]], operations: dict[str, Operation]
) -> bool:
    """Does more than one path lead on from here, or from the join that this leads to?"""
    at = last
    while len(after := readers[at.name]) == 1:
        at = operations[after[0]]
        if at.kind not in JOINS and at.kind not in FOLLOWERS:
            return False
    return len(after) > 1


def _layer(
    planner: Planner,
    architecture: Architecture,
    members: list[Operation],
    readers: dict[str, list[str]],
    removed: frozenset[str],
    op: Operation,
) -> Layer:
    """The layer that `members` are; `op` is the one that it is called after."""
    last = members[-1]
    shapes: dict[str, Shape] = {INPUT: (-1, *architecture.input_shape)}
    shapes |= {o.name: o.shape or () for o in architecture}
    kinds = {o.name: o.kind for o in architecture}
    after = readers[last.name]
    cfg = op.config
    names = tuple(member.name for member in members)
    flops = sum(rule(m).flops(m, [shapes[name] for name in m.inputs]) for m in members)
    source, shape = shapes[op.inputs[0]], op.shape or (-1, 0)
    return Layer(
        name=op.name,
        kind=op.kind,
        operations=names,
        reason=_why_kept(planner, members, removed),
        kernel=cfg.get("kernel_size", [0])[0],
        stride=cfg.get("stride", [0])[0],
        padding=cfg.get("padding", [0])[0],
        inputs=_channels(op, source),
        outputs=_channels(op, shape),
        skip_start=_leaves(last, readers, architecture.by_name()),
        skip_end=bool(after) and all(kinds[name] in JOINS for name in after),
        params=sum(rule(m).parameters(m) for m in members),
        flops=flops,
    )


def _channels(op: Operation, shape: Shape) -> int:
    """How many channels a tensor has that a layer reads or makes."""
    if op.kind == "linear" or len(shape) < 2:
        return abs(shape[-1]) if shape else 0
    return abs(shape[channel_axis(shape)])


def _why_kept(planner: Planner, members: list[Operation], removed: frozenset[str]) -> str | None:
    """The reason why a layer cannot be bypassed, or None if a network is left without it."""
    names = {member.name for member in members}
    try:
        architecture, channels = planner.left(removed | names)
        resize(architecture, {}, {}, channels)
    except IllegalArchitectureError as error:
        return str(error)
    for group in channels.groups.values():
        # Tied to fewer channels for good: to those of the image, say, by a residual sum.
        before = planner.channels.own_group(group.name)
        if group.frozen and before is not None and not before.frozen and group.width < before.width:
            return (
                f"without it {', '.join(group.producers)} would have only {group.width} channels "
                f"({group.frozen})"
            )
    return None
