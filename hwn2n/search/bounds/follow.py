"""How channel variables pass through each kind of operation in any student: the rules of `widths`.

Each rule gives a superset of the variables that the operation's rule in `network.operators` can
leave in the layout of its output, ties what that may merge, and marks as divided what that may
shrink by blocks or sections only. Freezes are claimed only where they are certain.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from hwn2n.network.architecture import Operation
from hwn2n.network.operators.base import Shape, channel_axis
from hwn2n.network.operators.held import held_axis
from hwn2n.network.operators.opaque import NO_VALUES
from hwn2n.network.operators.views import move_of
from hwn2n.search.bounds.variables import NONE, Followed, Variables

Rule = Callable[[Operation, list[Followed], list[Shape], Variables], Followed]
"""Called with what the inputs are in any student, and their shapes in the teacher."""


def _own(op: Operation, width: int, axis: int, variables: Variables, unit: int = 1) -> Followed:
    name = frozenset({variables.add(op.name, width)})
    variables.units[op.name] = unit
    return Followed(name, name, frozenset({axis}))


def _conv2d(
    op: Operation, inputs: list[Followed], shapes: list[Shape], variables: Variables
) -> Followed:
    cfg = op.config
    if cfg["depthwise"]:
        return inputs[0]
    if cfg["groups"] == 1:
        return _own(op, cfg["out_channels"], 1, variables)
    layout = _own(op, cfg["out_channels"], 1, variables, cfg["out_channels"] // cfg["groups"])
    together = layout.may | inputs[0].may
    variables.tie(together)
    variables.divide(together)
    return layout


def _conv_transpose2d(
    op: Operation, inputs: list[Followed], shapes: list[Shape], variables: Variables
) -> Followed:
    layout = _own(op, op.config["out_channels"], 1, variables)
    if op.config["groups"] > 1:
        variables.freeze(op.name, layout.sure)
    return layout


def _linear(
    op: Operation, inputs: list[Followed], shapes: list[Shape], variables: Variables
) -> Followed:
    return _own(op, op.config["out_features"], len(shapes[0]) - 1, variables)


def _keeps(
    op: Operation, inputs: list[Followed], shapes: list[Shape], variables: Variables
) -> Followed:
    """The layout of the input, which is that of the readers without the operation, too."""
    return inputs[0]


def _group_norm(
    op: Operation, inputs: list[Followed], shapes: list[Shape], variables: Variables
) -> Followed:
    if op.config["groups"] > 1:
        variables.divide(inputs[0].may)
    return inputs[0]


def _flatten(
    op: Operation, inputs: list[Followed], shapes: list[Shape], variables: Variables
) -> Followed:
    # Channels that are not the first dimension become a variable of a fixed width.
    assert op.shape is not None
    fixed = variables.add(op.name, op.shape[1])
    return replace(inputs[0], may=inputs[0].may | {fixed}, axes=frozenset({1}))


def _permute(
    op: Operation, inputs: list[Followed], shapes: list[Shape], variables: Variables
) -> Followed:
    return replace(inputs[0], axes=frozenset(op.config["dims"].index(a) for a in inputs[0].axes))


def _reshape(
    op: Operation, inputs: list[Followed], shapes: list[Shape], variables: Variables
) -> Followed:
    moves = [move_of(op.config["from"], op.config["to"], axis) for axis in inputs[0].axes]
    if any(move is None or not move.passes for move in moves):
        variables.divide(inputs[0].may)
    return replace(inputs[0], axes=frozenset(move.axis for move in moves if move is not None))


def _channel_shuffle(
    op: Operation, inputs: list[Followed], shapes: list[Shape], variables: Variables
) -> Followed:
    variables.tie(inputs[0].may)
    variables.divide(inputs[0].may)
    return replace(inputs[0], axes=frozenset({1}), several=True)


def _cut(
    op: Operation, inputs: list[Followed], shapes: list[Shape], variables: Variables
) -> Followed:
    if op.config["dim"] in inputs[0].axes:
        variables.divide(inputs[0].may)
    return inputs[0]


def _combined(inputs: list[Followed], variables: Variables) -> Followed:
    """What meets place by place is merged, or frozen."""
    found = _side_by_side(inputs)
    variables.tie(found.may)
    several = any(source.several for source in inputs)
    if several:  # one that meets another twice over has two sections
        variables.divide(found.may)
    return replace(found, several=several)


def _side_by_side(inputs: list[Followed]) -> Followed:
    return Followed(
        NONE.union(*(source.may for source in inputs)),
        NONE.union(*(source.sure for source in inputs)),
        frozenset[int]().union(*(source.axes for source in inputs)),
        several=True,
    )


def _binary(
    op: Operation, inputs: list[Followed], shapes: list[Shape], variables: Variables
) -> Followed:
    rank = max(len(shape) for shape in shapes)
    aligned = [
        replace(source, axes=frozenset(axis + rank - len(shape) for axis in source.axes))
        for source, shape in zip(inputs, shapes, strict=True)
    ]
    return _combined(aligned, variables)


def _cat(
    op: Operation, inputs: list[Followed], shapes: list[Shape], variables: Variables
) -> Followed:
    if all(source.axes <= {op.config["dim"]} for source in inputs):
        found = _side_by_side(inputs)
    else:
        found = _combined(inputs, variables)
    return replace(found, several=True)


def _function(
    op: Operation, inputs: list[Followed], shapes: list[Shape], variables: Variables
) -> Followed:
    cfg = op.config
    if cfg.get("elementwise"):
        return inputs[0]
    if cfg["target"] in NO_VALUES:
        return Followed()
    found = _side_by_side(inputs)
    axes = cfg.get("axes")
    if axes is None:
        variables.freeze(op.name, found.sure)
    may, moved = NONE, frozenset[int]()
    if axes is not None and inputs:
        # Where it works across channels, they are frozen, or one value of them remains.
        may = inputs[0].may
        moved = frozenset(axes[axis] for axis in inputs[0].axes if axes[axis] is not None)
    if op.shape is not None and len(op.shape) in (2, 3, 4):
        axis = channel_axis(op.shape)
        may |= {variables.add(op.name, abs(op.shape[axis]))}
        moved |= {axis}
    return Followed(may, NONE, moved, several=bool(inputs) and inputs[0].several)


def _constant(
    op: Operation, inputs: list[Followed], shapes: list[Shape], variables: Variables
) -> Followed:
    axis = held_axis(op.config["shape"])
    if axis is None or "of" in op.config:
        return Followed()
    return _own(op, op.config["shape"][axis], axis, variables)


RULES: dict[str, Rule] = {
    "conv2d": _conv2d,
    "linear": _linear,
    "conv_transpose2d": _conv_transpose2d,
    "batch_norm": _keeps,
    "layer_norm": _keeps,
    "group_norm": _group_norm,
    "activation": _keeps,
    "dropout": _keeps,
    "max_pool2d": _keeps,
    "avg_pool2d": _keeps,
    "adaptive_avg_pool2d": _keeps,
    "mean": _keeps,
    "flatten": _flatten,
    "reshape": _reshape,
    "permute": _permute,
    "channel_shuffle": _channel_shuffle,
    "cut": _cut,
    "add": _binary,
    "sub": _binary,
    "mul": _binary,
    "div": _binary,
    "cat": _cat,
    "function": _function,
    "constant": _constant,
}
"""What each kind of `operators.OPERATORS` does to the channels of its inputs, in any student."""
