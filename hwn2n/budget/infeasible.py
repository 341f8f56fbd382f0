"""Smallest sets of linear inequalities without a common solution, found by HiGHS, proved exactly.

By Farkas' lemma A x <= b has no solution if and only if there is y >= 0 with y'A = 0 and y'b < 0.
A minimal infeasible set has just one such y up to a factor, so that y follows from the set alone
and can be checked in fractions (J. Gleeson, J. Ryan, ORSA Journal on Computing 2(1), 1990). The
set is made minimal by leaving one inequality out after the other (the deletion filter: J. Chinneck,
E. Dravnieks, ORSA Journal on Computing 3(2), 1991).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Generic, TypeVar

Origin = TypeVar("Origin")

_FEASIBLE_TO = 1e-7  # what HiGHS guarantees of the scaled inequalities


@dataclass(frozen=True)
class Inequality(Generic[Origin]):
    """sum(coefficients[name] * x[name]) <= upper, and what it stands for."""

    coefficients: dict[str, float]
    upper: float
    origin: Origin | None = None


def minimal_conflict(
    inequalities: Sequence[Inequality[Origin]], rounding: float
) -> tuple[Origin, ...]:
    """The origins of a minimal set of `inequalities` without a common solution.

    Minimal in those that have an origin: without any one of them the others, and all those that
    have none, have a solution. Empty where there is a solution, and where the proof fails: a
    contradiction smaller than `rounding`, as a share of the limits involved, is none.
    """
    given = [one for one in inequalities if one.origin is not None]
    known = [one for one in inequalities if one.origin is None]
    if not (used := _conflicting(inequalities)):
        return ()
    given = _needed(_among(given, used), known)
    if not _proved([*given, *_needed(known, given)], rounding):
        return ()
    return tuple(one.origin for one in given if one.origin is not None)


def _needed(
    suspects: list[Inequality[Origin]], fixed: list[Inequality[Origin]]
) -> list[Inequality[Origin]]:
    """Those of `suspects` that their conflict with `fixed` needs: the deletion filter."""
    for one in suspects:
        rest = [other for other in suspects if other is not one]
        if len(rest) < len(suspects) and (used := _conflicting([*rest, *fixed])):
            suspects = _among(rest, used)
    return suspects


def _among(
    inequalities: Sequence[Inequality[Origin]], chosen: Sequence[Inequality[Origin]]
) -> list[Inequality[Origin]]:
    return [one for one in inequalities if any(one is other for other in chosen)]


def _conflicting(inequalities: Sequence[Inequality[Origin]]) -> list[Inequality[Origin]]:
    """Those that HiGHS needs to show that there is no common solution; none if there is one.

    Each inequality may be broken at a price, min sum(s) over A x - s <= b with s >= 0. The sum is
    0 if and only if there is a solution, and the prices of the dual are a y of Farkas' lemma. The
    program is never infeasible itself, which a solver at the edge of its tolerance may get wrong.
    """
    import numpy as np
    from scipy.optimize import linprog

    if not inequalities:
        return []
    names = list(dict.fromkeys(name for one in inequalities for name in one.coefficients))
    units = _units(inequalities, names)
    m, n = len(inequalities), len(names)
    matrix, limits = np.zeros((m, n + m)), np.zeros(m)
    for i, one in enumerate(inequalities):
        scaled = {name: factor * units[name] for name, factor in one.coefficients.items()}
        size = max(abs(factor) for factor in scaled.values())
        for name, factor in scaled.items():
            matrix[i, names.index(name)] = factor / size
        limits[i] = one.upper / size
        matrix[i, n + i] = -1.0
    prices = np.concatenate([np.zeros(n), np.ones(m)])
    bounds = [(None, None)] * n + [(0.0, None)] * m
    if not (np.isfinite(matrix).all() and np.isfinite(limits).all()):
        return []
    solution = linprog(prices, A_ub=matrix, b_ub=limits, bounds=bounds, method="highs")
    # Another status than 0 means that HiGHS gave up, which proves nothing.
    if solution.status != 0 or solution.fun is None or solution.fun <= _FEASIBLE_TO:
        return []
    used = np.abs(solution.ineqlin.marginals) > _FEASIBLE_TO
    return [one for one, needed in zip(inequalities, used, strict=True) if needed]


def _units(inequalities: Sequence[Inequality[Origin]], names: Sequence[str]) -> dict[str, float]:
    """A unit for each column in which its limits are about 1: their geometric mean.

    Parameters are counted in millions and latencies in milliseconds, too far apart for one
    tolerance.
    """
    logs: dict[str, list[float]] = {name: [] for name in names}
    for one in inequalities:
        for name, factor in one.coefficients.items():
            if one.upper and math.isfinite(ratio := abs(one.upper / factor)) and ratio:
                logs[name].append(math.log(ratio))
    return {
        name: math.exp(sum(found) / len(found)) if found else 1.0 for name, found in logs.items()
    }


def _proved(inequalities: Sequence[Inequality[Origin]], rounding: float) -> bool:
    """Whether the y of Farkas' lemma exists, in exact arithmetic on the floats as they are."""
    weights = _only_combination(inequalities)
    if weights is None:
        return False
    if all(weight <= 0 for weight in weights):
        weights = [-weight for weight in weights]
    if any(weight < 0 for weight in weights):
        return False
    parts = [w * Fraction(one.upper) for w, one in zip(weights, inequalities, strict=True)]
    return sum(parts) < -Fraction(rounding) * sum(abs(part) for part in parts)


def _only_combination(inequalities: Sequence[Inequality[Origin]]) -> list[Fraction] | None:
    """The y with y'A = 0, where all such are multiples of one; None where they are not."""
    names = dict.fromkeys(name for one in inequalities for name in one.coefficients)
    rows = [[Fraction(one.coefficients.get(name, 0.0)) for one in inequalities] for name in names]
    pivots: list[int] = []
    for column in range(len(inequalities)):
        index = len(pivots)
        found = next((i for i in range(index, len(rows)) if rows[i][column]), None)
        if found is None:
            continue
        rows[index], rows[found] = rows[found], rows[index]
        factor = rows[index][column]
        rows[index] = [value / factor for value in rows[index]]
        for i, row in enumerate(rows):
            if i != index and (multiple := row[column]):
                rows[i] = [a - multiple * b for a, b in zip(row, rows[index], strict=True)]
        pivots.append(column)
    free = [column for column in range(len(inequalities)) if column not in pivots]
    if len(free) != 1:
        return None
    weights = [Fraction(0)] * len(inequalities)
    weights[free[0]] = Fraction(1)
    for index, column in enumerate(pivots):
        weights[column] = -rows[index][free[0]]
    return weights
