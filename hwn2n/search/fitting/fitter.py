"""Decisions made to fit a budget before anything is built: by what is counted, then by a guess."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from hwn2n.budget.cost import Cost
from hwn2n.budget.matrix import Constraints
from hwn2n.network.decision import NOTHING, Decision
from hwn2n.network.planner import Planner
from hwn2n.run.candidate import Candidate
from hwn2n.search.fitting.forecast import LEAST_MARGIN, Forecast, Guess, forecast_for
from hwn2n.search.fitting.projection import (
    free_widths,
    is_upper,
    project,
    topped_up,
    upper_rows,
    widened,
)
from hwn2n.search.settings import Settings


class Fitter:
    """Scales the widths of decisions, as far as the settings ask for it.

    `constraints` are all rows, `countable` those that counting answers, which are rows over columns
    that are `counted`; `teacher_cost` is what the teacher measured at the beginning of the run.
    """

    def __init__(
        self,
        planner: Planner,
        settings: Settings,
        constraints: Constraints,
        countable: Constraints,
        counted: Sequence[str],
        teacher_cost: Cost,
    ) -> None:
        self.planner = planner
        self.allowed = settings.widths
        self.countable = countable if settings.project else Constraints(rows=())
        self.forecast: Forecast | None = None
        if settings.project and settings.forecast:
            whole = planner.count(NOTHING)
            self.forecast = forecast_for(constraints, counted, whole, teacher_cost)
        known = self.forecast.rows if self.forecast is not None else upper_rows(self.countable)
        asking = (row for row in constraints.rows if is_upper(row) or row.needs_more_than(counted))
        self.fills = self.scales and all(row in known.rows for row in asking)
        """Whether only the proportions of widths count: all limits that a smaller network meets
        more easily are scaled to. Where one is not, or where only a measurement tells whether a row
        is met, being small is something that a decision must be able to say."""

    @property
    def scales(self) -> bool:
        """Whether decisions are scaled down to some of the budget's upper limits."""
        return bool(self.forecast or upper_rows(self.countable).rows)

    def learn(self, earlier: Sequence[Candidate]) -> None:
        """Forecast by what these candidates measured, and by nothing else."""
        if self.forecast is not None:
            self.forecast.fit(earlier, self.planner.count)

    def fitted(self, decision: Decision) -> Decision:
        """The decision as it would be evaluated, all that was forecast considered.

        Raises `IllegalArchitectureError` where no width is inside what can be counted.
        """
        return self._fitted(decision, None if self.forecast is None else self.forecast.cost)

    def refitted(
        self,
        decision: Decision,
        cost: Cost,
        beside: Cost,
        *,
        grow: bool,
        margin: float = LEAST_MARGIN,
    ) -> Decision:
        """The decision as wide as it may be, should what was read of its network be the truth.

        `cost` was read of the network, `beside` of its teacher at the same time; the network is
        taken to cost `margin` times that. It grows, where it
        may `grow`, only if limits alone choose widths (`fills`). The decision itself where nothing
        is forecast. Raises `IllegalArchitectureError` as `fitted` does.
        """
        if self.forecast is None:
            return decision
        guess = self.forecast.agreeing(self.planner.count(decision), cost, beside, margin)
        return self._fitted(decision, guess) if grow else self._narrowed(decision, guess)

    def _fitted(self, decision: Decision, guess: Guess | None) -> Decision:
        if not self.fills:
            return self._scaled_down(decision, guess)
        wide = widened(self.planner, decision, self.allowed)
        decision = self._scaled_down(wide, guess)
        if decision != wide:
            return decision
        rows = self.countable if self.forecast is None else self.forecast.rows
        return topped_up(self.planner, wide, rows, self.allowed, forecast=guess)

    def _narrowed(self, decision: Decision, guess: Guess) -> Decision:
        """As little narrower as the guess asks for, and wider in no group.

        Its own widths were rounded down once. To scale those down would cost a channel in every
        group at once, a fifth of one of five. So their proportions are scaled, from the teacher's
        widths, and what need not have gone comes back, first where most went.
        """
        small = self._scaled_down(widened(self.planner, decision, self.allowed), guess)
        _, before = free_widths(self.planner, decision)
        less = {n: w for n, w in small.widths.items() if w < before[n]}
        found = replace(decision, widths={**decision.widths, **less})
        assert self.forecast is not None
        for name in sorted(less, key=lambda name: less[name] / before[name]):
            wider = replace(found, widths={**found.widths, name: before[name]})
            if self.forecast.rows.satisfied(guess(self.planner.count(wider))):
                found = wider
        return found

    def _scaled_down(self, decision: Decision, guess: Guess | None) -> Decision:
        decision = project(self.planner, decision, self.countable, self.allowed)
        if self.forecast is None:
            return decision
        # what can be counted holds by now, and scaling down further cannot undo it
        return project(self.planner, decision, self.forecast.rows, self.allowed, forecast=guess)
