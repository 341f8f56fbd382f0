"""The anchor: the teacher shrunk by one factor, a candidate that every search has.

Where there are limits, to the budget. Where there are none the reward alone says how small a
student should be, and of several sizes the best is the one to beat.
"""

from __future__ import annotations

import math
from dataclasses import replace

from hwn2n.network.decision import NOTHING, Decision
from hwn2n.run.candidate import Candidate
from hwn2n.search.proposals import ANCHOR, Proposal
from hwn2n.search.rounds import SEARCH, Rounds

_TRIES = 4
"""So many widths are tried where a limit has to be measured."""
_SLACK = 0.15
"""Nearer to its limit, as a share of it, an anchor need not be."""
_NARROWER = math.sqrt(0.5)
"""Of widths: about half of the parameters and FLOPs."""
_MOST = 16
"""Widths that are tried without limits: the last is less than a hundredth of the teacher's."""


def evaluate_anchors(rounds: Rounds) -> None:
    """Evaluate the anchor, or anchors.

    With limits that decisions are scaled to: one. Where a limit is measured, its width is found by
    trying. Without limits: ever narrower ones, as long as the reward rises. With other limits, to
    which nothing is scaled: none.

    Raises `InterruptedRunError` where it was asked to stop.
    """
    if rounds.evaluator.fitter.scales:
        _at_the_budget(rounds)
    elif not rounds.evaluator.constraints.rows:
        _as_the_reward_rises(rounds)


def _at_the_budget(rounds: Rounds) -> None:
    """Each try improves the forecast that the next one is scaled by. Those that are outside are not
    trained; the first that is inside and near the limit ends it."""
    for number in range(_TRIES):
        found = _evaluate(rounds, NOTHING, number)
        if rounds.evaluator.fitter.forecast is None:
            return
        if found.satisfied and rounds.headroom(found) <= _SLACK:
            return


def _as_the_reward_rises(rounds: Rounds) -> None:
    best, before = -math.inf, NOTHING
    for number in range(_MOST):
        decision = _uniform(rounds, _NARROWER ** (number + 1))
        if decision == before:
            return  # rounding, or a floor, leaves nothing narrower
        found = _evaluate(rounds, decision, number)
        if found.reward <= best:
            return
        best, before = found.reward, decision


def _uniform(rounds: Rounds, share: float) -> Decision:
    """The teacher with this share of each width."""
    _, channels = rounds.planner.left(NOTHING.removed)
    allowed = rounds.settings.widths
    widths = {name: allowed.nearest(group, share) for name, group in channels.free.items()}
    return replace(NOTHING, widths=widths)


def _evaluate(rounds: Rounds, decision: Decision, number: int) -> Candidate:
    place = replace(ANCHOR, iteration=number)
    (found,) = rounds.evaluator.evaluate([Proposal(decision=decision, place=place)], epsilon=0.0)
    rounds.clock.lap(SEARCH)
    rounds.stop.check()
    return found
