"""From a budget file to a `Budget`, every error with its file and line."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from hwn2n.budget.columns import Column, column_named, find_column
from hwn2n.budget.matrix import Budget
from hwn2n.budget.problems import shown, translated
from hwn2n.budget.rows import OpenRow
from hwn2n.budget.schema import BudgetModel, MetricRow, SumRow, Term
from hwn2n.budget.strict_yaml import Document, KeyPath, load_yaml, parse_yaml
from hwn2n.budget.target_file import check_settings
from hwn2n.budget.target_schema import TargetModel, settings_of
from hwn2n.budget.units import Quantity, parse_quantity
from hwn2n.errors import InputError

# The limit of a weighted sum is a plain number; what may be written is what a count may be.
_SUM = Column("the limit of a sum", "sum", "", "counted", "a number without a unit")

SMALLEST = 1e-24
"""The smallest coefficient: one that is nearly zero would be lost when it is divided by a scale."""


def load_budget(source: str | Path | Mapping[str, Any]) -> Budget:
    """The budget in a YAML file, in YAML text (a string with a line break), or in a mapping.

    Raises InputError with `file:line` for all that is not a valid budget.
    """
    if isinstance(source, Mapping):
        document = Document(data=dict(source), name="budget")
    elif isinstance(source, str) and "\n" in source:
        document = parse_yaml(source, name="budget")
    elif isinstance(source, str | Path):
        document = load_yaml(source)
    else:
        raise InputError(
            f"a budget must be a path, YAML text or a mapping; found {type(source).__name__}"
        )
    return budget_of(document)


def budget_of(document: Document) -> Budget:
    """Validate `document` and compile its rows. Raises InputError with `file:line`."""
    if not isinstance(document.data, dict):
        raise document.error((), f"a budget must be a mapping; found {shown(document.data)}")
    try:
        model = BudgetModel.model_validate(document.data)
    except ValidationError as error:
        raise translated(error, document, BudgetModel) from error
    if isinstance(model.target, TargetModel):
        check_settings(model.target, document, ("target",))
    rows = [*_constraint_rows(model, document)]
    rows += [(row, False) for row in _matrix_rows(model, document)]
    return Budget(
        name=model.name,
        rows=tuple(_with_unique_ids(rows)),
        input=None if model.input is None else _four(model.input),
        target=model.target if isinstance(model.target, str | None) else settings_of(model.target),
        description=model.description,
        file=document.name,
        lines={key: document.where((key,)) for key in ("input", "target") if key in document.data},
    )


def _four(shape: list[int]) -> tuple[int, int, int, int]:
    batch, channels, height, width = shape
    return batch, channels, height, width


def _constraint_rows(model: BudgetModel, document: Document) -> Iterator[tuple[OpenRow, bool]]:
    """The rows of `constraints`, each with whether somebody wrote its id."""
    ids: set[str] = set()
    for index, row in enumerate(model.constraints):
        path: KeyPath = ("constraints", index)
        terms: tuple[tuple[str, float, Quantity | None], ...]
        if isinstance(row, MetricRow):
            column = _column(row, path, document)
            terms, label = ((column.name, 1.0, None),), column.name
        else:
            column = None
            terms = tuple(_terms(row, path, document))
            label = _combination((coef, f"{name}/({scale})") for name, coef, scale in terms)
        name = row.id or (column.name if column else "sum")
        limits = {"max": row.max, "min": row.min}
        sides = {side: written for side, written in limits.items() if written is not None}
        names = {side: name if len(sides) == 1 else f"{name}-{side}" for side in sides}
        if row.id is not None:
            mine = {row.id, *names.values()}
            for again in sorted(mine & ids):
                raise document.error((*path, "id"), f"an id must stand once; found {again!r} again")
            ids |= mine
        for side, written in sides.items():
            limit = _limit(written, column, (*path, side), document)
            open_row = OpenRow(
                id=names[side],
                terms=terms,
                limit=limit,
                lower=side == "min",
                source=_source(label, ">=" if side == "min" else "<=", str(limit), document, path),
                where=document.where(path),
                line=document.line(path),
                tolerance=_tolerance(row.tolerance, (*path, "tolerance"), document),
                confidence=row.confidence,
                severity=row.severity,
            )
            yield open_row, row.id is not None


def _terms(
    row: SumRow, path: KeyPath, document: Document
) -> Iterator[tuple[str, float, Quantity | None]]:
    seen: set[str] = set()
    for index, term in enumerate(row.sum):
        here: KeyPath = (*path, "sum", index)
        column = _column(term, here, document)
        if column.name in seen:
            raise document.error(here, f"a column must stand once in a sum; found {column.name}")
        seen.add(column.name)
        if abs(term.coef) < SMALLEST:
            raise document.error(
                (*here, "coef"),
                f"a coefficient must be {SMALLEST:g} or more in size, not zero; "
                f"found {term.coef:g}",
            )
        try:
            scale = parse_quantity(term.scale, column)
        except InputError as error:
            raise document.error((*here, "scale"), str(error)) from error
        if scale.reference == "points":
            raise document.error(
                (*here, "scale"), f"a scale must not be a difference; found {scale.text}"
            )
        yield column.name, term.coef, scale


def _column(row: MetricRow | Term, path: KeyPath, document: Document) -> Column:
    try:
        return find_column(row.metric, row.stat, row.scope)
    except InputError as error:
        key = str(error).split(" ", 1)[0]  # the message starts with metric, stat or scope
        raise document.error((*path, key), str(error)) from error


def _limit(
    written: str | int | float, column: Column | None, path: KeyPath, document: Document
) -> Quantity:
    try:
        limit = parse_quantity(written, column or _SUM)
    except InputError as error:
        raise document.error(path, str(error)) from error
    if column is None and limit.needs_teacher:
        raise document.error(path, f"the limit of a sum must be a number; found {limit.text}")
    return limit


def _tolerance(written: str | None, path: KeyPath, document: Document) -> float:
    if written is None:
        return 0.0
    if not re.fullmatch(r"\d{1,2}(\.\d{1,6})?%", written, re.ASCII):
        raise document.error(
            path, f"a tolerance must be a percentage below 100%, e.g. 2%; found {shown(written)}"
        )
    return float(Fraction(written[:-1]) / 100)  # 2.9% is 0.029, which 2.9 / 100 is not


def _matrix_rows(model: BudgetModel, document: Document) -> Iterator[OpenRow]:
    if model.columns is None or model.A is None or model.b is None:
        return
    for index, name in enumerate(model.columns):
        try:
            column_named(name)
        except InputError as error:
            raise document.error(("columns", index), str(error)) from error
        if name in model.columns[:index]:
            raise document.error(("columns", index), f"a column must stand once; found {name!r}")
    if len(model.A) != len(model.b):
        raise document.error(
            ("b",), f"A and b must have as many rows; found {len(model.A)} and {len(model.b)}"
        )
    for index, (numbers, upper) in enumerate(zip(model.A, model.b, strict=True)):
        path: KeyPath = ("A", index)
        if len(numbers) != len(model.columns):
            raise document.error(
                path,
                f"a row of A must have {len(model.columns)} numbers, one for each column; "
                f"found {len(numbers)}",
            )
        for number in (*numbers, upper):
            if 0 < abs(number) < SMALLEST:
                raise document.error(
                    path if number != upper else ("b", index),
                    f"a number must be 0, or {SMALLEST:g} or more in size; found {number:g}",
                )
        terms = tuple((n, v, None) for n, v in zip(model.columns, numbers, strict=True) if v != 0)
        if not terms:
            raise document.error(path, "a row of A must have a number other than 0; found none")
        lower = len(terms) == 1 and terms[0][1] < 0  # as a person says it: accuracy >= 0.9
        if lower:
            terms, upper = ((terms[0][0], -terms[0][1], None),), 0.0 - upper
        label = _combination((value, name) for name, value, _ in terms)
        yield OpenRow(
            id=f"A{index}",
            terms=terms,
            limit=Quantity(upper, "absolute", f"{upper:g}"),
            lower=lower,
            source=_source(label, ">=" if lower else "<=", f"{upper:g}", document, path),
            where=document.where(path),
            line=document.line(path),
        )


def _combination(terms: Iterable[tuple[float, str]]) -> str:
    """The weighted sum as a person would write it: "0.7 a - 2 b"."""
    return " + ".join(f"{factor:g} {what}" for factor, what in terms).replace("+ -", "- ")


def _source(label: str, relation: str, limit: str, document: Document, path: KeyPath) -> str:
    return f"{label} {relation} {limit} ({document.where(path)})"


def _with_unique_ids(rows: list[tuple[OpenRow, bool]]) -> Iterator[OpenRow]:
    """The rows, with -2, -3 ... behind an id that stands already.

    An id that somebody wrote stays what it is, wherever it stands: others know the row by it.
    """
    seen = {row.id for row, by_hand in rows if by_hand}
    for row, by_hand in rows:
        name, count = row.id, 1
        while not by_hand and name in seen:
            count += 1
            name = f"{row.id}-{count}"
        seen.add(name)
        yield replace(row, id=name)
