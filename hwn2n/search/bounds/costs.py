"""What each layer of a teacher adds to the counted columns of its students: at least and at most.

Everything that is counted of an operation grows with its sizes, so its bounds are the counts of
two corners: the operation at the smallest sizes that `shapes` allows it, and at the largest. A
student's cost is the sum over the operations that it keeps; those that no search removes are in
every student, but for those that may go with a removed branch, which cost nothing at least. What a
removal leaves in an operation's place (subsampling) has no cost.

Parameters and FLOPs are not independent: a weight of a convolution, linear layer or normalisation
is used once at each position, and there are at least and at most so many of these.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass, replace
from typing import Any

from hwn2n.network.architecture import Operation
from hwn2n.network.channels import ChannelGroup
from hwn2n.network.layers import find_layers
from hwn2n.network.operators import Shape, rule
from hwn2n.network.planner import Planner
from hwn2n.search.bounds.intervals import Sizes
from hwn2n.search.bounds.presence import find_presence
from hwn2n.search.bounds.shapes import Kernel, Variant, variants
from hwn2n.search.bounds.widths import Range, width_ranges
from hwn2n.search.choices.actions import SHRINK_VALUES, smaller_kernel
from hwn2n.search.settings import Settings

QUANTITIES = ("params", "flops", "buffer_bytes")

COLUMNS: dict[str, dict[str, int]] = {
    "params": {"params": 1},
    "flops": {"flops": 1},
    "weight_bytes": {"params": 4, "buffer_bytes": 1},
}
"""The counted columns as sums of quantities, as `planner.count` has them."""

_SIDES = (0, 1)


@dataclass(frozen=True, kw_only=True)
class Part:
    """A layer, or an operation that is always there: what it costs the students that have it.

    `operations` goes when it goes; it is empty where it never does. Of its parameters all but
    `idle` (biases, constants) at the most are multiplied at each of `positions`, and `free` FLOPs
    at the most are done without parameters of its own:

        positions[0] * (params - idle) <= flops <= positions[1] * params + free
    """

    name: str
    operations: tuple[str, ...]
    params: Range
    flops: Range
    buffer_bytes: Range
    positions: Range
    idle: int
    free: int

    def of(self, quantity: str) -> Range:
        """The interval of one of `QUANTITIES`."""
        found: Range = getattr(self, quantity)
        return found


@dataclass(frozen=True)
class Bounds:
    """Intervals of what the students of one search can cost, part by part."""

    parts: tuple[Part, ...]

    def kept(self, removed: Set[str]) -> list[Part]:
        """The parts of a student without the operations `removed`."""
        return [part for part in self.parts if removed.isdisjoint(part.operations)]

    def column(self, name: str, removed: Set[str]) -> Range:
        """The least and the most of a counted column, of students without `removed`."""
        kept = self.kept(removed)
        low, high = (
            sum(
                factor * part.of(quantity)[side]
                for part in kept
                for quantity, factor in COLUMNS[name].items()
            )
            for side in _SIDES
        )
        return low, high


def cost_bounds(planner: Planner, settings: Settings, *, projects: bool) -> Bounds:
    """The bounds of all students that a search with `settings` can decide on.

    `projects`: whether widths are scaled to the budget, down to the least ones if need be.
    """
    layers = find_layers(planner, settings.granularity) if settings.removal.updates else ()
    layers = tuple(layer for layer in layers if layer.removable)
    layer_of = {name: layer.name for layer in layers for name in layer.operations}
    shrinks = bool(settings.shrinkage.updates)

    def smallest(width: int) -> int:
        group = ChannelGroup("", width, (), None)
        if projects:
            return settings.widths.least(group)
        return settings.widths.nearest(group, SHRINK_VALUES[0]) if shrinks else width

    def kernels(op: Operation) -> list[Kernel]:
        height, width = op.config["kernel_size"]
        shares = SHRINK_VALUES if shrinks else SHRINK_VALUES[-1:]
        pairs = [(smaller_kernel(height, s), smaller_kernel(width, s)) for s in shares]
        return list(dict.fromkeys(pairs))

    presence = find_presence(planner.teacher, layer_of)
    widths = width_ranges(planner.teacher, presence, smallest)
    found = variants(planner.teacher, presence, widths, kernels)
    members: dict[str, list[_Operation]] = {layer.name: [] for layer in layers}
    parts = []
    for name, forms in found.items():
        bounds = _bounds(forms)
        if name in layer_of:
            members[layer_of[name]].append(bounds)
        else:
            parts.append(
                _part(name, (), [bounds if name in presence.lasting else bounds.or_none()])
            )
    parts += [_part(layer.name, layer.operations, members[layer.name]) for layer in layers]
    return Bounds(tuple(parts))


@dataclass(frozen=True)
class _Operation:
    """Bounds of one operation: the counts, and those of its parameters that are multiplied."""

    counts: dict[str, Range]
    idle: int
    positions: Range | None

    def or_none(self) -> _Operation:
        """The bounds of what may also be absent."""
        return replace(self, counts={name: (0, high) for name, (_, high) in self.counts.items()})


def _part(name: str, operations: tuple[str, ...], members: Sequence[_Operation]) -> Part:
    def total(quantity: str) -> Range:
        ranges = [member.counts[quantity] for member in members]
        return sum(low for low, _ in ranges), sum(high for _, high in ranges)

    positions = [member.positions for member in members if member.positions]
    return Part(
        name=name,
        operations=operations,
        params=total("params"),
        flops=total("flops"),
        buffer_bytes=total("buffer_bytes"),
        positions=(
            min((low for low, _ in positions), default=0),
            max((high for _, high in positions), default=0),
        ),
        idle=sum(member.idle for member in members),
        free=sum(member.counts["flops"][1] for member in members if not member.positions),
    )


def _bounds(forms: Iterable[Variant]) -> _Operation:
    """Bounds of one operation, over the kernels that it can have."""
    corners = [_corner(form, side) for form in forms for side in _SIDES]
    counts = {
        quantity: (min(c[quantity] for c in corners), max(c[quantity] for c in corners))
        for quantity in QUANTITIES
    }
    idle = max(c["params"] - c["multiplied"] for c in corners)
    # Each multiplied parameter costs one FLOP at each position, in normalisations a few.
    pairs = [(c["flops"], c["multiplied"]) for c in corners if c["multiplied"]]
    if not pairs:
        return _Operation(counts, idle, None)
    positions = min(f // m for f, m in pairs), max(-(-f // m) for f, m in pairs)
    return _Operation(counts, idle, positions)


def _corner(form: Variant, side: int) -> dict[str, int]:
    """The counts of an operation at the smallest (`side` 0) or the largest (1) of its sizes."""
    inputs = [_shape(sizes, side) for sizes in form.inputs]
    shape = _shape(form.output, side)
    op = replace(form.op.with_config(**_config(form.op, inputs, shape)), shape=shape)
    operator = rule(op)
    flops = operator.flops(op, inputs)
    params = 0 if "tied_to" in op.config else operator.parameters(op)
    without_bias = op.with_config(bias=False) if "bias" in op.config else op
    return {
        "params": params,
        "flops": flops,
        "buffer_bytes": 0 if "tied_to" in op.config else operator.buffers_bytes(op),
        "multiplied": operator.parameters(without_bias) if params and flops else 0,
    }


def _shape(sizes: Sizes, side: int) -> Shape:
    return () if sizes is None else tuple(size[side] for size in sizes)


def _config(op: Operation, inputs: list[Shape], shape: Shape) -> dict[str, Any]:
    """The hyper-parameters that follow from the shapes, as in the `resize` of the operators."""
    if op.kind == "constant":
        return {} if "of" in op.config else {"shape": list(shape)}
    if op.kind == "linear":
        return {"in_features": inputs[0][-1], "out_features": shape[-1]}
    if op.kind in ("batch_norm", "group_norm"):
        return {"num_features": inputs[0][1]}
    if op.kind == "layer_norm":
        return {"num_features": inputs[0][-1]}
    if op.kind not in ("conv2d", "conv_transpose2d"):
        return {}
    channels = {"in_channels": inputs[0][1], "out_channels": shape[1]}
    if op.config.get("depthwise"):
        return channels | {"groups": shape[1]}
    if op.config["groups"] > 1:
        # Each filter reads as many channels as in the teacher, whatever the number of groups.
        return {"in_channels": op.config["in_channels"], "out_channels": shape[1]}
    return channels
