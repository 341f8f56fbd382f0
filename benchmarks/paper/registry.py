"""All rows, by name, in the order of the paper's tables."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatch

from benchmarks.paper import appendix, table1, table2, table3, table4, table5, table6
from benchmarks.paper.rows import Row
from hwn2n.errors import InputError

ROWS: dict[str, Row] = {
    row.name: row
    for rows in (
        table1.ROWS,
        table2.ROWS,
        table3.ROWS,
        table4.ROWS,
        table5.ROWS,
        table6.ROWS,
        appendix.ROWS,
    )
    for row in rows
}


def chosen(names: Sequence[str]) -> list[Row]:
    """The rows of these names or patterns (`table1-*`), in the order given, each once.

    Raises `InputError` for a name of no row.
    """
    found: dict[str, Row] = {}
    for name in names:
        fitting = [row for row in ROWS.values() if fnmatch(row.name, name)]
        if not fitting:
            raise InputError(
                f"a row must be one that `python -m benchmarks.paper --list` names; found {name!r}"
            )
        found.update((row.name, row) for row in fitting)
    return list(found.values())
