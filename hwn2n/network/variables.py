"""Channel variables: which dimensions of which tensors must keep the same width.

Each operation that makes channels (a convolution, a linear layer) owns a fresh variable; the
rules of `operators` merge variables wherever an operator needs its inputs' or outputs' channels
to agree (a residual sum, a depthwise convolution), and freeze those that must not change, with
a reason a person can read. Union-find, so that a group is found however it is wired.

A variable need not shrink by single channels: a grouped convolution loses whole groups, and a
tensor that is split in halves must lose as many channels in both (see `layout.Structure`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from hwn2n.network.architecture import IllegalArchitectureError
from hwn2n.network.layout import PLAIN, Structure


@dataclass(frozen=True)
class Producer:
    """An operation that makes `width` channels of its own in the teacher."""

    name: str
    width: int
    structure: Structure = PLAIN


@dataclass(frozen=True)
class _Required:
    """A reason to keep a width: exactly `width` channels, or as many as there are."""

    width: int | None
    reason: str
    structure: Structure = PLAIN


class ChannelVariables:
    """Union-find over channel variables, with the producers and the freezes of each."""

    def __init__(self) -> None:
        self._parent: list[int] = []
        self._structure: list[Structure] = []  # over the units of the parent
        self._producers: dict[int, list[Producer]] = {}
        self._required: dict[int, list[_Required]] = {}
        self._spread: set[int] = set()

    def fresh(self, producer: str, width: int) -> int:
        """A new variable of `width` channels, made by the operation `producer`."""
        return self._new([Producer(producer, width)], [])

    def fixed(self, width: int, reason: str) -> int:
        """A new variable without a producer whose width cannot change (the image's channels)."""
        return self._new([], [_Required(width, reason)])

    def fresh_in_groups(self, producer: str, width: int, groups: int, read: int) -> tuple[int, int]:
        """What a grouped convolution makes, and the variable that its input must be merged with.

        Of both sides whole groups are taken out together: `width // groups` channels of the
        output with `read // groups` of the input.
        """
        made, taken = Structure(1, width // groups), Structure(1, read // groups)
        unit = self._new([Producer(producer, width, made)], [])
        return self._part_of(unit, made), self._part_of(unit, taken)

    def _new(self, producers: list[Producer], required: list[_Required]) -> int:
        variable = len(self._parent)
        self._parent.append(variable)
        self._structure.append(PLAIN)
        self._producers[variable] = producers
        self._required[variable] = required
        return variable

    def _part_of(self, root: int, structure: Structure) -> int:
        variable = len(self._parent)
        self._parent.append(root)
        self._structure.append(structure)
        return variable

    def locate(self, variable: int) -> tuple[int, Structure]:
        """The representative of the variable's group, and what it makes of the group's units."""
        structure = PLAIN
        while self._parent[variable] != variable:
            structure = structure.within(self._structure[variable])
            variable = self._parent[variable]
        return variable, structure

    def root(self, variable: int) -> int:
        """The representative of the variable's group."""
        return self.locate(variable)[0]

    def merge(self, first: int, second: int, reason: str = "") -> None:
        """From now on both have the same width and the same kept channels.

        Where their units do not fit each other (sections of 3 and blocks of 4, say), both are
        frozen instead, because of `reason`.
        """
        (one, mine), (two, theirs) = self.locate(first), self.locate(second)
        if one == two and mine == theirs:
            return
        common = Structure(
            math.lcm(mine.sections, theirs.sections), math.lcm(mine.block, theirs.block)
        )
        if one == two or not self._divides(common, self._known(first), self._known(second)):
            for variable in (first, second):
                self.freeze(variable, reason or "its channels meet others in another order")
            return
        for root, structure in ((one, mine), (two, theirs)):
            self._refine(root, structure, common)
        kept, gone = sorted((self.root(first), self.root(second)))
        self._parent[gone] = kept
        self._producers[kept] += self._producers.pop(gone)
        self._required[kept] += self._required.pop(gone)
        if gone in self._spread:
            self._spread.add(kept)

    def in_sections(self, variable: int, sections: int) -> bool:
        """Make the variable a multiple of `sections` equal ones; False if it cannot be."""
        return self._restructure(variable, Structure(sections, 1))

    def in_blocks(self, variable: int, block: int) -> bool:
        """Make the variable lose whole blocks of channels only; False if it cannot be."""
        return self._restructure(variable, Structure(1, block))

    def _restructure(self, variable: int, wanted: Structure) -> bool:
        root, mine = self.locate(variable)
        common = Structure(
            math.lcm(mine.sections, wanted.sections), math.lcm(mine.block, wanted.block)
        )
        if not self._divides(common, self._known(variable)):
            return False
        self._refine(root, mine, common)
        return True

    def cut(self, variable: int, start: int, stop: int, sections: int) -> int | None:
        """Sections `start` to `stop` of the variable's `sections`, as one; None if it has none."""
        if not self.in_sections(variable, sections):
            return None
        root, structure = self.locate(variable)
        part = structure.sections // sections * (stop - start)
        return self._part_of(root, Structure(part, structure.block))

    def joined(self, variable: int, before: int, after: int) -> int:
        """The variable's channels `before` times over, each of them in `after` places."""
        root, structure = self.locate(variable)
        return self._part_of(root, Structure(before * structure.sections, structure.block * after))

    def _divides(self, structure: Structure, *widths: int) -> bool:
        """Do whole units remain of these widths? Different ones shrink to the smallest anyway."""
        least = min(widths)
        fits = least % structure.per_unit == 0 or len(set(widths)) > 1
        return fits and least >= structure.per_unit

    def _known(self, variable: int) -> int:
        """The width as far as it is known while others are still being merged."""
        root, structure = self.locate(variable)
        units = [p.width // p.structure.per_unit for p in self._producers[root]]
        units += [
            r.width // r.structure.per_unit for r in self._required[root] if r.width is not None
        ]
        return min(units) * structure.per_unit

    def _refine(self, root: int, old: Structure, new: Structure) -> None:
        """Give a group smaller units: those by which `old` becomes `new`."""
        inner = Structure(new.sections // old.sections, new.block // old.block)
        if inner == PLAIN:
            return
        unit = self._new([], [])
        self._parent[root], self._structure[root] = unit, inner
        self._producers[unit] = [
            Producer(p.name, p.width, p.structure.within(inner)) for p in self._producers.pop(root)
        ]
        self._required[unit] = [
            _Required(r.width, r.reason, r.structure.within(inner))
            for r in self._required.pop(root)
        ]
        if root in self._spread:
            self._spread.add(unit)

    def freeze(self, variable: int, reason: str, width: int | None = None) -> None:
        """The variable must keep its width (or have exactly `width`), because of `reason`."""
        root, structure = self.locate(variable)
        self._required[root].append(_Required(width, reason, structure))

    def spread(self, variable: int) -> None:
        """Kept channels are to be taken from all over the width: its readers mix the order."""
        self._spread.add(self.root(variable))

    def is_spread(self, variable: int) -> bool:
        """Was the variable's group spread?"""
        return self.root(variable) in self._spread

    def same(self, variables: tuple[int, ...]) -> bool:
        """Are they one width, channel for channel?"""
        return len({self.locate(variable) for variable in variables}) == 1

    def producers(self, variable: int) -> list[Producer]:
        """Those that make the channels of the variable's group."""
        return self._producers[self.root(variable)]

    def frozen(self, variable: int) -> str | None:
        """The first reason for which the group's width cannot change, or None."""
        required = self._required[self.root(variable)]
        return required[0].reason if required else None

    def width(self, variable: int) -> int:
        """The widest the variable can be: what all producers can give, or what is required.

        The minimum over the producers that are left: a removed layer ties its input to its
        output, and no layer grows wider than it is in the teacher to make that fit.
        """
        root, structure = self.locate(variable)
        return self._units(root) * structure.per_unit

    def _units(self, root: int) -> int:
        exact = [r for r in self._required[root] if r.width is not None]
        reasons = "; ".join(r.reason for r in exact)
        widths = {r.width for r in exact}
        if len({(r.width or 0) / r.structure.per_unit for r in exact}) > 1:
            raise IllegalArchitectureError(
                f"channels of different fixed widths {sorted(w for w in widths if w)} meet: "
                f"{reasons}"
            )
        producers = self._producers[root]
        if not exact:
            return min(p.width // p.structure.per_unit for p in producers)
        first = exact[0]
        units, rest = divmod(first.width or 0, first.structure.per_unit)
        if rest:
            raise IllegalArchitectureError(
                f"{first.width} channels must divide into units of {first.structure.per_unit}: "
                f"{reasons}"
            )
        for producer in producers:
            needed = units * producer.structure.per_unit
            if producer.width < needed:
                raise IllegalArchitectureError(
                    f"{producer.name} makes {producer.width} channels where {needed} are needed: "
                    f"{reasons}"
                )
        return units
