"""Channel variables as far as they are known of all students at once, for `widths` and `follow`."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from hwn2n.search.bounds.presence import Presence

NONE: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Followed:
    """The variables of a tensor, named by their operations; none of them: surely no layout.

    `axes` are the dimensions along which they may be, `several` says that there may be more than
    one variable side by side.
    """

    may: frozenset[str] = NONE
    sure: frozenset[str] = NONE
    axes: frozenset[int] = frozenset()
    several: bool = False


@dataclass
class Variables:
    """Classes of variables that some student may tie together."""

    presence: Presence
    width: dict[str, int] = field(default_factory=dict)
    units: dict[str, int] = field(default_factory=dict)
    """Operations that make channels of their own, and the fewest that come and go at once."""
    frozen: set[str] = field(default_factory=set)
    _divided: set[str] = field(default_factory=set)
    _parent: dict[str, str] = field(default_factory=dict)

    def add(self, name: str, width: int) -> str:
        """A variable of so many channels in the teacher."""
        self.width[name] = width
        self._parent[name] = name
        return name

    def tie(self, names: Collection[str]) -> None:
        """Some student may merge them."""
        roots = sorted({self._root(name) for name in names})
        for root in roots[1:]:
            self._parent[root] = roots[0]

    def divide(self, names: Collection[str]) -> None:
        """In some student their channels may come and go by blocks, or by sections."""
        self._divided.update(names)

    def divided(self, name: str) -> bool:
        """May any of the variable's class be divided?"""
        root = self._root(name)
        return any(self._root(other) == root for other in self._divided)

    def freeze(self, by: str, names: Collection[str]) -> None:
        """Operation `by` freezes them, wherever it is kept itself."""
        self.frozen |= {name for name in names if self.presence.together(name, by)}

    def narrowest(self, name: str) -> int:
        """The least width of the variable's class in the teacher."""
        root = self._root(name)
        return min(width for other, width in self.width.items() if self._root(other) == root)

    def _root(self, name: str) -> str:
        while self._parent[name] != name:
            self._parent[name] = self._parent[self._parent[name]]
            name = self._parent[name]
        return name
