"""What a rule for an operator answers; one subclass for each kind, one table for all of them."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from torch import nn

from hwn2n.network.architecture import IllegalArchitectureError, Operation
from hwn2n.network.layout import Layout
from hwn2n.network.order import alike, leaves
from hwn2n.network.variables import ChannelVariables

Shape = tuple[int, ...]
"""Shape of a tensor; the batch is -1, and -9 stands for nine times the batch (nine windows of each
image). It stands first in most tensors, but not in all (transformers with the tokens first)."""


class Operator(ABC):
    """The rule of one kind of operation: how it relates channels, and how it is built.

    A kind with parameters is built as a module, others as a module or a function; `build` says.
    """

    bypassable = False
    """May the removal policy take the operation out and join its input to its readers?"""

    has_kernel = False
    """May the shrinkage policy change the operation's kernel size?"""

    has_weights = False
    """Is it built as a module with weights `name.weight` ... in the state dict?"""

    @abstractmethod
    def relate(
        self,
        op: Operation,
        inputs: list[Layout | None],
        shapes: list[Shape],
        variables: ChannelVariables,
    ) -> Layout | None:
        """The output's layout, after merging and freezing the variables as the operator needs.

        `shapes` are those of the inputs at full width. `None` stands for a tensor
        without channels that could change (or no tensor at all).
        """

    @abstractmethod
    def resize(self, op: Operation, inputs: list[Shape], width: int | None) -> Operation:
        """The operation fitted to inputs of these shapes, with its output's shape.

        `width`: the channels to make, for kinds that own a variable, else None.
        Raises `IllegalArchitectureError` with the reason where it cannot be fitted.
        """

    @abstractmethod
    def build(self, op: Operation) -> nn.Module | Callable[..., Any]:
        """A module (freshly initialised), or a function of the inputs."""

    def parameters(self, op: Operation) -> int:
        """Number of trainable parameters."""
        return 0

    def buffers_bytes(self, op: Operation) -> int:
        """Bytes of what the state dict holds beside the parameters (running statistics)."""
        return 0

    def flops(self, op: Operation, inputs: list[Shape]) -> int:
        """FLOPs for one image in fvcore's counting (one multiply-add is one FLOP)."""
        return 0


def size(shape: Shape) -> int:
    """Number of elements for one image."""
    return abs(math.prod(shape))


def channel_axis(shape: Shape) -> int:
    """Where a tensor has its channels: (N, C), (N, C, H, W), but (N, tokens, C)."""
    return 2 if len(shape) == 3 else 1


def shaped(op: Operation, shape: Shape) -> Operation:
    """The operation with the shape of its output."""
    return replace(op, shape=shape)


def one_shape(op: Operation, inputs: list[Shape], rank: int | None = None) -> Shape:
    """The shape of the first input, of the given rank; otherwise the reason why not."""
    shape = inputs[0]
    if rank is not None and len(shape) != rank:
        raise IllegalArchitectureError(
            f"{op.name} ({op.kind}) needs an input of rank {rank}, but would get {list(shape)}"
        )
    return shape


def broadcast(shapes: list[Shape]) -> Shape | None:
    """The shape of what torch makes of tensors of these shapes, or None if it refuses them."""
    rank = max(len(shape) for shape in shapes)
    full = [(1,) * (rank - len(shape)) + tuple(shape) for shape in shapes]
    found = []
    for sizes in zip(*full, strict=True):
        larger = set(sizes) - {1}
        if len(larger) > 1:
            return None
        found.append(larger.pop() if larger else 1)
    return tuple(found)


def pooled(length: int, kernel: int, stride: int, padding: int, dilation: int, ceil: bool) -> int:
    """Length of one spatial dimension after a sliding window (as torch computes it)."""
    span = length + 2 * padding - dilation * (kernel - 1) - 1
    steps = -(-span // stride) if ceil else span // stride
    if ceil and steps * stride >= length + padding:
        steps -= 1  # a window must not start in the padding behind the image
    return steps + 1


def merge_parts(layouts: list[Layout], variables: ChannelVariables, reason: str) -> None:
    """Make the channels of all layouts the same ones, or freeze them where they cannot be."""
    first = layouts[0]
    for other in layouts[1:]:
        same = (other.axis, other.flat, len(other.parts)) == (
            first.axis,
            first.flat,
            len(first.parts),
        )
        if not same and _merge_sections(first, other, variables, reason):
            continue
        if not same or not alike(first.channels, other.channels):
            freeze_all([first, other], variables, reason)
            continue
        mine, theirs = leaves(first.channels), leaves(other.channels)
        for one, two in zip([*first.parts, *mine], [*other.parts, *theirs], strict=True):
            variables.merge(one, two, reason)


def _merge_sections(
    first: Layout, second: Layout, variables: ChannelVariables, reason: str
) -> bool:
    """One variable that meets the same one several times over has as many equal sections."""
    few, many = sorted((first, second), key=lambda layout: len(layout.parts))
    plain = not any(layout.flat or layout.order for layout in (few, many))
    if not plain or few.axis != many.axis or len(few.parts) != 1:
        return False
    if not variables.same(many.parts):
        return False
    piece = variables.cut(few.parts[0], 0, 1, len(many.parts))
    if piece is None:
        return False
    variables.merge(many.parts[0], piece, reason)
    return True


def freeze_all(layouts: Sequence[Layout | None], variables: ChannelVariables, reason: str) -> None:
    """No channel of these layouts may change."""
    for layout in layouts:
        for part in layout.parts if layout else ():
            variables.freeze(part, reason)


def on_axis(
    op: Operation, layout: Layout | None, axis: int, variables: ChannelVariables
) -> Layout | None:
    """The layout where its channels are along `axis`; frozen, and None, where they are not."""
    if layout is None or layout.axis == axis:
        return layout
    freeze_all([layout], variables, f"{op.name} ({op.kind}) reads along another dimension")
    return None
