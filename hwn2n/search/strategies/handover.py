"""What the second stage takes over from the first: the removals whose networks it shrinks."""

from __future__ import annotations

from hwn2n.budget.cost import cost_from_json
from hwn2n.network.decision import Decision
from hwn2n.run.candidate import Candidate, latest
from hwn2n.search.choices.actions import RemovalStage
from hwn2n.search.proposals import ANCHOR
from hwn2n.search.rounds import Rounds


def best_removals(rounds: Rounds, count: int) -> list[frozenset[str]]:
    """What the best candidates so far remove, at most `count` of them, the best first.

    Inside the budget comes first, then the reward without the constraint: removal alone
    rarely meets a tight budget, and then the constrained reward says only how early a
    candidate came. What is measured of a candidate outside counts against it, by how far it is
    outside: shrinking lowers latency far less than it lowers parameters. With nothing trained,
    nothing is removed.
    """
    rows = [c for c in rounds.ledger.candidates() if c.accuracy is not None]
    rows = latest(c for c in rows if c.stage in (ANCHOR.stage, RemovalStage.name))
    rows.sort(key=lambda c: (c.satisfied, c.terms["base"] - _missed(rounds, c)), reverse=True)
    found = dict.fromkeys(Decision.from_json(c.decision).removed for c in rows)
    return list(found)[:count] or [frozenset()]


def _missed(rounds: Rounds, candidate: Candidate) -> float:
    """How far outside the rows that need a measurement a candidate is, as a share of a limit."""
    cost, teacher = cost_from_json(candidate.cost), cost_from_json(candidate.teacher)
    constraints = rounds.evaluator.limits.given(teacher)
    counted = {row.id for row in rounds.evaluator.countable.rows}
    measured = [row.residual(cost) for row in constraints.rows if row.id not in counted]
    return max([0.0, *(residual for residual in measured if residual is not None)])
