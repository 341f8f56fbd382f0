"""Which candidate becomes the student: the best few train longer first, and the best of those wins.

The best of many brief trainings is partly the luckiest of them, and partly one that learns fast.
So a search may end with a run-off (`Settings.runoff`): its best candidates are trained anew, from
what they inherit or from other fresh weights, for more epochs (`runoff_epochs`), and are rows of
the ledger like all others, in a stage of their own. The anchor, which is wide in no layer and lacks
none, learns slower than most and may end above them: it competes too, wherever the brief training
left it.
"""

from __future__ import annotations

from hwn2n.budget.cost import Cost, cost_from_json
from hwn2n.network.decision import Decision
from hwn2n.run.candidate import Candidate
from hwn2n.run.ledger import Ledger
from hwn2n.search.evaluate import Evaluator
from hwn2n.search.proposals import ANCHOR, Place, Proposal
from hwn2n.search.rounds import Rounds

STAGE = "runoff"
_TURNS = 3
"""So often others may take the places of those that were outside when measured again."""
_NEARLY = 0.25
"""So far outside, as a share of the limit, a network may be to get another try, narrower."""


def ranked(ledger: Ledger, evaluator: Evaluator) -> list[Candidate]:
    """The candidates inside the budget, the best first; those of a run-off before all others.

    Best by reward, as the paper has it, or by validation accuracy (`Settings.choose_by`).
    """
    candidates = ledger.best()
    if evaluator.settings.choose_by == "accuracy":
        candidates.sort(key=lambda c: -c.expected)  # stable: then by reward
    return sorted(candidates, key=lambda c: c.stage != STAGE)


def run_off(rounds: Rounds) -> None:
    """Train the best candidates and the anchor longer, where the settings say so.

    One whose limits have to be measured is measured again, in full: the best of many short readings
    is partly the luckiest. Where it is outside now it tries again a little narrower, or the next
    best takes its place, a few times.

    Raises `InterruptedRunError` where it was asked to stop.
    """
    wanted = rounds.settings.runoff
    if wanted < 2:
        return
    briefly = [c for c in ranked(rounds.ledger, rounds.evaluator) if c.stage != STAGE]
    now, later = briefly[:wanted], briefly[wanted:]
    now += [c for c in later if c.stage == ANCHOR.stage][:1]
    later = [c for c in later if c not in now]
    if len(now) < 2:
        return
    # a shorter training than they had would tell nothing
    epochs = max(rounds.settings.runoff_epochs, 2 * rounds.settings.train.epochs)
    decisions = [Decision.from_json(candidate.decision) for candidate in now]
    done = 0
    for turn in range(_TURNS):
        proposals = [
            Proposal(decision=decision, place=Place(STAGE, turn, n))
            for n, decision in enumerate(decisions)
        ]
        found = rounds.evaluate(
            proposals,
            epsilon=0.0,
            iterations=turn + 1,
            done=done,
            total=done + len(proposals),
            epochs=epochs,
        )
        done += len(found)
        decisions = []
        for candidate in found:
            if candidate.satisfied:
                continue
            cost, teacher = cost_from_json(candidate.cost), cost_from_json(candidate.teacher)
            decision = Decision.from_json(candidate.decision)
            if (again := narrower(rounds.evaluator, decision, cost, teacher)) is not None:
                decisions.append(again)
            elif later:
                decisions.append(Decision.from_json(later.pop(0).decision))
        if not decisions:
            return


def narrower(
    evaluator: Evaluator, decision: Decision, cost: Cost, teacher: Cost
) -> Decision | None:
    """The decision as narrow as `cost`, read of its network beside its `teacher`, asks for; None
    where that is far outside, or where nothing that was measured makes it narrower."""
    if evaluator.limits.headroom(cost, teacher) < -_NEARLY:
        return None
    found = evaluator.fitter.refitted(decision, cost, teacher, grow=False)
    return None if found == decision else found
