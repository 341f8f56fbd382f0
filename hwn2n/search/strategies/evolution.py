"""Regularised evolution (Real et al. 2019, arXiv 1802.01548) over decisions, and local search.

The first candidates are random founders, from deep and narrow to shallow and wide ones, and then
every child is a mutation of a good candidate.
`evolution` takes the best of a random sample of the youngest candidates as the parent, so that no
candidate lives for ever on one lucky reading; `local` takes the best of all. A network that was
evaluated before is not proposed again.

Where all that the budget limits can be counted or forecast, and decisions are projected on it,
widths are proportions: a child is scaled up as far as the teacher's widths allow and then down to
the budget (`projection`, `forecast`), so that what one layer gives up the others gain. Elsewhere
widths are what they are, and a child may also be its parent with all widths larger or smaller.

The parents are in the ledger, and an iteration's random numbers follow from the seed and its
number, so a search that is resumed goes on as it would have.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence

from hwn2n.network.architecture import IllegalArchitectureError
from hwn2n.network.decision import NOTHING, Decision
from hwn2n.run.candidate import Candidate, State
from hwn2n.search.proposals import Place, Proposal
from hwn2n.search.rounds import Rounds
from hwn2n.search.screening import Screening
from hwn2n.search.seeds import derive_seed
from hwn2n.search.strategies.mutations import Mutations

STAGE = "evolution"
_TRIES = 50
"""So often a child is drawn anew that cannot be built or is known already."""


def run_evolution(rounds: Rounds) -> None:
    """As many candidates as the two stages of the policies would have."""
    settings = rounds.settings
    rollouts = max(settings.removal.rollouts, settings.shrinkage.rollouts)
    count = sum(stage.updates * stage.rollouts for stage in (settings.removal, settings.shrinkage))
    iterations = math.ceil(count / rollouts)
    for iteration in range(iterations):
        rounds.evaluator.look_back(Place(STAGE, iteration, 0))
        earlier = [c for c in rounds.ledger.candidates() if _before(c, iteration)]
        generator = random.Random(derive_seed(settings.seed, STAGE, iteration))
        breeder = Breeder(rounds, earlier, generator)
        first = iteration * rollouts
        proposals = [
            Proposal(
                decision=breeder.founder(n) if n < settings.founders else breeder.child(),
                place=Place(STAGE, iteration, n - first),
            )
            for n in range(first, min(first + rollouts, count))
        ]
        # Parents are chosen by accuracy, not by reward: outside the budget there is none to learn.
        rounds.evaluate(proposals, epsilon=0.0, iterations=iterations, done=first, total=count)


def _before(candidate: Candidate, iteration: int) -> bool:
    return candidate.stage != STAGE or candidate.iteration < iteration


class Breeder:
    """Makes the children of one iteration from the candidates before it."""

    def __init__(
        self, rounds: Rounds, earlier: Sequence[Candidate], generator: random.Random
    ) -> None:
        self.rounds = rounds
        self.random = generator
        self.parents = [c for c in earlier if c.state is not State.ILLEGAL]
        self.known = {c.key for c in earlier}
        self.screening: Screening | None = None
        if rounds.settings.screen > 1:
            self.screening = Screening(rounds.evaluator, rounds.ledger)
            self.screening.fit(earlier)
        self.mutations = Mutations(
            rounds.planner, rounds.settings, generator, proportions=rounds.evaluator.fitter.fills
        )

    def child(self) -> Decision:
        """A mutation of a good candidate, new if one was found in time; the most promising of as
        many as the settings say (screening.py)."""

        def draw() -> Decision:
            return self._new(lambda: self.mutations.mutated(self._parent()))

        drawn = [draw()]
        if self.screening is not None and self.screening.predictor.ready:
            drawn += [draw() for _ in range(self.rounds.settings.screen - 1)]
            drawn = [drawn[i] for i in self.screening.best(self.screening.networks(drawn))]
        return drawn[0]

    def founder(self, number: int) -> Decision:
        """A random decision: where all children descend from one, few are far from it.

        Founders are stratified by depth: the first keeps nearly all layers, the last but few.
        """
        low, high = (n / self.rounds.settings.founders for n in (number, number + 1))
        return self._new(lambda: self.mutations.founder(self.random.uniform(low, high)))

    def _new(self, draw: Callable[[], Decision]) -> Decision:
        decision = NOTHING
        for _ in range(_TRIES):
            decision = draw()
            try:
                _, _, key = self.rounds.evaluator.plan(decision)
            except IllegalArchitectureError:
                continue
            if key not in self.known:
                self.known.add(key)
                return decision
        return decision

    def _parent(self) -> Decision:
        settings = self.rounds.settings
        if not self.parents:
            return NOTHING
        if settings.strategy == "local":
            chosen = self.parents
        else:
            alive = self.parents[-settings.population :]
            chosen = self.random.sample(alive, min(settings.tournament, len(alive)))
        return Decision.from_json(max(chosen, key=self._fitness).decision)

    def _fitness(self, candidate: Candidate) -> tuple[float, float, int]:
        """Inside the budget by expected accuracy (without one by reward); outside by how far."""
        if not self.rounds.evaluator.constraints.rows:
            return (1.0, candidate.reward, -(candidate.id or 0))
        if candidate.satisfied and candidate.accuracy is not None:
            return (1.0, candidate.expected, -(candidate.id or 0))
        violation = candidate.terms["violation"]
        return (0.0, -math.inf if violation is None else -violation, -(candidate.id or 0))
