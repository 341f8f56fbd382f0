"""The anchor: the teacher shrunk by one factor to the budget, a candidate that every search has."""

from __future__ import annotations

from dataclasses import replace

from hwn2n.network.decision import NOTHING
from hwn2n.search.proposals import Proposal
from hwn2n.search.rounds import ANCHOR, SEARCH, Rounds

_TRIES = 4
"""So many widths are tried where a limit has to be measured."""
_SLACK = 0.15
"""Nearer to its limit, as a share of it, an anchor need not be."""


def evaluate_anchor(rounds: Rounds) -> None:
    """Evaluate the anchor. Where a limit is measured, its width is found by trying.

    Each try improves the forecast that the next one is scaled by. Those that are outside are not
    trained; the first that is inside and near the limit ends it.

    Raises `InterruptedRunError` where it was asked to stop.
    """
    for number in range(_TRIES):
        place = replace(ANCHOR, iteration=number)
        proposal = Proposal(decision=NOTHING, place=place)
        (found,) = rounds.evaluator.evaluate([proposal], epsilon=0.0)
        rounds.clock.lap(SEARCH)
        rounds.stop.check()
        if rounds.evaluator.fitter.forecast is None:
            return
        if found.satisfied and rounds.headroom(found) <= _SLACK:
            return
