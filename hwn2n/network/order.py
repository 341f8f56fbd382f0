"""Which channel stands where along a tensor: part after part, shuffled, or a piece of such.

An order is a small tree over channel variables. Read with the channels that each variable has in
the teacher, and with those that a student keeps, it says for each channel that an operation
reads in the student which one that was in the teacher, however they were mixed on the way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")

MOST_LEAVES = 4096
"""Of an order with more, nobody could say quickly where a channel comes from."""


@dataclass(frozen=True)
class Leaf:
    """All channels of a variable, as they are made."""

    variable: int


@dataclass(frozen=True)
class Row:
    """Orders one after the other."""

    items: tuple[Order, ...]


@dataclass(frozen=True)
class Shuffled:
    """A channel shuffle (ShuffleNet): the first of each of `groups` groups, then the second ..."""

    groups: int
    item: Order


@dataclass(frozen=True)
class Piece:
    """Sections `start` to `stop` of `sections` equal ones."""

    start: int
    stop: int
    sections: int
    item: Order


Order = Leaf | Row | Shuffled | Piece


def in_a_row(variables: Sequence[int]) -> Order:
    """Variable after variable."""
    return Row(tuple(Leaf(variable) for variable in variables))


def leaves(order: Order) -> list[int]:
    """The variables of an order, left to right; one that was read twice comes twice."""
    if isinstance(order, Leaf):
        return [order.variable]
    if isinstance(order, Row):
        return [variable for item in order.items for variable in leaves(item)]
    return leaves(order.item)


def arrange(order: Order, channels: Callable[[int, int], list[T]]) -> list[T]:
    """The channels as they stand; `channels(i, variable)` gives those of the i-th leaf."""
    count = 0

    def walk(at: Order) -> list[T]:
        nonlocal count
        if isinstance(at, Leaf):
            count += 1
            return channels(count - 1, at.variable)
        if isinstance(at, Row):
            return [channel for item in at.items for channel in walk(item)]
        inside = walk(at.item)
        if isinstance(at, Shuffled):
            length = len(inside) // at.groups
            return [inside[g * length + i] for i in range(length) for g in range(at.groups)]
        return inside[len(inside) * at.start // at.sections : len(inside) * at.stop // at.sections]

    return walk(order)


def alike(first: Order, second: Order) -> bool:
    """Are two orders the same but for their variables?"""
    if isinstance(first, Row) and isinstance(second, Row):
        return len(first.items) == len(second.items) and all(
            alike(a, b) for a, b in zip(first.items, second.items, strict=True)
        )
    if isinstance(first, Shuffled) and isinstance(second, Shuffled):
        return first.groups == second.groups and alike(first.item, second.item)
    if isinstance(first, Piece) and isinstance(second, Piece):
        mine = (first.start, first.stop, first.sections)
        return mine == (second.start, second.stop, second.sections) and alike(
            first.item, second.item
        )
    return isinstance(first, Leaf) and isinstance(second, Leaf)
