"""What all strategies share: rounds of proposals, evaluated, reported, interruptible."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hwn2n.budget.cost import cost_from_json
from hwn2n.network.planner import Planner
from hwn2n.run.candidate import Candidate
from hwn2n.run.clock import Clock
from hwn2n.run.folder import RunFolder
from hwn2n.run.ledger import Ledger
from hwn2n.run.progress import Reporter, StageProgress
from hwn2n.run.stop import Stop
from hwn2n.search.evaluate import Evaluator
from hwn2n.search.proposals import Proposal
from hwn2n.search.settings import Settings

SEARCH = "search"
"""The phase to which the clock books all of this."""


@dataclass(frozen=True, kw_only=True)
class Rounds:
    """What a search works on and where it writes."""

    planner: Planner
    evaluator: Evaluator
    ledger: Ledger
    folder: RunFolder
    settings: Settings
    reporter: Reporter
    stop: Stop
    clock: Clock

    def evaluate(
        self,
        proposals: Sequence[Proposal],
        *,
        epsilon: float,
        iterations: int,
        done: int,
        total: int,
        epochs: int | None = None,
    ) -> list[Candidate]:
        """The candidates of one iteration of `iterations`, in order; `epochs` as in `Evaluator`.

        `done` candidates came before them, of the `total` of the stage; iterations need not be of
        one size.

        Raises `InterruptedRunError` where it was asked to stop, once those whose work is done are
        in the ledger, or between two readings where there are none yet.
        """
        found = []
        for candidate in self.evaluator.evaluate(
            proposals, epsilon=epsilon, epochs=epochs, pause=self.stop.check
        ):
            found.append(candidate)
            self._report(candidate, iterations, done, total)
            if not self.evaluator.next_is_done():
                self.stop.check()
        self.stop.check()
        return found

    def headroom(self, candidate: Candidate) -> float:
        """The distance to the row that binds, as `Limits.headroom` has it."""
        cost, teacher = cost_from_json(candidate.cost), cost_from_json(candidate.teacher)
        return self.evaluator.limits.headroom(cost, teacher)

    def _report(self, candidate: Candidate, iterations: int, done: int, total: int) -> None:
        self.clock.lap(SEARCH)
        standing = self.ledger.standing(candidate.stage, candidate.iteration)
        best = standing.best
        self.reporter.stage(
            StageProgress(
                stage=candidate.stage,
                iteration=candidate.iteration,
                iterations=iterations,
                rollout=candidate.rollout,
                candidates=done + candidate.rollout + 1,
                total=total,
                reward=standing.reward,
                best=best.reward if best else None,
                best_accuracy=best.accuracy if best else None,
                best_params=int(best.cost["params"]["value"]) if best else None,
                feasible_share=standing.inside,
            )
        )
