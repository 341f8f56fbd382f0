"""The way of one candidate: decision, student, cost, accuracy, reward; one row of the ledger.

Cheap things first: what the budget can be told without training is found out before any, and a
candidate whose reward cannot depend on its accuracy is not trained at all.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass

from hwn2n.budget.columns import COLUMNS
from hwn2n.budget.cost import Cost, Reading, cost_from_json, cost_to_json
from hwn2n.budget.matrix import Constraints
from hwn2n.distil.feed import DivergedError
from hwn2n.errors import MeasurementError
from hwn2n.hardware.measurement import MeasurementProtocol
from hwn2n.hardware.target import Target
from hwn2n.network.architecture import Architecture, IllegalArchitectureError
from hwn2n.network.decision import Decision
from hwn2n.network.planner import Planner
from hwn2n.run.candidate import Candidate, State
from hwn2n.run.ledger import Ledger
from hwn2n.search.projection import counted_cost, project
from hwn2n.search.reward import RewardTerms, accuracy_matters, compression, score
from hwn2n.search.school import School
from hwn2n.search.seeds import derive_seed
from hwn2n.search.settings import Settings


@dataclass(frozen=True)
class Place:
    """Where in the search a candidate stands; `rollout` counts within an iteration."""

    stage: str
    iteration: int
    rollout: int


def countable_columns(target: Target) -> tuple[str, ...]:
    """The columns that the architecture of a student is enough to tell.

    It counts float32 weights; bytes in another precision are left to the target.
    """
    return ("params", "flops", *(("weight_bytes",) if target.precision == "fp32" else ()))


class Evaluator:
    """Evaluates decisions about one teacher under one budget on one target."""

    def __init__(
        self,
        *,
        planner: Planner,
        school: School,
        target: Target,
        constraints: Constraints,
        teacher_accuracy: float,
        teacher_params: int,
        settings: Settings,
        ledger: Ledger,
    ) -> None:
        self.planner = planner
        self.school = school
        self.target = target
        self.teacher_accuracy = teacher_accuracy
        self.teacher_params = teacher_params
        self.settings = settings
        self.ledger = ledger
        known = [name for name, column in COLUMNS.items() if not column.learned]
        # Rows over accuracies are for the trained student: brief training says little about them.
        self.constraints = constraints.only(known)
        self.counted = countable_columns(target)
        self.countable = constraints.only(self.counted)
        self.measured = tuple(n for n in self.constraints.columns if n not in self.counted)
        # Brief readings steer; what is claimed of the winner is measured in full, alone.
        self.quick = school.protocol("quick", constraints)
        self.full = school.protocol("full", constraints)

    def evaluate(
        self, decision: Decision, *, place: Place, actions: Sequence[int], epsilon: float
    ) -> Candidate:
        """Evaluate a decision and write it to the ledger, unless the ledger has it already.

        Then the row is what counts, its actions included: they were the ones taken.
        """
        if done := self.ledger.find(place.stage, place.iteration, place.rollout):
            return done
        work = _Work(self, decision, epsilon)
        work.run()
        return self.ledger.add(
            Candidate(
                stage=place.stage,
                iteration=place.iteration,
                rollout=place.rollout,
                state=work.state,
                key=work.key,
                actions=tuple(int(action) for action in actions),
                decision=work.decision.to_json(),
                cost=cost_to_json(work.cost),
                accuracy=work.terms.accuracy,
                reward=work.terms.reward,
                terms=asdict(work.terms),
                satisfied=work.terms.satisfied,
                reason=work.reason,
                same_as=work.same_as,
                seconds=work.seconds,
            )
        )

    def measure(
        self, architecture: Architecture, decision: Decision, protocol: MeasurementProtocol
    ) -> Cost:
        """The measured columns that the budget needs, of an untrained student on real images.

        Its weights are those that its training would begin with: power depends on them a little.
        Raises `MeasurementError` where one is missing: it is unavailable then, and never 0.
        """
        if not self.measured:
            return {}
        student = self.school.student(architecture, decision, seed=0)
        cost = self.target.measure(student, architecture.input_shape, self.measured, protocol)
        if missing := [name for name in self.measured if name not in cost]:
            raise MeasurementError(
                f"target {self.target.name} must measure {', '.join(self.measured)} of every "
                f"candidate, but gave no {missing[0]} for one of {architecture.key()}"
            )
        return {name: cost[name] for name in self.measured}

    def key(self, architecture: Architecture) -> str:
        """Equal for candidates that would be trained alike: the network, and what it inherits."""
        key = architecture.key()
        if self.settings.weights == "fresh":
            return key
        names = json.dumps([op.source or op.name for op in architecture])
        return hashlib.sha256(f"{key} {names}".encode()).hexdigest()[:16]


class _Work:
    """One candidate on its way; its attributes become the columns of its row."""

    def __init__(self, evaluator: Evaluator, decision: Decision, epsilon: float) -> None:
        self.evaluator = evaluator
        self.decision = decision
        self.epsilon = epsilon
        self.state = State.ILLEGAL
        self.key: str | None = None
        self.cost: dict[str, Reading] = {}
        self.reason: str | None = None
        self.same_as: int | None = None
        self.seconds: dict[str, float] = {}
        self.terms = self._terms(None, None, satisfied=False, degenerate=True)

    def run(self) -> None:
        e = self.evaluator
        try:
            with self._timed("plan"):
                if e.settings.project:
                    allowed = e.settings.widths
                    self.decision = project(e.planner, self.decision, e.countable, allowed)
                architecture = e.planner.plan(self.decision)
                self.key = e.key(architecture)
                known = counted_cost(architecture)
                self.cost |= {name: known[name] for name in e.counted}
        except IllegalArchitectureError as error:
            self.reason = str(error)
            return
        if not self.cost["params"].value:
            self.reason = "nothing is left to train"
            return
        shrunk = compression(int(self.cost["params"].value), e.teacher_params)
        before = e.ledger.trained(self.key)
        with self._timed("measure"):
            if before is not None:
                earlier = cost_from_json(before.cost)
                self.cost |= {name: earlier[name] for name in e.measured}
            elif accuracy_matters(shrunk, e.countable.satisfied(self.cost), self.epsilon):
                self.cost |= e.measure(architecture, self.decision, e.quick)
        complete = not e.constraints.missing(self.cost)
        satisfied = complete and e.constraints.satisfied(self.cost)
        if not complete or not accuracy_matters(shrunk, satisfied, self.epsilon):
            self.state = State.SKIPPED
            self.reason = self._why_skipped(shrunk)
            self.terms = self._terms(None, shrunk, satisfied=False)
            return
        if before is not None:
            self.state, self.same_as, trained = State.REUSED, before.id, before.accuracy
        else:
            try:
                trained = self._train(architecture)
            except DivergedError as error:
                self.reason = str(error)
                return
            self.state = State.TRAINED
        self.terms = self._terms(trained, shrunk, satisfied=satisfied)

    def _train(self, architecture: Architecture) -> float:
        e = self.evaluator
        assert self.key is not None
        seed = derive_seed(e.settings.seed, "candidate", self.key)
        with self._timed("build"):
            student = e.school.student(architecture, self.decision, seed=seed)
        with self._timed("train"):
            return e.school.train_briefly(student, seed=seed).top1

    def _why_skipped(self, shrunk: float) -> str:
        e = self.evaluator
        if shrunk < 0:
            return "it has more parameters than the teacher"
        rows = e.constraints if not e.constraints.missing(self.cost) else e.countable
        return f"outside the budget: {rows.binding(self.cost).source}"

    def _terms(
        self,
        accuracy: float | None,
        shrunk: float | None,
        *,
        satisfied: bool,
        degenerate: bool = False,
    ) -> RewardTerms:
        return score(
            accuracy=accuracy,
            teacher_accuracy=self.evaluator.teacher_accuracy,
            compression=shrunk,
            satisfied=satisfied,
            epsilon=self.epsilon,
            degenerate=degenerate,
            formula=self.evaluator.settings.formula,
            violation=None if satisfied or degenerate else self._violation(),
            near_miss_weight=self.evaluator.settings.near_miss,
        )

    def _violation(self) -> float | None:
        """How far the worst row that can be answered is outside, as a share of its limit."""
        known = self.evaluator.constraints.only(self.cost)
        if not known.rows or known.satisfied(self.cost):
            return None
        return max(0.0, float(known.residuals(self.cost).max()))

    @contextmanager
    def _timed(self, phase: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[phase] = self.seconds.get(phase, 0.0) + time.perf_counter() - start
