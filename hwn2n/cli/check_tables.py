"""The table of `hwn2n check` for people, in a terminal and in files."""

from __future__ import annotations

from rich.table import Table

from hwn2n.cli.console import as_text
from hwn2n.cli.tables import ruled_table
from hwn2n.gate.outcome import Check
from hwn2n.gate.table import cells, clean, headings, remarks


def check_table(check: Check, *, plain: bool) -> Table:
    """One line for each row of the check."""
    return ruled_table(headings(check), cells(check), plain=plain)


def check_lines(check: Check) -> list[str]:
    """The verdict, the rows that made it, and what should be known of the figures."""
    return ["", clean(check.summary), *(f"  {remark}" for remark in remarks(check))]


def check_text(check: Check) -> str:
    """Table and lines as plain text, for a file."""
    return as_text(check_table(check, plain=True), check_lines(check))
