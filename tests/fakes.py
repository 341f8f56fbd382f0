"""Parts of a search that are watched, or replaced by a formula."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import small
from torch import nn

from hwn2n.network.decision import Decision
from hwn2n.run.candidate import Candidate, State
from hwn2n.run.ledger import Ledger
from hwn2n.run.progress import Reporter, StageProgress
from hwn2n.search.assemble import Workbench
from hwn2n.search.limits import Limits
from hwn2n.search.proposals import Place, Proposal


class Bench:
    """A workbench, its evaluator on call, and the students that it trained."""

    def __init__(self, bench: Workbench) -> None:
        self.bench = bench
        self.evaluator = bench.evaluator
        self.trained: list[nn.Module] = []
        original = bench.school.train_briefly

        def spied(student: nn.Module, **how: Any) -> Any:
            self.trained.append(student)
            return original(student, **how)

        bench.school.train_briefly = spied  # type: ignore[method-assign]
        self._rollout = 0

    def __call__(self, decision: Decision, epsilon: float = 0.0) -> Candidate:
        self._rollout += 1
        place = Place("shrinkage", 0, self._rollout)
        proposal = Proposal(decision=decision, place=place, actions=(1, 2))
        [candidate] = self.evaluator.evaluate([proposal], epsilon=epsilon)
        return candidate


class FakeEvaluator:
    """Rewards decisions by a formula, and trains nothing."""

    def __init__(self, ledger: Ledger, formula: Callable[[Decision], float]) -> None:
        self.ledger = ledger
        self.formula = formula
        self.countable = small.budget("{metric: params, max: 90%}").resolve(
            small.CalmTarget().measure(small.small_teacher().model, small.SHAPE, ["params"])
        )
        self.constraints = self.countable
        self.limits = Limits(small.budget(), {})
        self.fitter = SimpleNamespace(scales=True, forecast=None)
        self.epsilons: list[float] = []

    def next_is_done(self) -> bool:
        return False

    def evaluate(
        self, proposals: Sequence[Proposal], *, epsilon: float, **how: Any
    ) -> Iterator[Candidate]:
        for proposal in proposals:
            self.epsilons.append(epsilon)
            value = self.formula(proposal.decision)
            yield self.ledger.add(
                Candidate(
                    stage=proposal.place.stage,
                    iteration=proposal.place.iteration,
                    rollout=proposal.place.rollout,
                    state=State.TRAINED,
                    key=None,
                    actions=proposal.actions,
                    decision=proposal.decision.to_json(),
                    cost={"params": {"value": 5, "how": "exact"}},
                    accuracy=value,
                    reward=value,
                    terms={"base": value},
                    satisfied=True,
                )
            )


class Heard(Reporter):
    """Remembers what was reported."""

    def __init__(self) -> None:
        self.stages: list[StageProgress] = []

    def message(self, text: str) -> None:
        pass

    def stage(self, progress: StageProgress) -> None:
        self.stages.append(progress)

    def epoch(self, name: str, epoch: int, epochs: int, text: str) -> None:
        pass
