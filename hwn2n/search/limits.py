"""The budget in numbers, where some limits are shares of what the teacher measures.

A machine's speed drifts within minutes by more than networks differ. So where a limit is a share
of a measured value of the teacher, the teacher is measured again right beside each candidate, and
that candidate is judged by that reading. Counted values and absolute limits need none of this.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property

from hwn2n.budget.columns import COLUMNS, in_order
from hwn2n.budget.cost import Cost
from hwn2n.budget.judgement import Judgement
from hwn2n.budget.matrix import Budget, Constraints
from hwn2n.budget.verdict import judge_rows, read_in_turns
from hwn2n.errors import MeasurementError
from hwn2n.hardware.measurement import Beside


@dataclass(frozen=True)
class Limits:
    """The limits of one budget for the students of one teacher.

    `teacher_cost`: measured once, at the beginning of the run. `beside`: whether measured values
    that limits depend on are read again beside each candidate (`Settings.teacher_beside`).
    """

    budget: Budget
    teacher_cost: Cost
    beside: bool = True

    @cached_property
    def at_first(self) -> Constraints:
        """The rows in numbers as of the beginning of the run."""
        return self.budget.resolve(self.teacher_cost)

    @cached_property
    def drifting(self) -> tuple[str, ...]:
        """The columns to measure again of the teacher, beside each candidate."""
        if not self.beside:
            return ()
        steering = [row for row in self.budget.rows if row.severity == "error"]
        relative = in_order(name for row in steering for name in row.relative_columns)
        return tuple(n for n in relative if COLUMNS[n].drifts)

    def given(self, teacher: Cost) -> Constraints:
        """The rows in numbers where `teacher` are the readings taken beside a candidate.

        A short reading of net power may be below zero, which is no scale: then those of the
        beginning stand.
        """
        if not teacher:
            return self.at_first
        try:
            return self.budget.resolve({**self.teacher_cost, **teacher})
        except MeasurementError:
            return self.at_first

    def headroom(self, cost: Cost, teacher: Cost) -> float:
        """The distance to the row that binds, as a share of its limit: negative outside, and -inf
        where something that a row needs was not measured, inf where there is none. `teacher` as
        in `given`."""
        constraints = self.given(teacher)
        return -math.inf if constraints.missing(cost) else _room(constraints, cost)

    def known_headroom(self, cost: Cost, teacher: Cost) -> float:
        """The same of the rows that `cost` answers alone, whatever else others need."""
        return _room(self.given(teacher).only(cost), cost)

    def judge(self, cost: Cost, beside: Beside) -> list[Judgement]:
        """The verdicts on all rows for a student of `cost`, measured `beside` its teacher."""
        teacher = {**self.teacher_cost, **beside.teacher}
        judged = []
        for row in self.budget.rows:
            judged += judge_rows([row], *read_in_turns(row, cost, teacher, beside.shares))
        return judged

    def learned_left_out(self) -> Limits:
        """Without the rows over accuracies: brief training says little about them."""
        kept = [
            row
            for row in self.budget.rows
            if not any(COLUMNS[name].learned for name in row.columns)
        ]
        return replace(self, budget=replace(self.budget, rows=tuple(kept)))


def _room(constraints: Constraints, cost: Cost) -> float:
    return float(-constraints.residuals(cost).max()) if constraints.rows else math.inf
