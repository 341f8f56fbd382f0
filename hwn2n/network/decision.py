"""Decisions: what was removed, and how much the rest was shrunk."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hwn2n.errors import InputError


@dataclass(frozen=True)
class Decision:
    """One way to make a teacher smaller.

    `removed`: names of operations that are bypassed. `widths`: channels that a channel group
    keeps, by the group's name in the architecture that is left after the removal (groups not
    named keep their width). `kernels`: kernel sizes (height, width) by convolution. Absolute
    numbers, so that equal decisions compare equal; nothing here depends on a policy.
    """

    removed: frozenset[str] = frozenset()
    widths: Mapping[str, int] = field(default_factory=dict)
    kernels: Mapping[str, tuple[int, int]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """JSON-able form with sorted names, the inverse of `from_json`."""
        return {
            "removed": sorted(self.removed),
            "widths": dict(sorted(self.widths.items())),
            "kernels": {name: list(size) for name, size in sorted(self.kernels.items())},
        }

    @classmethod
    def from_json(cls, data: Any) -> Decision:
        """Read what `to_json` wrote."""
        try:
            if not isinstance(data["removed"], list):
                raise TypeError("removed must be a list of names")
            return cls(
                frozenset(str(name) for name in data["removed"]),
                {str(k): int(v) for k, v in data["widths"].items()},
                {str(k): (int(v[0]), int(v[1])) for k, v in data["kernels"].items()},
            )
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            raise InputError(f"damaged decision: {error!r}") from error


NOTHING = Decision()
"""The decision to change nothing: its student is the teacher."""


def name_of(decision: object) -> str:
    """One text of a decision's JSON (`Decision.to_json`); equal for equal decisions."""
    return json.dumps(decision, sort_keys=True)
