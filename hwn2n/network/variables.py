"""Channel variables: which dimensions of which tensors must keep the same width.

Each operation that makes channels (a convolution, a linear layer) owns a fresh variable; the
rules of `operators` merge variables wherever an operator needs its inputs' or outputs' channels
to agree (a residual sum, a depthwise convolution), and freeze those that must not change, with
a reason a person can read. Union-find, so that a group is found however it is wired.
"""

from __future__ import annotations

from dataclasses import dataclass

from hwn2n.network.architecture import IllegalArchitectureError


@dataclass(frozen=True)
class Layout:
    """Where the channels of a tensor are, and whose they are.

    `axis` is the channel dimension; `parts` are the variables laid one after the other along it
    (more than one after a concatenation). `flat` says that the spatial positions were flattened
    into the axis too: each channel then takes height * width consecutive places.
    """

    axis: int
    parts: tuple[int, ...]
    flat: bool = False


@dataclass(frozen=True)
class Producer:
    """An operation that makes `width` channels of its own in the teacher."""

    name: str
    width: int


class ChannelVariables:
    """Union-find over channel variables, with the producers and the freezes of each."""

    def __init__(self) -> None:
        self._parent: list[int] = []
        self._producers: dict[int, list[Producer]] = {}
        self._required: dict[int, list[tuple[int | None, str]]] = {}

    def fresh(self, producer: str, width: int) -> int:
        """A new variable of `width` channels, made by the operation `producer`."""
        variable = len(self._parent)
        self._parent.append(variable)
        self._producers[variable] = [Producer(producer, width)]
        self._required[variable] = []
        return variable

    def fixed(self, width: int, reason: str) -> int:
        """A new variable without a producer whose width cannot change (the image's channels)."""
        variable = len(self._parent)
        self._parent.append(variable)
        self._producers[variable] = []
        self._required[variable] = [(width, reason)]
        return variable

    def root(self, variable: int) -> int:
        """The representative of the variable's group."""
        while self._parent[variable] != variable:
            self._parent[variable] = self._parent[self._parent[variable]]
            variable = self._parent[variable]
        return variable

    def merge(self, first: int, second: int) -> None:
        """From now on both have the same width and the same kept channels."""
        kept, gone = sorted((self.root(first), self.root(second)))
        if kept == gone:
            return
        self._parent[gone] = kept
        self._producers[kept] += self._producers.pop(gone)
        self._required[kept] += self._required.pop(gone)

    def freeze(self, variable: int, reason: str, width: int | None = None) -> None:
        """The variable must keep its width (or have exactly `width`), because of `reason`."""
        self._required[self.root(variable)].append((width, reason))

    def producers(self, variable: int) -> list[Producer]:
        """Those that make the channels of the variable's group."""
        return self._producers[self.root(variable)]

    def frozen(self, variable: int) -> str | None:
        """The first reason for which the group's width cannot change, or None."""
        required = self._required[self.root(variable)]
        return required[0][1] if required else None

    def width(self, variable: int) -> int:
        """The widest the group can be: what all its producers can give, or what is required.

        The minimum over the producers that are left: a removed layer ties its input to its
        output, and no layer grows wider than it is in the teacher to make that fit.
        """
        root = self.root(variable)
        required = {width for width, _ in self._required[root] if width is not None}
        reasons = "; ".join(reason for width, reason in self._required[root] if width is not None)
        if len(required) > 1:
            raise IllegalArchitectureError(
                f"channels of different fixed widths {sorted(required)} meet: {reasons}"
            )
        producers = self._producers[root]
        if not required:
            return min(producer.width for producer in producers)
        width = required.pop()
        for producer in producers:
            if producer.width < width:
                raise IllegalArchitectureError(
                    f"{producer.name} makes {producer.width} channels where {width} are needed: "
                    f"{reasons}"
                )
        return width
