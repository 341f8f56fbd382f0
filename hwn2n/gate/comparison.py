"""A network beside a baseline: what changed, and the rows that a change must not exceed."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from fractions import Fraction
from typing import Any

from hwn2n.budget.columns import COLUMNS, in_order
from hwn2n.budget.cost import Cost
from hwn2n.budget.judgement import Change
from hwn2n.budget.problems import shown
from hwn2n.budget.rows import OpenRow, Row
from hwn2n.budget.units import Quantity
from hwn2n.budget.verdict import span
from hwn2n.errors import InputError
from hwn2n.gate.saved_profile import SavedProfile
from hwn2n.hardware.fingerprint import differences

# The fields of a fingerprint that decide a counted column, by how their names begin.
_DECIDING: dict[str, tuple[str, ...]] = {
    "weight_bytes": ("target.precision",),
    "file_bytes": (
        "target.precision",
        "target.runtime",
        "target.batch",
        "torch",
        "runtime_packages",
    ),
}
_OF_ANY_IMAGES = ("params", "weight_bytes")


def incomparable(
    saved: SavedProfile,
    columns: Iterable[str],
    *,
    machine: Mapping[str, Any],
    inputs: str,
    shape: tuple[int, int, int],
    threads: int | None = None,
) -> dict[str, str]:
    """For each of `columns` that cannot be compared with `saved`, the reason why.

    Only parameters always can be. Bytes need the same precision, those of a file also what writes
    it; what is measured compares only where `machine`, the fingerprint of machine and target that
    the other readings are of, is that of `saved`. All but parameters and their bytes is of images
    of one `shape` (C, H, W); power, energy and the accuracies are of the same `inputs`, too.
    On a CPU both must have been timed with as many `threads`, where that is known: what an
    environment asks of one process is in no fingerprint.
    """
    differing = differences(saved.machine, machine)
    reasons: dict[str, str] = {}
    for name in columns:
        if reason := saved.missing(name):
            reasons[name] = reason
        elif _depends_on_shape(name) and saved.input_shape != shape:
            there, here = (",".join(map(str, sizes)) for sizes in (saved.input_shape, shape))
            reasons[name] = f"{saved.path} is of images of the shape {there}, and not {here}"
        elif deciding := _deciding(name, saved, differing):
            how = "measured elsewhere" if _measured(name, saved) else "counted otherwise"
            reasons[name] = f"{saved.path} was {how}: {_first(deciding)}"
        elif _depends_on_threads(name, machine) and _differ(saved.threads, threads):
            there, here = (f"{count} CPU threads" for count in (saved.threads, threads))
            reasons[name] = f"{saved.path} was measured with {there}, not with {here}"
        elif _depends_on_inputs(name) and saved.inputs != inputs:
            reasons[name] = f"{saved.path} was measured on {saved.inputs}, not on {inputs}"
    return reasons


def _deciding(
    name: str, saved: SavedProfile, differing: Mapping[str, tuple[Any, Any]]
) -> Mapping[str, tuple[Any, Any]]:
    """Those of the fields that differ which decide what `name` is."""
    if _measured(name, saved):
        return differing
    fields = _DECIDING.get(name, ())
    return {key: pair for key, pair in differing.items() if key.startswith(fields)}


def _measured(name: str, saved: SavedProfile) -> bool:
    # An engine's bytes depend on what its builder measured, and come as a measurement.
    file = name == "file_bytes" and saved.cost[name].how != "exact"
    return COLUMNS[name].known == "measured" or file


def _depends_on_shape(name: str) -> bool:
    # An accuracy belongs to its images, whatever size a network takes them in.
    return name not in _OF_ANY_IMAGES and not COLUMNS[name].learned


def _depends_on_threads(name: str, machine: Mapping[str, Any]) -> bool:
    target = machine.get("target")
    device = target.get("device") if isinstance(target, Mapping) else None
    return COLUMNS[name].known == "measured" and name != "peak_memory" and device == "cpu"


def _differ(there: int | None, here: int | None) -> bool:
    return there is not None and here is not None and there != here


def _depends_on_inputs(name: str) -> bool:
    # Power: because a circuit that switches takes some.
    return COLUMNS[name].learned or COLUMNS[name].metric in ("power", "energy")


def _first(differing: Mapping[str, tuple[Any, Any]]) -> str:
    """The first field that differs, and how many more do."""
    name, (there, here) = next(iter(differing.items()))
    more = f" (and {len(differing) - 1} more)" if len(differing) > 1 else ""
    return f"its {name} is {shown(there)}, and here {shown(here)}{more}"


def change_of(row: Row, cost: Cost, baseline: Cost, reasons: Mapping[str, str]) -> Change:
    """How the value of `row`, all of whose columns are in `cost`, differs from the baseline's.

    `reasons` says of columns why they cannot be compared (see `incomparable`).
    """
    for name in row.coefficients:
        if name in reasons:
            return Change(reason=f"{name}: {reasons[name]}")
    value, low, high = span(row, cost)
    before, before_low, before_high = span(row, baseline)
    if value == before:
        relative = 0.0
    elif before == 0 or not math.isfinite((value - before) / abs(before)):
        return Change(baseline=before, reason=f"no share of the baseline's value, {before:g}")
    else:
        relative = (value - before) / abs(before)
    exact = low == high and before_low == before_high
    apart = exact or low > before_high or high < before_low
    return Change(baseline=before, relative=relative, distinguishable=apart)


def read_increase(text: str) -> Fraction:
    """The share in a text such as "5%" or "0%". Raises InputError for any other."""
    if not re.fullmatch(r"\d{1,2}(\.\d{1,6})?%", text, re.ASCII):
        raise InputError(
            f"--max-increase must be a percentage below 100%, such as 5%; found {shown(text)}"
        )
    return Fraction(text[:-1]) / 100


def increase_rows(rows: Iterable[OpenRow], most: Fraction, file: str) -> list[OpenRow]:
    """One row for each column of `rows`: it must not get worse than the baseline by over `most`.

    Worse is more, and for throughput less. Accuracies are left out: a share of an accuracy says
    little, and the budget's own rows bound them in points of the teacher's. The baseline's cost
    stands for the teacher's in `judge_open`, so that a measured baseline makes an uncertain limit.
    A row has the line of the first limit on its column, is a mere warning where all limits are,
    and wants the highest confidence of any.
    """
    rows = list(rows)
    taken = {row.id for row in rows}
    found = []
    columns = in_order(name for row in rows for name in row.columns)
    for column in (name for name in columns if not COLUMNS[name].learned):
        over = [row for row in rows if column in row.columns]
        lower = COLUMNS[column].unit == "1/s"
        share = 1 - most if lower else 1 + most
        name, count = f"{column}-increase", 1
        while name in taken:
            count += 1
            name = f"{column}-increase-{count}"
        where = file if over[0].line is None else f"{file}:{over[0].line}"
        sign = ">=" if lower else "<="
        text = f"{float(100 * share):.10g}%"
        found.append(
            OpenRow(
                id=name,
                terms=((column, 1.0, None),),
                limit=Quantity(float(share), "ratio", text),
                lower=lower,
                source=f"{column} {sign} {text} of the baseline ({where})",
                line=over[0].line,
                confidence=max(row.confidence for row in over),
                severity="error" if any(row.severity == "error" for row in over) else "warn",
            )
        )
    return found
