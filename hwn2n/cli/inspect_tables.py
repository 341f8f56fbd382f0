"""The table of `hwn2n inspect`, and what stands below it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table

from hwn2n.budget.columns import COLUMNS
from hwn2n.cli.tables import ruled_table
from hwn2n.network.wording import shape_text, sizes
from hwn2n.search.changes import changes

if TYPE_CHECKING:
    from hwn2n.commands.inspect import Inspection
    from hwn2n.search.inspection import Row

_LONGEST_OPERATOR = 44


def inspect_table(found: Inspection, *, plain: bool) -> Table:
    """A row for each layer, and for each other operation that has parameters, FLOPs or a say."""
    lines = []
    for row in found.rows:
        if not _shown(row):
            continue
        cells = [
            row.name,
            _cut(row.operator),
            shape_text(None if row.shape is None else (-1, *row.shape)),
            f"{row.params:,}" if row.params else "",
            f"{row.flops:,}" if row.flops else "",
            ("yes" if row.removable else "no") if row.policy else "",
            _width(row),
        ]
        if found.decision is not None and found.student is not None:
            cells.append(_student(found, row))
        lines.append((*cells, "; ".join(row.reasons)))
    headings = ["layer", "operator", "output", "params", "FLOPs", "removable?", "width"]
    headings += ["student"] if found.decision is not None else []
    table = ruled_table((*headings, "reason"), lines, plain=plain)
    for column in table.columns:
        if column.header in ("operator", "removable?", "width", "student"):
            column.justify = "left"
    return table


def _shown(row: Row) -> bool:
    return bool(row.policy or row.params or row.flops or row.reasons)


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST_OPERATOR else text[: _LONGEST_OPERATOR - 3] + "..."


def _width(row: Row) -> str:
    """The number of channels that it makes, and whose number it is too."""
    if row.width is None or row.group is None:
        return ""
    tied = f" with {row.tied[0]}" if row.tied else ""
    return f"{row.width}{tied}{f' and {len(row.tied) - 1} more' if len(row.tied) > 1 else ''}"


def _student(found: Inspection, row: Row) -> str:
    assert found.decision is not None and found.student is not None
    if found.decision.removed.issuperset(row.operations):
        return "removed"
    teacher, student = found.architecture.by_name(), found.student.by_name()
    members = [teacher[name] for name in row.operations]
    fewer = any(
        op.name in student and student[op.name].config.get(key) != op.config.get(key)
        for op in members
        for key in ("in_channels", "in_features")
    )
    return ", ".join(changes(members, student)) or ("fewer inputs" if fewer else "kept")


def inspect_lines(found: Inspection, svg: Path | None = None) -> list[str]:
    """The whole network, what is reachable, and how small it could get."""
    shape = sizes(found.input_shape)
    lines = [
        "",
        f"{found.model} on images of {shape}: {found.counts.params:,} parameters, "
        f"{found.counts.flops:,} FLOPs",
    ]
    hidden = Counter(row.operator for row in found.rows if not _shown(row))
    if hidden:
        listed = ", ".join(f"{n} {name}" for name, n in hidden.most_common(6))
        more = "" if len(hidden) <= 6 else ", ..."
        lines.append(
            f"not in the table (no parameters, no FLOPs, nothing to decide): {listed}{more}"
        )
    for name, what in (("params", "parameters"), ("flops", "FLOPs")):
        reach = found.reach[name]
        lines.append(
            f"the policies reach {_share(reach.either)} of the {what}: "
            f"{_share(reach.removable)} by removal, {_share(reach.shrinkable)} by shrinkage"
        )
    params, flops = (found.smallest[name].cost[name].value for name in ("params", "flops"))
    lines.append(
        f"smallest student found by recipe {found.recipe}: {params:,.0f} parameters "
        f"({_share(params / (found.counts.params or 1))}); by FLOPs {flops:,.0f} "
        f"({_share(flops / (found.counts.flops or 1))})"
    )
    if found.budget is not None:
        lines += _budget_lines(found)
    if found.note:
        lines.append(f"note: {found.note}")
    if svg is not None:
        lines.append(f"picture: {svg}")
    return lines


def _budget_lines(found: Inspection) -> list[str]:
    assert found.budget is not None
    verdict = "inside" if found.budget.inside else "OUTSIDE"
    cost = found.budget.smallest.cost
    counted = ", ".join(f"{name} {cost[name].value:,.0f}" for name in COLUMNS if name in cost)
    lines = [
        f"budget {found.budget.name!r}: the smallest student that was tried is {verdict} what can "
        f"be counted of it ({counted})"
    ]
    if found.budget.skipped:
        skipped = ", ".join(found.budget.skipped)
        lines.append(f"  not judged, for counting the smallest student does not tell: {skipped}")
    return lines


def _share(value: float) -> str:
    """A percentage that does not round a little to nothing, or almost all to all."""
    text = f"{value:.1%}"
    if text == "0.0%" and value > 0:
        return "less than 0.1%"
    return "almost 100%" if text == "100.0%" and value < 1 else text.replace("100.0%", "100%")
