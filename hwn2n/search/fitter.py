"""Decisions made to fit a budget before anything is built: by what is counted, then by a guess."""

from __future__ import annotations

from collections.abc import Sequence

from hwn2n.budget.cost import Cost
from hwn2n.budget.matrix import Constraints
from hwn2n.network.decision import NOTHING, Decision
from hwn2n.network.planner import Planner
from hwn2n.run.candidate import Candidate
from hwn2n.search.forecast import Forecast, forecast_for
from hwn2n.search.projection import project, topped_up, upper_rows, widened
from hwn2n.search.settings import Settings


class Fitter:
    """Scales the widths of decisions, as far as the settings ask for it.

    `constraints` are all rows, `countable` those that counting answers; `teacher_cost` is what the
    teacher measured at the beginning of the run.
    """

    def __init__(
        self,
        planner: Planner,
        settings: Settings,
        constraints: Constraints,
        countable: Constraints,
        teacher_cost: Cost,
    ) -> None:
        self.planner = planner
        self.allowed = settings.widths
        self.countable = countable if settings.project else Constraints(rows=())
        self.forecast: Forecast | None = None
        if settings.project and settings.forecast:
            self.forecast = forecast_for(constraints, planner.count(NOTHING), teacher_cost)
        known = self.forecast.rows if self.forecast is not None else upper_rows(self.countable)
        self.fills = self.scales and len(known.rows) == len(upper_rows(constraints).rows)
        """Whether only the proportions of widths count: every upper limit is scaled to. Where one
        is not, being small is something that a decision must be able to say."""

    @property
    def scales(self) -> bool:
        """Whether decisions are scaled down to some of the budget's upper limits."""
        return bool(self.forecast or upper_rows(self.countable).rows)

    def learn(self, earlier: Sequence[Candidate]) -> None:
        """Forecast by what these candidates measured, and by nothing else."""
        if self.forecast is not None:
            self.forecast.fit(earlier, self.planner.count)

    def fitted(self, decision: Decision) -> Decision:
        """The decision as it would be evaluated.

        Raises `IllegalArchitectureError` where no width is inside what can be counted.
        """
        if not self.fills:
            return self._scaled_down(decision)
        wide = widened(self.planner, decision, self.allowed)
        decision = self._scaled_down(wide)
        if decision != wide:
            return decision
        rows, guess = self.countable, None
        if self.forecast is not None:
            rows, guess = self.forecast.rows, self.forecast.cost
        return topped_up(self.planner, wide, rows, self.allowed, forecast=guess)

    def _scaled_down(self, decision: Decision) -> Decision:
        decision = project(self.planner, decision, self.countable, self.allowed)
        if self.forecast is None:
            return decision
        # what can be counted holds by now, and scaling down further cannot undo it
        rows, guess = self.forecast.rows, self.forecast.cost
        return project(self.planner, decision, rows, self.allowed, forecast=guess)

    def narrowed(self, decision: Decision, reading: Candidate) -> Decision:
        """The decision scaled down until it is inside, should what was read of it be the truth.

        The decision itself where nothing is forecast, or where that is inside.
        """
        if self.forecast is None:
            return decision
        guess = self.forecast.agreeing(self.planner.count(decision), reading)
        return project(self.planner, decision, self.forecast.rows, self.allowed, forecast=guess)
