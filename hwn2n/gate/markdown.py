"""A check as markdown: a table of GitHub Flavored Markdown (https://github.github.com/gfm/)."""

from __future__ import annotations

from hwn2n.gate.outcome import Check
from hwn2n.gate.table import cells, clean, headings, remarks

_NUMBERS = ("value", "limit", "headroom", "change")

# As entities: a backslash before a pipe is read by the table before it is read as an escape, and
# "<" and "&" begin tags and entities. The backslash itself too, so that it escapes nothing.
_ENTITIES = {"&": "&amp;", "<": "&lt;", "|": "&#124;", "\\": "&#92;"}
# What else has a meaning inside a line: code, emphasis, links, strikethrough, the end of a
# heading, GitHub's formulas.
_ESCAPED = "`*_[]~#$"
# In a comment "@name" calls somebody and "#1" or "owner/name#1" leaves a mark at an issue, escaped
# or not, for GitHub looks for them in the finished page: a space of no width ends them.
_LINKS = {sign: f"{sign}&#8203;" for sign in "@#"}


def markdown(check: Check) -> str:
    """Heading, table and remarks, for a step summary or a comment. Ends with a line break."""
    names = headings(check)
    rules = ["---:" if name in _NUMBERS else "---" for name in names]
    lines = [
        f"### {escaped(f'hwn2n check: {check.summary}')}",
        "",
        _row(names),
        _row(rules),
        *(_row(tuple(escaped(cell) for cell in line)) for line in cells(check)),
        "",
        *(f"- {escaped(remark)}" for remark in remarks(check)),
    ]
    return "\n".join(lines).rstrip() + "\n"


def _row(texts: tuple[str, ...] | list[str]) -> str:
    return f"| {' | '.join(texts)} |"


def escaped(text: str) -> str:
    """`text` as markdown that shows just that, in a cell, a heading or a list."""
    return "".join(_escaped(sign) for sign in clean(text))


def _escaped(sign: str) -> str:
    if sign in _ENTITIES:
        return _ENTITIES[sign]
    return ("\\" if sign in _ESCAPED else "") + _LINKS.get(sign, sign)
