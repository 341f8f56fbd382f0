"""The way of candidates: decision, student, cost, accuracy, reward; one row of the ledger each.

Cheap things first: what the budget can be told without training is found out before any, and a
candidate whose reward cannot depend on its accuracy is not trained at all. The work itself is an
executor's; what is asked of it and what becomes of it is decided here, in one process, in order.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from hwn2n.hardware.measurement import Beside, Effort
from hwn2n.hardware.target import Target
from hwn2n.network.architecture import Architecture, IllegalArchitectureError
from hwn2n.network.counts import count
from hwn2n.network.decision import Decision
from hwn2n.network.planner import Planner
from hwn2n.run.candidate import Candidate, State
from hwn2n.run.ledger import Ledger
from hwn2n.search.executors import Executor, InProcess
from hwn2n.search.fitting.fitter import Fitter
from hwn2n.search.fitting.projection import as_cost
from hwn2n.search.fitting.refit import Refitter
from hwn2n.search.halving import halved
from hwn2n.search.limits import Limits
from hwn2n.search.proposals import Place, Proposal
from hwn2n.search.rows import Planned, RowWriter, Work, earlier_readings
from hwn2n.search.school import School
from hwn2n.search.seeds import derive_seed
from hwn2n.search.settings import Settings
from hwn2n.search.workshop import Outcome, Task, Workshop, timed


def countable_columns(target: Target) -> tuple[str, ...]:
    """The columns that the architecture of a student is enough to tell.

    It counts float32 weights; bytes in another precision are left to the target.
    """
    return ("params", "flops", *(("weight_bytes",) if target.precision == "fp32" else ()))


def _go_on() -> None:
    """Between two readings nobody asks for anything."""


class Evaluator:
    """Evaluates decisions about one teacher under one budget on one target."""

    def __init__(
        self,
        *,
        planner: Planner,
        school: School,
        target: Target,
        limits: Limits,
        teacher_accuracy: float,
        settings: Settings,
        ledger: Ledger,
        executor: Callable[[Workshop], Executor] = InProcess,
    ) -> None:
        self.planner = planner
        self.ledger = ledger
        self.limits = limits.learned_left_out()
        self.constraints = self.limits.at_first
        self.settings = settings if self.constraints.rows else settings.unlimited()
        self.counted = countable_columns(target)
        self.countable = self.constraints.only(self.counted)
        self.fitter = Fitter(
            planner,
            settings,
            self.constraints,
            self.countable,
            self.counted,
            self.limits.teacher_cost,
        )
        measured = [n for n in self.constraints.columns if n not in self.counted]
        self.workshop = Workshop(
            school=school, target=target, limits=self.limits, measured=measured
        )
        self.executor = executor(self.workshop)
        self._waiting: Callable[[], bool] = self.executor.ready
        self.rows = RowWriter(
            ledger=ledger,
            limits=self.limits,
            countable=self.countable,
            measured=measured,
            settings=self.settings,
            teacher_accuracy=teacher_accuracy,
            planner=planner,
        )
        self.refitter = Refitter(
            times=settings.refits,
            fitter=self.fitter,
            limits=self.limits,
            executor=self.executor,
            plan=self._planned,
            task=self._task,
        )

    def evaluate(
        self,
        proposals: Sequence[Proposal],
        *,
        epsilon: float,
        epochs: int | None = None,
        pause: Callable[[], None] = _go_on,
    ) -> Iterator[Candidate]:
        """Evaluate proposals, in order, and write each to the ledger before it is given back.

        `epochs` stand in place of the search training's own, and nothing is halved then. `pause`
        is called between the readings that come before any row, and may raise.

        One that the ledger has already is not evaluated again: then the row is what counts, its
        actions included, for they were the ones taken.
        """
        if proposals:
            self.look_back(proposals[0].place)
        works = [self._begin(proposal, epsilon, epochs) for proposal in proposals]
        if epochs is None:
            self.refitter.refit(works, self.ledger, pause)
        tasks = self._tasks(works, epochs)
        rung, share = self.settings.halving_epochs, self.settings.halving_keep
        if not rung or epochs is not None or len(tasks) < 2:
            self._waiting = self.executor.ready
            yield from self._written(works, self.executor.run(tasks))
            return
        outcomes = halved(self.executor, tasks, rung=rung, share=share)
        self._waiting = _always
        # which of them went on depends on all of them: a resume must find all or none
        with self.ledger.together():
            rows = list(self._written(works, iter(outcomes)))
        yield from rows

    def _written(self, works: Sequence[Work], outcomes: Iterator[Outcome]) -> Iterator[Candidate]:
        """The row of each, in order, as soon as the outcome of its task is there."""
        for work in works:
            if work.task is not None:
                work.outcome = next(outcomes)
            yield work.done or self.ledger.add(self.rows.row(work))

    def next_is_done(self) -> bool:
        """Whether the work of the next candidate of `evaluate` is done, and only its row missing.

        It may be true beyond the last one.
        """
        return self._waiting()

    def look_back(self, place: Place) -> None:
        """Let forecasts follow from the ledger as it was before the iteration of `place`."""
        if self.fitter.forecast is not None:
            stage, now = place.stage, place.iteration
            rows = self.ledger.candidates()
            self.fitter.learn([c for c in rows if c.stage != stage or c.iteration < now])

    def plan(self, decision: Decision) -> tuple[Decision, Architecture, str]:
        """The decision as it would be evaluated, its architecture and its key.

        Raises `IllegalArchitectureError`.
        """
        decision = self.fitter.fitted(decision)
        architecture = self.planner.plan(decision)
        return decision, architecture, self.key(architecture)

    def measure_again(self, architecture: Architecture, decision: Decision, looks: int) -> Beside:
        """Full readings of one student, taken here and now (see `Workshop.measure`)."""
        return self.workshop.measure(architecture, decision, "full", looks=looks)

    def key(self, architecture: Architecture) -> str:
        """Equal for candidates that would be trained alike: the network, and what it inherits."""
        key = architecture.key()
        if self.settings.weights == "fresh":
            return key
        names = json.dumps([op.source or op.name for op in architecture])
        return hashlib.sha256(f"{key} {names}".encode()).hexdigest()[:16]

    def _begin(self, proposal: Proposal, epsilon: float, epochs: int | None) -> Work:
        place = proposal.place
        work = Work(proposal, epsilon, longer=epochs is not None)
        work.done = self.ledger.find(place.stage, place.iteration, place.rollout)
        if work.done is not None:
            return work
        try:
            with timed(work.seconds, "project"):
                decision = proposal.decision
                if epochs is None:  # else it was scaled before, and stays the network it is
                    decision = self.fitter.fitted(decision)
            work.planned = self._planned(decision, work.seconds)
        except IllegalArchitectureError as error:
            work.reason = str(error)
            return work
        if epochs is not None:
            work.planned = replace(work.planned, key=f"{work.planned.key}x{epochs}")
        if not work.planned.cost["params"].value:
            work.reason = "nothing is left to train"
        return work

    def _planned(self, decision: Decision, seconds: dict[str, float]) -> Planned:
        """The network of a decision. Raises `IllegalArchitectureError`."""
        with timed(seconds, "plan"):
            architecture = self.planner.plan(decision)
        with timed(seconds, "count"):
            key, counts = self.key(architecture), count(architecture)
        known = as_cost(counts)
        cost = {name: known[name] for name in self.counted}
        return Planned(decision, architecture, key, cost, counts.elements)

    def _tasks(self, works: Sequence[Work], epochs: int | None) -> list[Task]:
        """Tasks for those that need one: not the networks that were trained often enough before, by
        the ledger or earlier in this batch, or whose training diverged."""
        tasks: list[Task] = []
        done = [work.done for work in works if work.done is not None]  # before this was resumed
        asked = Counter(c.key for c in done if c.state is State.SKIPPED and c.same_as is None)
        for work in works:
            if not work.open or (planned := work.planned) is None:
                continue
            before, last = self.ledger.trainings(planned.key), self.ledger.newest(planned.key)
            number = len(before) + asked[planned.key]
            diverged = last is not None and last.state is State.ILLEGAL
            if number >= self.settings.repeats or diverged:
                continue
            asked[planned.key] += 1
            readings = earlier_readings(before, self.workshop.measured) or work.beside
            task = self._task(work, planned)
            seed = self._seed(planned.key, number)
            # of so few as train longer any may become the student
            effort: Effort = "quick" if epochs is None else "full"
            work.task = replace(task, seed=seed, epochs=epochs, effort=effort, measured=readings)
            tasks.append(work.task)
        return tasks

    def _task(self, work: Work, planned: Planned) -> Task:
        return Task(
            architecture=planned.architecture,
            decision=planned.decision,
            cost=planned.cost,
            compression=self.rows.compression(planned.cost),
            epsilon=work.epsilon,
        )

    def _seed(self, key: str, number: int) -> int:
        parts = (number,) if number else ()
        return derive_seed(self.settings.seed, "candidate", key, *parts)


def _always() -> bool:
    return True
