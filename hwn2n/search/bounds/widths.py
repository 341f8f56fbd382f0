"""How many channels an operation makes of its own, in whatever student it is kept.

The channels of an operation form a variable; removals tie variables together, and a group of tied
ones is as wide as its narrowest producer, or as the width that something fixed asks of it
(`network.variables`). What a group is tied to depends on the removal, so two facts are collected
that hold in every student, in one walk over the teacher (`follow` has the rules):

- `may`: which variables can appear in the layout of an operation's output, as its readers see it,
  that is with the operation kept or bypassed. Variables are merged only where operations combine
  or mix their inputs, and where operations share weights; merging all that may appear there gives
  classes that contain every group of every student. So no group is narrower than the narrowest
  member of its class, shrunk as far as the settings go. That is so while channels come and go one
  by one; a class in which something may ask for blocks or sections of them is only known to keep
  one such unit.
- `sure`: which operations' variables are in that layout, or frozen anyway, whenever the operation
  is kept. Where something freezes the layout that is in all the students that have them, they are
  frozen in every student, and not shrunk at all.

No group is wider than any of its producers, so the teacher's width bounds from above.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from hwn2n.network.architecture import INPUT, Architecture, Operation
from hwn2n.network.operators import Shape
from hwn2n.search.bounds.follow import RULES
from hwn2n.search.bounds.presence import Presence
from hwn2n.search.bounds.variables import Followed, Variables

Range = tuple[int, int]
"""The least and the greatest value, both included."""

_LOGITS = "<logits>"


def width_ranges(
    teacher: Architecture, presence: Presence, smallest: Callable[[int], int]
) -> dict[str, Range]:
    """The channels that each operation with a width of its own makes wherever it is kept.

    `smallest`: the least number of channels that the search leaves of so many that come and go
    one by one, which must not fall with them.
    """
    variables = Variables(presence)
    operations = teacher.by_name()
    image = variables.add(INPUT, teacher.input_shape[0])
    start = frozenset({image})
    seen: dict[str, Followed] = {INPUT: Followed(start, axes=frozenset({1}))}
    shapes: dict[str, Shape] = {INPUT: (-1, *teacher.input_shape)}
    shapes |= {op.name: op.shape or () for op in teacher}
    for op in teacher:
        inputs = [seen[name] for name in op.inputs]
        found = RULES[op.kind](op, inputs, [shapes[name] for name in op.inputs], variables)
        if owner := op.config.get("tied_to"):
            first = [seen[name].may for name in (owner, *operations[owner].inputs)]
            variables.tie(found.may.union(*first, *(source.may for source in inputs)))
        seen[op.name] = _with_bypass(op, found, seen, shapes, presence)
    output = seen[teacher.output]
    variables.frozen |= output.sure
    shape = operations[teacher.output].shape
    if shape is not None:
        variables.tie([*output.may, variables.add(_LOGITS, shape[1])])
    ranges = {}
    for name, unit in variables.units.items():
        width = variables.width[name]
        if variables.divided(name):
            least = unit
        elif name in variables.frozen:
            least = variables.narrowest(name)
        else:
            least = smallest(variables.narrowest(name))
        ranges[name] = (least, width)
    return ranges


def _with_bypass(
    op: Operation,
    found: Followed,
    seen: Mapping[str, Followed],
    shapes: Mapping[str, Shape],
    presence: Presence,
) -> Followed:
    """What the readers of an operation may see where it is kept or removed."""
    names = presence.stand_ins(op)
    sure = found.sure
    if len(op.inputs) > 1 and names:
        # Readers of a removed sum see its other side alone: of the rest is sure what goes with it.
        other = frozenset[str]().union(*(seen[name].sure for name in names))
        own = presence.layer_of[op.name]
        sure = frozenset(n for n in sure if n in other or presence.layer_of.get(n) == own)
    may, axes, several = found.may, found.axes, found.several
    for name in names:
        more = len(shapes[op.name]) - len(shapes[name])
        may |= seen[name].may
        axes |= frozenset(axis + more for axis in seen[name].axes)
        several |= seen[name].several
    return Followed(may, sure, axes, several)
