"""A budget as a matrix: A x <= b over the columns of a cost, in SI units.

`Budget` holds the limits as written, some relative to the teacher; `Budget.resolve` puts the
teacher's cost in and gives `Constraints`, which answers questions about costs. A lower limit is
a row with negated coefficients. The paper (arXiv 1709.06030) states its resource constraints in
the same form.

numpy and scipy are imported where they are used: reading and explaining a file needs neither, and
they take longer to import than all the rest takes to run.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from hwn2n.budget.columns import in_order
from hwn2n.budget.cost import Cost
from hwn2n.budget.rows import OpenRow, Row
from hwn2n.errors import InputError, MeasurementError

if TYPE_CHECKING:
    import numpy as np
    from scipy.optimize import LinearConstraint


@dataclass(frozen=True, kw_only=True)
class Constraints:
    """Rows with numbers only. `rows` steer; `warnings` (severity warn) are only described."""

    rows: tuple[Row, ...]
    warnings: tuple[Row, ...] = ()

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """The n columns of the steering rows, in the order of `COLUMNS`."""
        return in_order(name for row in self.rows for name in row.coefficients)

    @cached_property
    def A(self) -> np.ndarray:  # noqa: N802  the A of A x <= b
        """The coefficients, (m rows, n columns)."""
        import numpy as np

        matrix = np.zeros((len(self.rows), len(self.columns)))
        for i, row in enumerate(self.rows):
            for name, coefficient in row.coefficients.items():
                matrix[i, self.columns.index(name)] = coefficient
        return matrix

    @cached_property
    def b(self) -> np.ndarray:
        """The upper limits, (m,)."""
        import numpy as np

        return np.array([row.upper for row in self.rows])

    @cached_property
    def linear(self) -> LinearConstraint:
        """The rows as scipy's constraint, for scipy's own solvers."""
        from scipy.optimize import LinearConstraint

        return LinearConstraint(self.A, ub=self.b)

    def only(self, columns: Iterable[str]) -> Constraints:
        """The rows that need no other column than `columns`, such as the countable ones."""
        names = set(columns)
        return Constraints(
            rows=tuple(row for row in self.rows if names >= set(row.coefficients)),
            warnings=tuple(row for row in self.warnings if names >= set(row.coefficients)),
        )

    def missing(self, cost: Cost) -> list[str]:
        """The columns that the steering rows need and `cost` does not have."""
        return [name for name in self.columns if name not in cost]

    def residuals(self, cost: Cost, columns: Iterable[str] | None = None) -> np.ndarray:
        """(A x - b) / scale, (m,), at most 0 inside; with `columns`, of `only(columns)`.

        Raises MeasurementError naming the columns that are unavailable in `cost`.
        """
        import numpy as np

        chosen = self if columns is None else self.only(columns)
        if missing := chosen.missing(cost):
            raise MeasurementError(
                f"the budget needs {', '.join(missing)}; unavailable in this cost"
            )
        # Row by row and not by A @ x, so that a table of rows can never disagree with this.
        return np.array([row.residual(cost) for row in chosen.rows], dtype=float)

    def satisfied(self, cost: Cost, tolerance: float = 0.0) -> bool:
        """Whether `cost` is inside all steering rows.

        A row may be exceeded by `tolerance` plus its own tolerance, as shares of its scale.
        Raises MeasurementError where a column is unavailable.
        """
        residuals = self.residuals(cost).tolist()
        return all(
            residual <= tolerance + row.tolerance
            for residual, row in zip(residuals, self.rows, strict=True)
        )

    def binding(self, cost: Cost) -> Row:
        """The row that decides: the largest residual among the rows that `cost` can answer.

        Raises MeasurementError where it can answer none, InputError where there are no rows.
        """
        if not self.rows:
            raise InputError("a budget must have rows for one of them to bind; found none")
        known = [
            (residual, row) for row in self.rows if (residual := row.residual(cost)) is not None
        ]
        if not known:
            raise MeasurementError(
                f"the budget needs {', '.join(self.missing(cost))}; unavailable in this cost"
            )
        return max(known, key=lambda pair: pair[0])[1]

    def describe(self, cost: Cost) -> list[dict[str, Any]]:
        """One table row for each row, warnings last.

        Keys: id, text (as written, with file and line), severity, column, sense ("max"/"min"),
        value, limit, headroom (distance to the limit as a share of the row's scale, negative
        outside), satisfied, unit, value_text, limit_text. Where a column is unavailable, value,
        headroom and satisfied are None.
        """
        return [row.describe(cost) for row in (*self.rows, *self.warnings)]


@dataclass(frozen=True, kw_only=True)
class Budget:
    """A loaded budget: rows as written, and what the file says about input and target.

    `input` is (batch, channels, height, width); `target` the name of a target or the settings of
    an inline one, as plain data. `lines` says where both stand, as file:line.
    """

    name: str
    rows: tuple[OpenRow, ...]
    input: tuple[int, int, int, int] | None = None
    target: str | dict[str, Any] | None = None
    description: str | None = None
    file: str = field(default="", compare=False)
    lines: Mapping[str, str] = field(default_factory=dict, compare=False)

    def where(self, key: str) -> str:
        """Where the file says so, `file:line`; the name of the budget where there is no file."""
        return self.lines.get(key) or self.file or self.name

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """The columns that the steering rows need of every candidate."""
        return in_order(c for row in self.rows if row.severity == "error" for c in row.columns)

    @cached_property
    def warning_columns(self) -> tuple[str, ...]:
        """The columns that only rows of severity warn would like to know."""
        return in_order({c for row in self.rows for c in row.columns} - set(self.columns))

    @cached_property
    def relative_columns(self) -> tuple[str, ...]:
        """The columns that must be known of the teacher to resolve the budget."""
        return in_order(c for row in self.rows for c in row.relative_columns)

    @cached_property
    def confidences(self) -> dict[str, float]:
        """For each of `columns`, the highest confidence that a steering row asks of it."""
        asked: dict[str, float] = {}
        for row in self.rows:
            if row.severity == "error":
                for name in row.columns:
                    asked[name] = max(row.confidence, asked.get(name, 0.0))
        return {name: asked[name] for name in self.columns}

    def resolve(self, teacher: Cost) -> Constraints:
        """The constraints in numbers, given the teacher's cost on the same target.

        Raises MeasurementError where a row is relative to a teacher's value that is unavailable
        or no scale; a row of severity warn is then left out, for it must not stop anybody.
        """
        rows, warnings = [], []
        for row in self.rows:
            if row.severity == "error":
                rows.append(row.resolve(teacher))
            else:
                with suppress(MeasurementError):
                    warnings.append(row.resolve(teacher))
        return Constraints(rows=tuple(rows), warnings=tuple(warnings))
