"""Which widths a channel group may have: whole units, multiples that the hardware likes, a floor.

Tensor cores and SIMD units work on 8, 16 or 32 channels at a time, and a layer of 33 channels
takes as long as one of 40. So `round_to` lets widths be multiples of such a number only, and
`floor` keeps layers from becoming so thin that their overhead is all that remains.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from hwn2n.errors import InputError
from hwn2n.network.channels import ChannelGroup


@dataclass(frozen=True, kw_only=True)
class Widths:
    """The widths that a search may choose.

    round_to: channels of which widths are multiples, for every layer of a group; a group's full
        width is always allowed, whatever it is (a teacher's layer of 35 channels may stay).
    floor: channels below which no layer of a group goes, unless it has fewer in the teacher.

    Raises `InputError` for numbers below 1.
    """

    round_to: int = 1
    floor: int = 1

    def __post_init__(self) -> None:
        for name in ("round_to", "floor"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, but got {getattr(self, name)}")

    def nearest(self, group: ChannelGroup, share: float) -> int:
        """The allowed width nearest to `share` of the group's; of two equally near, the larger."""
        wanted, step = group.units * share, self._step(group)
        units = max(self._least(group), min(group.units, int(wanted / step + 0.5) * step))
        if group.units - wanted <= abs(units - wanted):
            units = group.units
        return units * group.step

    def at_most(self, group: ChannelGroup, width: int) -> int:
        """The largest allowed width up to `width`; the least one where that is more."""
        units = width // group.step
        if units >= group.units:
            return group.width
        step = self._step(group)
        return max(self._least(group), units // step * step) * group.step

    def above(self, group: ChannelGroup, width: int) -> int:
        """The next larger allowed width; the group's own where there is none."""
        step = self._step(group) * group.step
        return min(group.width, (width // step + 1) * step)

    def least(self, group: ChannelGroup) -> int:
        """The smallest allowed width."""
        return self._least(group) * group.step

    def _step(self, group: ChannelGroup) -> int:
        """Units by which widths grow, so that every layer's is a multiple of `round_to`."""
        needed = (self.round_to // math.gcd(self.round_to, each) for each in group.per_unit)
        return math.lcm(*needed)

    def _least(self, group: ChannelGroup) -> int:
        step = self._step(group)
        units = -(-self.floor // min(group.per_unit))
        return min(group.units, max(1, -(-units // step)) * step)
