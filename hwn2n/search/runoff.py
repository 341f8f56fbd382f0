"""Which candidate becomes the student: the best few train longer first, and the best of those wins.

The best of many brief trainings is partly the luckiest of them, and partly one that learns fast.
So a search may end with a run-off (`Settings.runoff`): its best candidates are trained anew from
the weights they began with, for more epochs (`runoff_epochs`), and are rows of the ledger like all
others, in a stage of their own. The anchor, which is wide in no layer and lacks none, learns slower
than most and may end above them: it competes too, wherever the brief training left it.
"""

from __future__ import annotations

from hwn2n.network.decision import Decision
from hwn2n.run.candidate import Candidate
from hwn2n.run.ledger import Ledger
from hwn2n.search.evaluate import Evaluator
from hwn2n.search.proposals import Place, Proposal
from hwn2n.search.rounds import ANCHOR, Rounds

STAGE = "runoff"


def ranked(ledger: Ledger, evaluator: Evaluator) -> list[Candidate]:
    """The candidates inside the budget, the best first; those of a run-off before all others.

    Best by reward, as the paper has it, or by validation accuracy (`Settings.choose_by`).
    """
    candidates = ledger.best()
    if evaluator.settings.choose_by == "accuracy" and evaluator.constraints.rows:
        candidates.sort(key=lambda c: -(c.accuracy or 0.0))  # stable: then by reward
    return sorted(candidates, key=lambda c: c.stage != STAGE)


def run_off(rounds: Rounds) -> None:
    """Train the best candidates and the anchor longer, where the settings say so.

    Raises `InterruptedRunError` where it was asked to stop.
    """
    settings = rounds.settings
    if settings.runoff < 2:
        return
    briefly = [c for c in ranked(rounds.ledger, rounds.evaluator) if c.stage != STAGE]
    best = briefly[: settings.runoff]
    best += [c for c in briefly[settings.runoff :] if c.stage == ANCHOR.stage][:1]
    if len(best) < 2:
        return
    proposals = [
        Proposal(decision=Decision.from_json(candidate.decision), place=Place(STAGE, 0, number))
        for number, candidate in enumerate(best)
    ]
    # a shorter training than they had would tell nothing
    epochs = max(settings.runoff_epochs, 2 * settings.train.epochs)
    rounds.evaluate(proposals, epsilon=0.0, iterations=1, epochs=epochs)
