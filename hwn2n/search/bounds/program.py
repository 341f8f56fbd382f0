"""The students of a search as a mixed-integer linear program, and a search for none.

A removable layer is kept or not, a binary variable k. The parameters p and the FLOPs f of each
part of the teacher, and the bytes of all buffers, are variables within the bounds of `costs`:

    low k <= p <= high k,   positions_low (p - idle k) <= f <= positions_high p + free k,   ...

Every student is a point of this, so where no point is inside the limits, no student is. The
converse does not hold: bounds are loose.

A solver's "infeasible" is no proof: it has tolerances, and scipy's milp (HiGHS) calls some
programs of this kind infeasible whose only point is known. So HiGHS solves linear relaxations
only, in a branch and bound of ours, and each branch is closed in exact arithmetic. For y >= 0 every
point inside A x <= b has y'A x <= y'b; where the least of y'A x over the variables' own bounds is
above y'b, there is none. HiGHS' dual prices make a good y, however they are rounded (A. Neumaier,
O. Shcherbina, Safe bounds in linear and mixed-integer programming, Math. Prog. 99, 2004).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from hwn2n.search.bounds.costs import QUANTITIES, Bounds

ROUNDING = 1e-9
"""By what share of its size a limit must be exceeded to count as exceeded."""

NOISE = 1e-12
"""What floating point may add to a row, as a share of the sizes of its terms, and more."""

_NODES = 200
"""After so many linear programs the question is left open."""

_INTEGRAL = 1e-6


@dataclass(frozen=True)
class Inequality:
    """sum(coefficients[i] * x[i]) <= upper over a program's variables."""

    coefficients: Mapping[int, float]
    upper: float


@dataclass(frozen=True)
class Possible:
    """Not excluded: the operations that one point of the program is without, None if unknown."""

    without: frozenset[str] | None


class Program:
    """The program of one set of bounds.

    Variables, in this order: whether each part is kept, its parameters, its FLOPs, and last the
    bytes of all buffers. `units`: the teacher's quantities, in which HiGHS sees the numbers.
    """

    def __init__(self, bounds: Bounds, units: Mapping[str, float]) -> None:
        self.parts = bounds.parts
        self.n = n = len(self.parts)
        scale = {quantity: max(1.0, float(units[quantity])) for quantity in QUANTITIES}
        self.units = np.array(
            [1.0] * n + [scale["params"]] * n + [scale["flops"]] * n + [scale["buffer_bytes"]]
        )
        buffers = [part.buffer_bytes for part in self.parts]
        self.box = [
            *((0 if part.operations else 1, 1) for part in self.parts),
            *((0, part.params[1]) for part in self.parts),
            *((0, part.flops[1]) for part in self.parts),
            (0, sum(high for _, high in buffers)),
        ]
        rows: list[dict[int, float]] = []
        for i, part in enumerate(self.parts):
            kept, p, f = i, n + i, 2 * n + i
            low, high = part.positions
            rows += [
                {kept: part.params[0], p: -1},
                {p: 1, kept: -part.params[1]},
                {kept: part.flops[0], f: -1},
                {f: 1, kept: -part.flops[1]},
                {p: low, kept: -low * part.idle, f: -1},
                {f: 1, p: -high, kept: -part.free},
            ]
        rows.append({3 * n: -1, **{i: low for i, (low, _) in enumerate(buffers)}})
        rows.append({3 * n: 1, **{i: -high for i, (_, high) in enumerate(buffers)}})
        self.rows = [Inequality(row, 0.0) for row in rows]

    def inequality(self, coefficients: Mapping[str, float], upper: float) -> Inequality:
        """A limit on the sums of quantities over all parts."""
        n = self.n
        places = {
            "params": range(n, 2 * n),
            "flops": range(2 * n, 3 * n),
            "buffer_bytes": range(3 * n, 3 * n + 1),
        }
        row = {i: factor for name, factor in coefficients.items() for i in places[name] if factor}
        return Inequality(row, upper)

    def possible(self, limits: Sequence[Inequality]) -> Possible | None:
        """None where it is proven that no point is inside the limits."""
        open_: list[dict[int, int]] = [{}]
        for _ in range(_NODES):
            if not open_:
                return None
            chosen = open_.pop()
            box = [*self.box]
            for i, fixed in chosen.items():
                box[i] = (fixed, fixed)
            point, prices = self._least_excess(limits, box)
            if point is None:
                return Possible(None)
            if self._excluded(limits, prices, box):
                continue
            kept = point[: self.n]
            doubt = np.abs(kept - np.round(kept))
            branch = int(doubt.argmax())
            if doubt[branch] < _INTEGRAL:
                gone = (part for part, k in zip(self.parts, kept, strict=True) if k < 0.5)
                return Possible(frozenset(name for part in gone for name in part.operations))
            open_ += [chosen | {branch: k} for k in (0, 1)]
        return Possible(None)

    def least(self, aim: Inequality, limits: Sequence[Inequality]) -> float | None:
        """A proven lower bound of the left-hand side of `aim` inside `limits`, by relaxation.

        None where HiGHS finds none.
        """
        rows = [*self.rows, *limits]
        matrix, upper, sizes = self._scaled(rows)
        target = self._dense(aim.coefficients)
        result = _linprog(target / np.abs(target).max(), matrix, upper, self._bounds(self.box))
        if result.status != 0:
            return None
        prices = np.maximum(0.0, -result.ineqlin.marginals) * np.abs(target).max() / sizes
        combined, right = _combined(rows, prices)
        for i, factor in aim.coefficients.items():
            combined[i] = combined.get(i, Fraction(0)) + Fraction(factor)
        return float(_least_in(combined, self.box) - right)

    def _least_excess(
        self, limits: Sequence[Inequality], box: Sequence[tuple[int, int]]
    ) -> tuple[np.ndarray | None, np.ndarray]:
        """The point that exceeds the limits least, and the price of each row and limit."""
        rows = [*self.rows, *limits]
        matrix, upper, sizes = self._scaled(rows)
        excess = np.zeros((len(rows), len(limits)))
        excess[len(self.rows) :] = -np.eye(len(limits))
        aim = np.concatenate([np.zeros(len(self.units)), np.ones(len(limits))])
        bounds = [*self._bounds(box), *[(0.0, None)] * len(limits)]
        result = _linprog(aim, np.hstack([matrix, excess]), upper, bounds)
        if result.status != 0:
            return None, np.zeros(len(rows))
        prices = np.maximum(0.0, -result.ineqlin.marginals) / sizes
        return result.x[: len(self.units)], prices

    def _excluded(
        self, limits: Sequence[Inequality], prices: np.ndarray, box: Sequence[tuple[int, int]]
    ) -> bool:
        """Whether rows and limits, added up at these prices, exclude every point of the box.

        The bounds are whole numbers; limits are floats, and so is what is compared with them.
        """
        combined, right = _combined([*self.rows, *limits], prices)
        allowed = Fraction(0)
        for limit, price in zip(limits, prices[len(self.rows) :].tolist(), strict=True):
            terms = sum(abs(factor) * box[i][1] for i, factor in limit.coefficients.items())
            allowed += Fraction(price) * Fraction(ROUNDING * abs(limit.upper) + NOISE * terms)
        return _least_in(combined, box) - right > allowed

    def _scaled(self, rows: Sequence[Inequality]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Matrix (rows, variables) and limits for HiGHS, and what each row was divided by."""
        matrix = np.array([self._dense(row.coefficients) for row in rows])
        sizes = np.abs(matrix).max(axis=1)
        sizes[sizes == 0] = 1.0
        upper = np.array([row.upper for row in rows])
        return matrix / sizes[:, None], upper / sizes, sizes

    def _dense(self, coefficients: Mapping[int, float]) -> np.ndarray:
        dense = np.zeros(len(self.units))
        for i, factor in coefficients.items():
            dense[i] = factor * self.units[i]
        return dense

    def _bounds(self, box: Sequence[tuple[int, int]]) -> list[tuple[float, float | None]]:
        return [
            (low / unit, high / unit) for (low, high), unit in zip(box, self.units, strict=True)
        ]


def _linprog(aim: np.ndarray, matrix: np.ndarray, upper: np.ndarray, bounds: Any) -> Any:
    # Imported here because it takes half a second.
    from scipy.optimize import linprog

    return linprog(aim, A_ub=matrix, b_ub=upper, bounds=bounds, method="highs")


def _combined(
    rows: Sequence[Inequality], prices: np.ndarray
) -> tuple[dict[int, Fraction], Fraction]:
    """The rows added up at their prices: coefficients and limit, exactly."""
    combined: dict[int, Fraction] = {}
    right = Fraction(0)
    for row, price in zip(rows, prices.tolist(), strict=True):
        if not price:
            continue
        weight = Fraction(price)
        right += weight * Fraction(row.upper)
        for i, factor in row.coefficients.items():
            combined[i] = combined.get(i, Fraction(0)) + weight * Fraction(factor)
    return combined, right


def _least_in(coefficients: Mapping[int, Fraction], box: Sequence[tuple[int, int]]) -> Fraction:
    """The least of a linear function over a box."""
    return sum(
        (factor * box[i][0 if factor > 0 else 1] for i, factor in coefficients.items()),
        Fraction(0),
    )
