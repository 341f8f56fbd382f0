"""Channel groups: the widths of an architecture that can be chosen, and what ties them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hwn2n.network.architecture import INPUT, Architecture
from hwn2n.network.layout import PLAIN, Layout, Structure
from hwn2n.network.operators import Shape, rule
from hwn2n.network.operators.base import freeze_all
from hwn2n.network.order import MOST_LEAVES, leaves
from hwn2n.network.variables import ChannelVariables


@dataclass(frozen=True)
class ChannelGroup:
    """Layers whose numbers of output channels are one number.

    `name` is the first operation (in the order of the forward pass) that makes these channels;
    `width` the largest number of them that it can make; `producers` all operations that make
    them; `frozen` the reason why the width cannot change, or None.

    Channels come and go in units (the groups of a grouped convolution): widths are multiples of
    `step`, and `per_unit` are the channels of a unit for each of the producers. `spread` says
    that kept channels are to be taken from all over the width.
    """

    name: str
    width: int
    producers: tuple[str, ...]
    frozen: str | None
    step: int = 1
    per_unit: tuple[int, ...] = (1,)
    spread: bool = False

    @property
    def units(self) -> int:
        """How many units there are at most."""
        return self.width // self.step


@dataclass(frozen=True)
class ChannelMap:
    """Where the channels of each operation's output come from."""

    layouts: dict[str, Layout | None]
    groups: dict[str, ChannelGroup]
    _group_of: dict[int, str]
    """Name of a variable's group; for fixed channels without a producer, the empty string."""
    _width_of: dict[int, int]
    _structure_of: dict[int, Structure]

    @property
    def free(self) -> dict[str, ChannelGroup]:
        """The groups whose widths may change, by name."""
        return {name: group for name, group in self.groups.items() if not group.frozen}

    def group_of(self, variable: int) -> ChannelGroup | None:
        """The group of a variable of a layout; None for channels that nothing makes (the image)."""
        return self.groups.get(self._group_of[variable])

    def own_group(self, name: str) -> ChannelGroup | None:
        """The group of the channels that operation `name` makes itself, or None."""
        layout = self.layouts[name]
        if layout is None or len(layout.parts) != 1:
            return None
        group = self.group_of(layout.parts[0])
        return group if group is not None and name in group.producers else None

    def width(self, variable: int, widths: Mapping[str, int] | None = None) -> int:
        """The largest width of a variable, or the one that it has where groups have `widths`."""
        group = self.group_of(variable)
        if group is None or widths is None or group.name not in widths:
            return self._width_of[variable]
        return widths[group.name] // group.step * self._structure_of[variable].per_unit

    def structure(self, variable: int) -> Structure:
        """How the variable's channels are made of its group's units."""
        return self._structure_of[variable]

    def own_width(self, name: str, widths: Mapping[str, int]) -> int | None:
        """How many channels operation `name` makes itself where groups have `widths`, or None."""
        layout = self.layouts[name]
        if layout is None or self.own_group(name) is None:
            return None
        return self.width(layout.parts[0], widths)


def relate(architecture: Architecture) -> ChannelMap:
    """Find the channel groups of an architecture.

    Applies each operation's rule once, in order. Raises `IllegalArchitectureError` where fixed
    widths meet that are not the same.
    """
    variables = ChannelVariables()
    shapes: dict[str, Shape] = {INPUT: (-1, *architecture.input_shape)}
    image = Layout(1, (variables.fixed(architecture.input_shape[0], "the image's channels"),))
    layouts: dict[str, Layout | None] = {INPUT: image}
    owners: dict[str, tuple[list[Layout | None], Layout | None]] = {}
    for op in architecture:
        inputs = [layouts[name] for name in op.inputs]
        layout = rule(op).relate(op, inputs, [shapes[name] for name in op.inputs], variables)
        layout = _in_bounds(op.name, layout, variables)
        shapes[op.name] = op.shape or ()
        if "of" in op.config:
            name = op.config["of"].rpartition(".")[0]
            for seen in (*owners[name][0], owners[name][1]):
                freeze_all([seen], variables, f"{op.name} uses the weights of {name} as they are")
        if owner := op.config.get("tied_to"):
            _tie(owners.get(owner), (inputs, layout), variables, f"{op.name} shares its weights")
        owners[op.name] = (inputs, layout)
        layouts[op.name] = layout
    _freeze_output(architecture, layouts, variables)
    return _collect(architecture, layouts, variables)


def _tie(
    first: tuple[list[Layout | None], Layout | None] | None,
    second: tuple[list[Layout | None], Layout | None],
    variables: ChannelVariables,
    reason: str,
) -> None:
    """Two operations with one set of weights have the same channels on both sides."""
    if first is None:
        return
    pairs = [*zip(first[0], second[0], strict=True), (first[1], second[1])]
    for mine, theirs in pairs:
        if mine is None or theirs is None or not _one_for_one(mine, theirs, variables):
            freeze_all([mine, theirs], variables, reason)
            continue
        for a, b in zip(mine.parts, theirs.parts, strict=True):
            variables.merge(a, b)


def _one_for_one(first: Layout, second: Layout, variables: ChannelVariables) -> bool:
    """Does each part of one layout stand where the other's part of its number does?

    Of a single part, too, that a removal has left with fewer channels on one side. But after a
    flatten the same place belongs to another channel where the widths differ.
    """
    if first.order or second.order or (first.axis, first.flat) != (second.axis, second.flat):
        return False
    if len(first.parts) != len(second.parts):
        return False
    if len(first.parts) == 1 and not first.flat:
        return True
    pairs = zip(first.parts, second.parts, strict=True)
    return all(variables.width(a) == variables.width(b) for a, b in pairs)


def _in_bounds(name: str, layout: Layout | None, variables: ChannelVariables) -> Layout | None:
    """No channels that can be followed, where they were mixed too often to follow them."""
    if layout is None or layout.order is None or len(leaves(layout.order)) <= MOST_LEAVES:
        return layout
    for part in {*layout.parts, *leaves(layout.order)}:
        variables.freeze(part, f"{name} mixes channels that were mixed too often before")
    return None


def _freeze_output(
    architecture: Architecture, layouts: dict[str, Layout | None], variables: ChannelVariables
) -> None:
    layout = layouts[architecture.output]
    shape = architecture.by_name()[architecture.output].shape
    if layout is None or shape is None:
        return
    width = shape[1] if len(layout.parts) == 1 and not layout.flat else None
    for part in layout.parts:
        variables.freeze(part, "the logits: one for each class", width)


def _collect(
    architecture: Architecture, layouts: dict[str, Layout | None], variables: ChannelVariables
) -> ChannelMap:
    order = {op.name: i for i, op in enumerate(architecture)}
    groups: dict[str, ChannelGroup] = {}
    group_of: dict[int, str] = {}
    width_of: dict[int, int] = {}
    structure_of: dict[int, Structure] = {}
    for layout in layouts.values():
        found = {*layout.parts, *(leaves(layout.order) if layout.order else ())} if layout else ()
        for part in sorted(found):
            if part in group_of:
                continue
            group = _group(part, variables, order)
            group_of[part] = group.name if group else ""
            width_of[part] = variables.width(part)
            structure_of[part] = variables.locate(part)[1]
            if group:
                groups.setdefault(group.name, group)
    ordered = dict(sorted(groups.items(), key=lambda item: order[item[0]]))
    return ChannelMap(layouts, ordered, group_of, width_of, structure_of)


def _group(
    variable: int, variables: ChannelVariables, order: dict[str, int]
) -> ChannelGroup | None:
    producers = sorted(variables.producers(variable), key=lambda p: order[p.name])
    if not producers:
        return None
    first = producers[0].structure
    per_unit = variables.locate(variable)[1].per_unit
    units = variables.width(variable) // per_unit
    frozen = variables.frozen(variable)
    if units == 1 and first != PLAIN and frozen is None:
        frozen = f"the {first.per_unit} channels of {producers[0].name} must stay together"
    return ChannelGroup(
        name=producers[0].name,
        width=units * first.per_unit,
        producers=tuple(dict.fromkeys(p.name for p in producers)),
        frozen=frozen,
        step=first.per_unit,
        per_unit=tuple(sorted({p.structure.per_unit for p in producers})),
        spread=variables.is_spread(variable),
    )
