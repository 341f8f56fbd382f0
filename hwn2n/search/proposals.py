"""What a strategy proposes: a decision, and the place of its candidate in the search."""

from __future__ import annotations

from dataclasses import dataclass

from hwn2n.network.decision import Decision


@dataclass(frozen=True)
class Place:
    """Where in the search a candidate stands; `rollout` counts within an iteration."""

    stage: str
    iteration: int
    rollout: int


ANCHOR = Place("anchor", 0, 0)
"""Of the first anchor."""


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """A decision to evaluate. `actions` are those of a policy that took it, else empty."""

    decision: Decision
    place: Place
    actions: tuple[int, ...] = ()
