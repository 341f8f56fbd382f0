"""Where a tensor's channels are, whose they are, and in which units they come and go."""

from __future__ import annotations

from dataclasses import dataclass

from hwn2n.network.order import Order, in_a_row


@dataclass(frozen=True)
class Layout:
    """Where the channels of a tensor are, and whose they are.

    `axis` is the channel dimension; `parts` are the variables whose widths sum up along it
    (more than one after a concatenation). `flat` says that the spatial positions were flattened
    into the axis too: each channel then takes height * width consecutive places. `order` says
    which channel stands where, if not part after part (after a shuffle, or a cut of one).
    """

    axis: int
    parts: tuple[int, ...]
    flat: bool = False
    order: Order | None = None

    @property
    def channels(self) -> Order:
        """Which channel stands where."""
        return self.order or in_a_row(self.parts)


@dataclass(frozen=True)
class Structure:
    """How a variable's channels are made of its group's units: sections x units x block.

    Units are what can be taken out. Channel c = (s * units + u) * block + b belongs to unit u:
    of a grouped convolution a unit is a block of channels, of a tensor that is split in halves
    it has a channel in each of two sections.
    """

    sections: int = 1
    block: int = 1

    @property
    def per_unit(self) -> int:
        """Channels for each unit."""
        return self.sections * self.block

    def within(self, outer: Structure) -> Structure:
        """The structure over the units of which `outer` makes this one's units."""
        return Structure(self.sections * outer.sections, outer.block * self.block)


PLAIN = Structure()
