"""Networks scaled again by what they measure themselves, before any of them is trained.

A forecast knows a network by a handful of its counts (forecast.py): it leaves some outside a
measured limit, and many so far inside that a third of the budget is unused. A reading costs a
fraction of a training. So each network is measured, made as wide as its own reading says that it
may be, and measured again, `Settings.refits` times at most; of what was measured the one inside
that leaves the least unused is evaluated. The paper has no such step.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from hwn2n.hardware.measurement import Beside
from hwn2n.network.architecture import IllegalArchitectureError
from hwn2n.network.decision import Decision
from hwn2n.run.ledger import Ledger
from hwn2n.search.executors import Executor
from hwn2n.search.fitting.fitter import Fitter
from hwn2n.search.limits import Limits
from hwn2n.search.rows import Planned, Work
from hwn2n.search.workshop import Outcome, Task, timed

NEAR = 0.1
"""Nearer to its limit, as a share of it, a network inside is left as it is."""
MARGIN = 1.05
"""A network is made to use so much less than its limit: the winner is read again and again, and
every time the whole interval has to be inside."""


@dataclass(frozen=True)
class _Try:
    """A network, what was read of it, and its headroom (`Limits.headroom`)."""

    planned: Planned
    beside: Beside
    headroom: float


@dataclass
class _Fitting:
    """A work whose network is being fitted; `asked` is what is measured next."""

    work: Work
    asked: Planned
    tries: list[_Try] = field(default_factory=list)

    @property
    def best(self) -> _Try:
        """The one inside that uses most of the budget, or else the one that is least outside."""
        inside = [one for one in self.tries if one.headroom >= 0]
        if inside:
            return min(inside, key=lambda one: one.headroom)
        return max(self.tries, key=lambda one: one.headroom)


class Refitter:
    """Fits the networks of a batch, `times` at most each. `plan` and `task` are the evaluator's."""

    def __init__(
        self,
        *,
        times: int,
        fitter: Fitter,
        limits: Limits,
        executor: Executor,
        plan: Callable[[Decision, dict[str, float]], Planned],
        task: Callable[[Work, Planned], Task],
    ) -> None:
        self.times = times
        self.fitter = fitter
        self.limits = limits
        self.executor = executor
        self.plan = plan
        self.task = task

    def refit(self, works: Sequence[Work], ledger: Ledger, pause: Callable[[], None]) -> None:
        """Settle the network of each work, with its readings in `Work.beside`.

        Those that the ledger has, or has readings of, stay as they are, and so do all where nothing
        is forecast. `pause` is called after each reading: a batch of them may take a minute. Raises
        `MeasurementError` as the workshop does, and what `pause` raises.
        """
        if not self.times or self.fitter.forecast is None:
            return
        fittings = [
            _Fitting(work, work.planned)
            for work in works
            if work.open and work.planned is not None and not ledger.trainings(work.planned.key)
        ]
        waiting = fittings
        for turn in range(self.times + 1):
            outcomes = self.executor.read([self.task(f.work, f.asked) for f in waiting])
            for fitting, found in zip(waiting, outcomes, strict=True):
                self._note(fitting, found)
                pause()
            waiting = [f for f in waiting if f.tries and turn < self.times and self._asks_again(f)]
        for fitting in fittings:
            if fitting.tries:
                fitting.work.planned = fitting.best.planned
                fitting.work.beside = fitting.best.beside

    def _note(self, fitting: _Fitting, found: Outcome) -> None:
        fitting.work.book(found.seconds)
        if not found.beside.cost:
            return  # counting has decided
        cost = {**fitting.asked.cost, **found.beside.cost}
        headroom = self.limits.headroom(cost, found.beside.teacher)
        fitting.tries.append(_Try(fitting.asked, found.beside, headroom))

    def _asks_again(self, fitting: _Fitting) -> bool:
        """Whether its last reading asks for another network, which is what is measured next."""
        last, seconds = fitting.tries[-1], fitting.work.seconds
        grow = last.headroom > NEAR
        if math.isinf(last.headroom) or (last.headroom >= 0 and not (grow and self.fitter.fills)):
            return False
        decision, beside = last.planned.decision, last.beside
        try:
            with timed(seconds, "project"):
                wanted = self.fitter.refitted(
                    decision, beside.cost, beside.teacher, grow=grow, margin=MARGIN
                )
            if any(one.planned.decision == wanted for one in fitting.tries):
                return False
            fitting.asked = self.plan(wanted, seconds)
        except IllegalArchitectureError:
            return False
        return True
