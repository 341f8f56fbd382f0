"""What a network will measure, guessed from its counts and from what others measured before it.

Latency, energy, power and memory cannot be counted, so projection (`projection.py`) knows nothing
of them, and a search under a tight latency limit spends most of its candidates outside of it. But
every candidate that was measured says how the target behaves. A forecast of a column is a sum, with
weights that are not negative, of a constant, FLOPs, parameters, operations and the numbers that
these give out, all as shares of the teacher's: each operation has a price, and so has each thing
that it computes and moves. A smaller network is thus never forecast to cost more. Of throughput it
is the seconds of an image that are forecast. The weights
follow from the ledger by least squares of relative errors, so a search that is resumed forecasts
what it would have.

A forecast excludes nothing. It only chooses how wide a network is before it is measured, and what
the budget says of the network is said by the measurement. The paper has no such step.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from hwn2n.budget.columns import COLUMNS
from hwn2n.budget.cost import Cost, Reading, cost_from_json
from hwn2n.budget.matrix import Constraints
from hwn2n.network.counts import Counts
from hwn2n.network.decision import Decision
from hwn2n.run.candidate import Candidate
from hwn2n.search.fitting.projection import as_cost, upper_rows

if TYPE_CHECKING:
    import numpy as np

Guess = Callable[[Counts], Cost]
"""What a network of these counts costs, or will."""

PRIOR = (0.05, 0.35, 0.05, 0.1, 0.45)
"""Shares of the teacher's value that a constant, FLOPs, parameters, operations and elements have
before anything was measured but the teacher."""
_PRIOR_OF_BYTES = (0.0, 0.0, 1.0, 0.0, 0.0)
"""The same of weights, which are measured where they are not float32, and of files of them."""
_PRIOR_WEIGHT = 0.1
"""Of the prior beside a measurement: so little that few measurements overrule it."""
_INSIDE = 0.8
"""The share of the candidates measured so far that the margin would have brought inside."""
LEAST_MARGIN = 1.02


class Forecast:
    """Forecasts of the columns of a budget's upper limits that are measured.

    `counted`: the columns that are not: counting answers them. `teacher`: the counts of the
    teacher; `cost`: what it measured at the beginning of the run.
    """

    def __init__(
        self, constraints: Constraints, counted: Sequence[str], teacher: Counts, cost: Cost
    ) -> None:
        upper = upper_rows(constraints)
        # bytes are measured too where weights are of another precision than float32
        measured = [n for n in upper.columns if n not in counted and _known(n, cost)]
        self.rows = upper.only([*counted, *measured])
        self.columns = tuple(name for name in measured if name in self.rows.columns)
        self._teacher, self._cost = teacher, cost
        self._weights: dict[str, np.ndarray] = {}
        self._margins: dict[str, float] = {}
        self.fit([], lambda _: teacher)

    def fit(self, measured: Sequence[Candidate], count: Callable[[Decision], Counts]) -> None:
        """Learn from these candidates, and from no others; `count` gives a decision's counts.

        Where the teacher was measured beside a candidate, what counts is the ratio of the two.
        """
        import numpy as np

        known: dict[str, list[tuple[np.ndarray, float]]] = {name: [] for name in self.columns}
        seen: set[tuple[Any, ...]] = set()
        for candidate in measured:
            cost = cost_from_json(candidate.cost)
            columns = [name for name in self.columns if _known(name, cost)]
            reading = (candidate.key, *(cost[name].value for name in columns))
            if not columns or reading in seen:
                continue  # a network that is met again has its earlier readings
            seen.add(reading)
            features = self._features(count(Decision.from_json(candidate.decision)))
            beside = cost_from_json(candidate.teacher)
            for name in columns:
                known[name].append((features, self._share(name, cost, beside)))
        for name, pairs in known.items():
            prior = _PRIOR_OF_BYTES if name in ("weight_bytes", "file_bytes") else PRIOR
            self._weights[name] = _weights(pairs, prior)
            guesses = [float(x @ self._weights[name]) for x, _ in pairs]
            ratios = [share / g for (_, share), g in zip(pairs, guesses, strict=True) if g > 0]
            usual = float(np.quantile(ratios, _INSIDE)) if ratios else 1.0
            self._margins[name] = max(LEAST_MARGIN, usual)

    def cost(self, counts: Counts) -> Cost:
        """What is counted, and forecasts of the columns, margin included."""
        features = self._features(counts)
        guessed = {
            name: float(features @ self._weights[name])
            * self._margins[name]
            * _burden(name, self._cost[name].value)
            for name in self.columns
        }
        return as_cost(counts) | {n: Reading(_burden(n, value)) for n, value in guessed.items()}

    def agreeing(self, counts: Counts, cost: Cost, beside: Cost, margin: float) -> Guess:
        """As `cost`, but scaled so that a network of `counts` costs `margin` times what was read.

        `cost` was read of it, and `beside` of its teacher at the same time.
        """
        guessed = self.cost(counts)
        factors = dict.fromkeys(self.columns, 1.0)
        for name in self.columns:
            if _known(name, cost) and guessed[name].value > 0:
                read = self._share(name, cost, beside) * _burden(name, self._cost[name].value)
                factors[name] = margin * read / _burden(name, guessed[name].value)

        def corrected(counts: Counts) -> Cost:
            guesses = self.cost(counts)
            burdens = {n: _burden(n, guesses[n].value) * f for n, f in factors.items()}
            return {**guesses, **{n: Reading(_burden(n, value)) for n, value in burdens.items()}}

        return corrected

    def _share(self, name: str, cost: Cost, beside: Cost) -> float:
        """Of the teacher's burden: of that `beside` the reading, where there is one."""
        whole = (beside if _known(name, beside) else self._cost)[name].value
        return _burden(name, cost[name].value) / _burden(name, whole)

    def _features(self, counts: Counts) -> np.ndarray:
        import numpy as np

        mine, whole = counts, self._teacher
        return np.array(
            [
                1.0,
                mine.flops / max(1, whole.flops),
                mine.params / max(1, whole.params),
                mine.operations / max(1, whole.operations),
                mine.elements / max(1, whole.elements),
            ]
        )


def _burden(name: str, value: float) -> float:
    """What grows with a network: the value itself, or its inverse; and from that the value."""
    if not COLUMNS[name].falls:
        return value
    return 1.0 / value if value else math.inf


def _known(name: str, cost: Cost) -> bool:
    """Whether there is a value to take a share of: power above idle may be none at all."""
    return name in cost and cost[name].value > 0


def _weights(pairs: Sequence[tuple[np.ndarray, float]], shares: tuple[float, ...]) -> np.ndarray:
    """Weights of the features, (5,), at least 0: by the teacher, whose share is 1, by `pairs` of
    features and measured shares, and a little by the prior `shares`."""
    import numpy as np
    from scipy.optimize import nnls

    prior = np.array(shares)
    rows = [np.ones(len(prior)), *(x / share for x, share in pairs)]
    matrix = np.concatenate([np.stack(rows), _PRIOR_WEIGHT * np.eye(len(prior))])
    wanted = np.concatenate([np.ones(len(rows)), _PRIOR_WEIGHT * prior])
    return np.asarray(nnls(matrix, wanted)[0])


def forecast_for(
    constraints: Constraints, counted: Sequence[str], teacher: Counts, cost: Cost
) -> Forecast | None:
    """A forecast, or None where no upper limit needs a measurement."""
    found = Forecast(constraints, counted, teacher, cost)
    return found if found.columns else None
