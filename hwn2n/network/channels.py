"""Channel groups: the widths of an architecture that can be chosen, and what ties them."""

from __future__ import annotations

from dataclasses import dataclass

from hwn2n.network.architecture import INPUT, Architecture
from hwn2n.network.operators import rule
from hwn2n.network.variables import ChannelVariables, Layout

OWN_WIDTH = ("conv2d", "linear")
"""Kinds that make channels of their own."""


@dataclass(frozen=True)
class ChannelGroup:
    """Layers whose numbers of output channels are one number.

    `name` is the first operation (in the order of the forward pass) that makes these channels;
    `width` the largest number they can have; `producers` all operations that make them; `frozen`
    the reason why the width cannot change, or None.
    """

    name: str
    width: int
    producers: tuple[str, ...]
    frozen: str | None


@dataclass(frozen=True)
class ChannelMap:
    """Where the channels of each operation's output come from."""

    layouts: dict[str, Layout | None]
    groups: dict[str, ChannelGroup]
    _group_of: dict[int, str]
    """Name of a variable's group; for fixed channels without a producer, the empty string."""
    _width_of: dict[int, int]

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

    def width(self, variable: int) -> int:
        """The largest width of a variable."""
        return self._width_of[variable]


def relate(architecture: Architecture) -> ChannelMap:
    """Find the channel groups of an architecture.

    Applies each operation's rule once, in order. Raises `IllegalArchitectureError` where fixed
    widths meet that are not the same.
    """
    variables = ChannelVariables()
    image = Layout(1, (variables.fixed(architecture.input_shape[0], "the image's channels"),))
    layouts: dict[str, Layout | None] = {INPUT: image}
    owners: dict[str, tuple[list[Layout | None], Layout | None]] = {}
    for op in architecture:
        inputs = [layouts[name] for name in op.inputs]
        layout = rule(op).relate(op, inputs, variables)
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
        if mine is None or theirs is None or len(mine.parts) != len(theirs.parts):
            for layout in (mine, theirs):
                for part in layout.parts if layout else ():
                    variables.freeze(part, reason)
            continue
        for a, b in zip(mine.parts, theirs.parts, strict=True):
            variables.merge(a, b)


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
    for layout in layouts.values():
        for part in layout.parts if layout else ():
            if part in group_of:
                continue
            producers = sorted({p.name for p in variables.producers(part)}, key=order.__getitem__)
            name = producers[0] if producers else ""
            group_of[part] = name
            width_of[part] = variables.width(part)
            if name and name not in groups:
                groups[name] = ChannelGroup(
                    name, width_of[part], tuple(producers), variables.frozen(part)
                )
    ordered = dict(sorted(groups.items(), key=lambda item: order[item[0]]))
    return ChannelMap(layouts, ordered, group_of, width_of)
