"""From what came of a candidate to its row in the ledger: state, cost, accuracy, reward."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import mean
from typing import Any

from hwn2n.budget.cost import Cost, cost_from_json, cost_to_json
from hwn2n.budget.matrix import Constraints
from hwn2n.hardware.measurement import Beside
from hwn2n.network.architecture import Architecture
from hwn2n.network.decision import NOTHING, Decision
from hwn2n.network.planner import Planner
from hwn2n.run.candidate import Candidate, State
from hwn2n.run.ledger import Ledger
from hwn2n.search.limits import Limits
from hwn2n.search.proposals import ANCHOR, Proposal
from hwn2n.search.reward import RewardTerms, accuracy_matters, compression, score
from hwn2n.search.settings import Settings
from hwn2n.search.workshop import Outcome, Task


@dataclass(frozen=True)
class Planned:
    """A decision that makes a network: as it is evaluated, with what can be counted of it."""

    decision: Decision
    architecture: Architecture
    key: str
    cost: Cost
    activations: int


@dataclass
class Work:
    """A proposal on its way to a row.

    `done` is the row that the ledger has already; `reason` says why there is no network, or none
    worth a task; `task` is None for one that needs no work, such as one that was trained before.
    `longer`: it trains longer than the search training, as in a run-off. `beside`: the readings of
    `planned` where they were taken before its task (fitting/refit.py).
    """

    proposal: Proposal
    epsilon: float
    longer: bool = False
    done: Candidate | None = None
    planned: Planned | None = None
    reason: str | None = None
    beside: Beside | None = None
    task: Task | None = None
    outcome: Outcome | None = None
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def open(self) -> bool:
        """Whether it is not done, and has a network that is worth a task."""
        return self.done is None and self.planned is not None and self.reason is None

    def book(self, seconds: Mapping[str, float]) -> None:
        """Add the seconds that its phases took."""
        for phase, value in seconds.items():
            self.seconds[phase] = self.seconds.get(phase, 0.0) + value


class RowWriter:
    """Makes the rows of one search."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        limits: Limits,
        countable: Constraints,
        measured: Sequence[str],
        settings: Settings,
        teacher_accuracy: float,
        planner: Planner,
    ) -> None:
        self.ledger = ledger
        self.limits = limits
        self.countable = countable
        self.measured = tuple(measured)
        self.settings = settings
        self.teacher_accuracy = teacher_accuracy
        self.planner = planner
        self.teacher = planner.count(NOTHING)
        self._anchored: float | None = None

    def row(self, work: Work) -> Candidate:
        """The row of a proposal whose work is done."""
        if work.planned is None:
            return self._row(work, State.ILLEGAL, {}, Beside({}, {}), reason=work.reason)
        cost = dict(work.planned.cost)
        if work.reason is not None:
            return self._row(work, State.ILLEGAL, cost, Beside({}, {}), reason=work.reason)
        if work.outcome is not None:
            return self._done(work, cost, work.outcome)
        return self._again(work, cost)

    def _done(self, work: Work, cost: dict[str, Any], outcome: Outcome) -> Candidate:
        assert work.planned is not None
        work.book(outcome.seconds)
        cost |= outcome.beside.cost
        if outcome.diverged is not None:
            return self._row(work, State.ILLEGAL, cost, outcome.beside, reason=outcome.diverged)
        if outcome.accuracy is None:
            return self._skipped(work, cost, outcome.beside)
        if outcome.stopped:
            return self._row(work, State.STOPPED, cost, outcome.beside, outcome.accuracy)
        before = [c.trained_accuracy for c in self.ledger.trainings(work.planned.key)]
        whole = mean([*(value for value in before if value is not None), outcome.accuracy])
        return self._row(
            work, State.TRAINED, cost, outcome.beside, whole, trained_accuracy=outcome.accuracy
        )

    def _again(self, work: Work, cost: dict[str, Any]) -> Candidate:
        """A network that needs no work: it is in the ledger, or became so with this batch."""
        assert work.planned is not None
        before = self.ledger.trainings(work.planned.key)
        first = before[0] if before else self.ledger.newest(work.planned.key)
        assert first is not None, "only what was asked for before is not asked for again"
        known = cost_from_json(first.cost)
        cost |= {name: known[name] for name in self.measured if name in known}
        beside = Beside({}, cost_from_json(first.teacher))
        if not before:
            same = first.same_as or first.id
            return self._row(
                work, first.state, cost, beside, first.accuracy, first.reason, same_as=same
            )
        constraints = self.limits.given(beside.teacher)
        inside = not constraints.missing(cost) and constraints.satisfied(cost)
        if not accuracy_matters(self.compression(cost), inside, work.epsilon):
            return self._skipped(work, cost, beside)
        accuracy = mean(c.trained_accuracy for c in before if c.trained_accuracy is not None)
        return self._row(work, State.REUSED, cost, beside, accuracy, same_as=first.id)

    def _skipped(self, work: Work, cost: dict[str, Any], beside: Beside) -> Candidate:
        limits = self.limits.given(beside.teacher)
        if self.compression(cost) < 0:
            reason = "it has more parameters than the teacher"
        else:
            rows = limits if not limits.missing(cost) else self.countable
            reason = f"outside the budget: {rows.binding(cost).written}"
        return self._row(work, State.SKIPPED, cost, beside, reason=reason)

    def _row(
        self,
        work: Work,
        state: State,
        cost: dict[str, Any],
        beside: Beside,
        accuracy: float | None = None,
        reason: str | None = None,
        same_as: int | None = None,
        trained_accuracy: float | None = None,
    ) -> Candidate:
        place, planned = work.proposal.place, work.planned
        terms = self._terms(state, cost, beside.teacher, accuracy, work)
        return Candidate(
            stage=place.stage,
            iteration=place.iteration,
            rollout=place.rollout,
            state=state,
            key=None if planned is None else planned.key,
            actions=tuple(int(action) for action in work.proposal.actions),
            decision=(work.proposal.decision if planned is None else planned.decision).to_json(),
            cost=cost_to_json(cost),
            accuracy=terms.accuracy,
            reward=terms.reward,
            terms=asdict(terms),
            satisfied=terms.satisfied,
            reason=reason,
            same_as=same_as,
            trained_accuracy=trained_accuracy,
            teacher=cost_to_json(beside.teacher),
            seconds=work.seconds,
        )

    def _terms(
        self, state: State, cost: Cost, teacher: Cost, accuracy: float | None, work: Work
    ) -> RewardTerms:
        degenerate = state is State.ILLEGAL
        constraints = self.limits.given(teacher)
        satisfied = (
            accuracy is not None and not constraints.missing(cost) and constraints.satisfied(cost)
        )
        return score(
            accuracy=accuracy,
            teacher_accuracy=self.teacher_accuracy,
            compression=None if degenerate or not cost else self.compression(cost),
            satisfied=satisfied,
            epsilon=work.epsilon,
            degenerate=degenerate,
            formula=self.settings.formula,
            violation=None if satisfied or degenerate else _violation(constraints, cost),
            near_miss_weight=self.settings.near_miss,
            promise=1.0 if not work.planned else self._promise(work, work.planned),
        )

    def _promise(self, work: Work, planned: Planned) -> float:
        """What the odds of an accuracy are multiplied by, for what the network is; after the longer
        training of a run-off activations would mislead."""
        settings, whole = self.settings, self.teacher
        size = max(1.0, planned.cost["params"].value) / self._usual_params(work, planned)
        deep = max(1, self.planner.depth(planned.decision.removed)) / max(1, self.planner.depth())
        promise = size**settings.size_weight * deep**settings.depth_weight
        if not work.longer:
            promise *= (planned.activations / whole.elements) ** settings.activations_weight
        return float(promise)

    def _usual_params(self, work: Work, planned: Planned) -> float:
        """Those of the first anchor, so that its reward says how accurate it is; without one the
        teacher's. Which it is changes no order."""
        if self._anchored is None:
            first = self.ledger.find(ANCHOR.stage, ANCHOR.iteration, ANCHOR.rollout)
            if first is not None and first.cost:
                self._anchored = float(first.cost["params"]["value"])
            elif work.proposal.place == ANCHOR:
                return max(1.0, planned.cost["params"].value)
        return max(1.0, self._anchored or self.teacher.params)

    def compression(self, cost: Cost) -> float:
        """C of a network of this cost."""
        return compression(int(cost["params"].value), self.teacher.params)


def earlier_readings(before: Sequence[Candidate], measured: Sequence[str]) -> Beside | None:
    """What was measured when a network was trained first; None if it never was."""
    if not before:
        return None
    cost = cost_from_json(before[0].cost)
    return Beside({name: cost[name] for name in measured}, cost_from_json(before[0].teacher))


def _violation(constraints: Constraints, cost: Cost) -> float | None:
    """How far the worst row that can be answered is outside, as a share of its limit."""
    known = constraints.only(cost)
    if not known.rows or known.satisfied(cost):
        return None
    return max(0.0, float(known.residuals(cost).max()))
