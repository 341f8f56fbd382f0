"""Looking ahead: what could still become of a sequence of actions, and what that would cost."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache

from hwn2n.budget.matrix import Constraints
from hwn2n.budget.rows import Row
from hwn2n.network.architecture import IllegalArchitectureError
from hwn2n.network.counts import Counts, count
from hwn2n.network.decision import Decision
from hwn2n.network.planner import Planner
from hwn2n.search.choices.steps import Mask, Steps
from hwn2n.search.fitting.projection import as_cost

Actions = tuple[int, ...]
_CACHED = 1 << 14


class Lookahead(Mask):
    """Allows what one of the completions ends inside.

    completions: what each step would do, (T,) settled actions each; steps that were decided
    differ. excess: how far outside the worst row a whole sequence of settled actions is, at most
    0 inside, infinite if it is illegal. rising: of each step, whether the excess never falls with
    its action, so that a binary search finds the border. alike: of each step, the smallest action
    that means the same as each action.
    """

    def __init__(
        self,
        steps: Steps,
        completions: Sequence[Actions],
        excess: Callable[[Actions], float],
        *,
        rising: Sequence[bool],
        alike: Sequence[Actions],
    ) -> None:
        self.n_actions = len(alike[0])
        self.completions = list(dict.fromkeys(completions))
        self.rising = rising
        self.alike = alike
        self._source = steps.source.tolist()
        self._excess = lru_cache(maxsize=_CACHED)(excess)
        self._allowed = lru_cache(maxsize=_CACHED)(self._look)

    def allowed(self, taken: Actions) -> tuple[bool, ...]:
        """For each action of step `len(taken)`: is something inside still to be reached?"""
        alike = zip(self.alike, taken, strict=False)
        return self._allowed(tuple([same[action] for same, action in alike]))

    def _look(self, taken: Actions) -> tuple[bool, ...]:
        t, n = len(taken), self.n_actions
        if self.rising[t]:
            last = n - 1
            if not self._fits(taken, last):
                low, last = -1, last  # `low` fits, or there is none; `last` does not
                while last - low > 1:
                    middle = (low + last) // 2
                    low, last = (middle, last) if self._fits(taken, middle) else (low, middle)
                last = max(low, 0)
            return tuple(action <= last for action in range(n))
        alike = self.alike[t]
        fits = {action: self._fits(taken, action) for action in set(alike)}
        if not any(fits.values()):
            least = min(fits, key=lambda action: (self._least(taken, action), action))
            fits[least] = True
        return tuple(fits[alike[action]] for action in range(n))

    def _fits(self, taken: Actions, action: int) -> bool:
        return any(self._ending(taken, action, rest) <= 0.0 for rest in self.completions)

    def _least(self, taken: Actions, action: int) -> float:
        return min(self._ending(taken, action, rest) for rest in self.completions)

    def _ending(self, taken: Actions, action: int, rest: Actions) -> float:
        t = len(taken)
        whole = (*taken, action, *rest[t + 1 :])
        alike = zip(self.alike, self._source, strict=True)
        return self._excess(tuple([same[whole[source]] for same, source in alike]))


class Prices:
    """How far outside the countable rows a decision is; the teacher's size is a row too."""

    def __init__(self, planner: Planner, upper: Constraints) -> None:
        self.planner = planner
        self.teacher_params = count(planner.teacher).params
        whole = Row(
            id="teacher",
            coefficients={"params": 1.0},
            upper=self.teacher_params,
            scale=max(self.teacher_params, 1),
            source="at most the teacher's parameters",
        )
        self.rows = (*upper.rows, whole)

    def excess(self, decision: Decision) -> float:
        """Of the worst row, as a share of its scale; infinite where there is no such student."""
        try:
            return self.of_counts(self.planner.count(decision))
        except IllegalArchitectureError:
            return math.inf

    def of_counts(self, counts: Counts) -> float:
        """The same of a student that was counted; infinite if nothing is left to train."""
        if not counts.params:
            return math.inf
        cost = as_cost(counts)
        found = [(row.residual(cost), row.tolerance) for row in self.rows]
        return max(residual - slack for residual, slack in found if residual is not None)
