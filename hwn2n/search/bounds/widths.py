"""How many channels a convolution or linear layer can make, in whatever student it is kept.

The channels of an operation form a variable; removals tie variables together, and a group of tied
ones is as wide as its narrowest producer, or as the width that something fixed asks of it
(`network.variables`). What a group is tied to depends on the removal, so two facts are collected
that hold in every student, in one walk over the teacher:

- `may`: which variables can appear in the layout of an operation's output, as its readers see it,
  that is with the operation kept or bypassed. Variables are merged only where a sum or product
  meets its inputs, and where operations share weights; merging all that may appear there gives
  classes that contain every group of every student. So no group is narrower than the narrowest
  member of its class, shrunk as far as the settings go.
- `sure`: which operations' variables are in that layout, or frozen anyway, whenever the operation
  is kept. Where something that is never bypassed freezes the layout, they are frozen in every
  student, and not shrunk at all.

No group is wider than any of its producers, so the teacher's width bounds from above.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from hwn2n.network.architecture import INPUT, Architecture, Operation
from hwn2n.network.channels import OWN_WIDTH
from hwn2n.network.operators.base import channel_axis
from hwn2n.network.operators.opaque import SIZE_OF_BATCH

Range = tuple[int, int]
"""The least and the greatest value, both included."""

_LOGITS = "<logits>"
_NONE: frozenset[str] = frozenset()


@dataclass(frozen=True)
class _Layout:
    """The variables of a tensor, named by their operations; no variables: surely no layout."""

    may: frozenset[str] = _NONE
    sure: frozenset[str] = _NONE


@dataclass
class _Variables:
    """Classes of variables that some student may tie together."""

    width: dict[str, int] = field(default_factory=dict)
    frozen: set[str] = field(default_factory=set)
    _parent: dict[str, str] = field(default_factory=dict)

    def add(self, name: str, width: int) -> str:
        self.width[name] = width
        self._parent[name] = name
        return name

    def tie(self, names: Collection[str]) -> None:
        roots = sorted({self._root(name) for name in names})
        for root in roots[1:]:
            self._parent[root] = roots[0]

    def narrowest(self, name: str) -> int:
        root = self._root(name)
        return min(width for other, width in self.width.items() if self._root(other) == root)

    def _root(self, name: str) -> str:
        while self._parent[name] != name:
            self._parent[name] = self._parent[self._parent[name]]
            name = self._parent[name]
        return name


def width_ranges(
    teacher: Architecture, removable: Collection[str], smallest: Callable[[int], int]
) -> dict[str, Range]:
    """The channels that each operation with a width of its own makes wherever it is kept.

    `removable`: operations that some student is without. `smallest`: the least number of channels
    that the search leaves of so many, which must not fall with them.
    """
    variables = _Variables()
    image = variables.add(INPUT, teacher.input_shape[0])
    seen: dict[str, _Layout] = {INPUT: _Layout(frozenset({image}))}
    for op in teacher:
        inputs = [seen[name] for name in op.inputs]
        layout = RULES[op.kind](op, inputs, variables, op.name in removable)
        if owner := op.config.get("tied_to"):
            first = [seen[name].may for name in (owner, *teacher.by_name()[owner].inputs)]
            variables.tie(layout.may.union(*first, *(source.may for source in inputs)))
        if op.name in removable:
            layout = _Layout(layout.may | inputs[0].may, layout.sure)
        seen[op.name] = layout
    output = seen[teacher.output]
    variables.frozen |= output.sure
    shape = teacher.by_name()[teacher.output].shape
    if shape is not None:
        variables.tie([*output.may, variables.add(_LOGITS, shape[1])])
    ranges = {}
    for op in teacher:
        if op.kind in OWN_WIDTH and op.name in variables.width:
            least = variables.narrowest(op.name)
            least = least if op.name in variables.frozen else smallest(least)
            ranges[op.name] = (least, variables.width[op.name])
    return ranges


_Rule = Callable[[Operation, list[_Layout], _Variables, bool], _Layout]


def _own(op: Operation, width: int, variables: _Variables) -> _Layout:
    name = frozenset({variables.add(op.name, width)})
    return _Layout(name, name)


def _conv2d(
    op: Operation, inputs: list[_Layout], variables: _Variables, removable: bool
) -> _Layout:
    if op.config["depthwise"]:
        return inputs[0]
    layout = _own(op, op.config["out_channels"], variables)
    if op.config["groups"] > 1:
        variables.frozen |= layout.sure
        if not removable:
            variables.frozen |= inputs[0].sure
    return layout


def _linear(
    op: Operation, inputs: list[_Layout], variables: _Variables, removable: bool
) -> _Layout:
    return _own(op, op.config["out_features"], variables)


def _keeps(op: Operation, inputs: list[_Layout], variables: _Variables, removable: bool) -> _Layout:
    """The layout of the input, which is that of the readers without the operation, too."""
    return inputs[0]


def _flatten(
    op: Operation, inputs: list[_Layout], variables: _Variables, removable: bool
) -> _Layout:
    # Tokens flattened with their channels become a variable of a fixed width.
    assert op.shape is not None
    return _Layout(inputs[0].may | {variables.add(op.name, op.shape[1])}, inputs[0].sure)


def _union(inputs: list[_Layout]) -> _Layout:
    return _Layout(
        _NONE.union(*(layout.may for layout in inputs)),
        _NONE.union(*(layout.sure for layout in inputs)),
    )


def _binary(
    op: Operation, inputs: list[_Layout], variables: _Variables, removable: bool
) -> _Layout:
    together = _union(inputs)
    variables.tie(together.may)
    if not all(layout.may for layout in inputs):  # a tensor of fixed size
        variables.frozen |= together.sure
    return together


def _cat(op: Operation, inputs: list[_Layout], variables: _Variables, removable: bool) -> _Layout:
    return _union(inputs)


def _function(
    op: Operation, inputs: list[_Layout], variables: _Variables, removable: bool
) -> _Layout:
    if op.config.get("elementwise"):
        return inputs[0]
    if op.config["target"] == SIZE_OF_BATCH:
        return _Layout()
    variables.frozen |= _union(inputs).sure
    if op.shape is None or len(op.shape) not in (2, 3, 4):
        return _Layout()
    return _Layout(frozenset({variables.add(op.name, op.shape[channel_axis(op.shape)])}))


def _constant(
    op: Operation, inputs: list[_Layout], variables: _Variables, removable: bool
) -> _Layout:
    return _Layout()


RULES: dict[str, _Rule] = {
    "conv2d": _conv2d,
    "linear": _linear,
    "batch_norm": _keeps,
    "activation": _keeps,
    "dropout": _keeps,
    "max_pool2d": _keeps,
    "avg_pool2d": _keeps,
    "adaptive_avg_pool2d": _keeps,
    "mean": _keeps,
    "flatten": _flatten,
    "add": _binary,
    "sub": _binary,
    "mul": _binary,
    "cat": _cat,
    "function": _function,
    "constant": _constant,
}
"""What each kind of `operators.OPERATORS` does to the channels of its inputs, in any student."""
