"""How a comparison is laid out before it has seen a single ratio: rounds, placements, looks."""

from __future__ import annotations

import math
from dataclasses import dataclass

from hwn2n.errors import MeasurementError
from hwn2n.hardware.latency.ratio import fewest_placements, schedule

PATIENCE = 3
"""How many times its seconds a comparison may take to have the placements of its first look."""

# Timing lasts this many times as long as building and settling do, and at least this share of the
# whole: rounds are noisier than placements differ, but placements are what is counted.
_TIMING = 3
_LEAST_SHARE = 0.01
_FEWEST_ROUNDS = 5
_MOST_ROUNDS = 200


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Rounds of each placement, and after how many placements to look."""

    rounds: int
    looks: tuple[int, ...]


def plan_for(
    overhead: float, round_seconds: float, seconds: float, *, confidence: float, most: int
) -> Plan:
    """How many rounds and placements to take, from how long they last.

    `overhead` are the seconds that building and settling take, `seconds` those that are left for
    up to `most` placements. Nothing else may matter: a plan that followed the ratios would make
    the looks' intervals too narrow. Raises MeasurementError where the fewest placements of the
    fewest rounds are out of reach.
    """
    fewest = fewest_placements(confidence)
    shortest = overhead + _FEWEST_ROUNDS * round_seconds
    if fewest * shortest > PATIENCE * seconds:
        raise MeasurementError(
            f"a comparison at {confidence:.4g} confidence needs at least {fewest} placements of "
            f"{_FEWEST_ROUNDS} rounds, about {fewest * shortest:.0f} s for these networks; found "
            f"{max(seconds, 0):.0f} s"
        )
    timing = max(_TIMING * overhead, _LEAST_SHARE * seconds)
    # Fewer rounds, if that makes the fewest placements fit.
    timing = min(timing, max(seconds / fewest - overhead, 0.0))
    rounds = min(_MOST_ROUNDS, max(_FEWEST_ROUNDS, math.ceil(timing / round_seconds)))
    fits = int(seconds / (overhead + rounds * round_seconds))
    return Plan(rounds=rounds, looks=schedule(confidence, max(fewest, min(most, fits))))
