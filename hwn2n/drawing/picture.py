"""The picture as SVG text."""

from __future__ import annotations

from collections.abc import Sequence
from xml.sax.saxutils import escape, quoteattr

from hwn2n.drawing.boxes import Box, Status, make_boxes
from hwn2n.drawing.geometry import CHARACTER, LINE, MARGIN, Layout, lay_out
from hwn2n.drawing.ranks import place
from hwn2n.drawing.wires import Point, Rectangle
from hwn2n.errors import one_line
from hwn2n.network.architecture import Architecture
from hwn2n.network.decision import Decision
from hwn2n.search.inspection import Row

# fill, border and dash of a box; light fills, so that black text is read on all of them
_LOOKS: dict[Status, tuple[str, str, str]] = {
    Status.REMOVABLE: ("#e6f0fb", "#2f6db3", ""),
    Status.SHRINKABLE: ("#eaf6ea", "#3c8a3f", ""),
    Status.FIXED: ("#ececec", "#777777", ""),
    Status.REMOVED: ("#fdecec", "#c23b3b", "5 3"),
    Status.SHRUNK: ("#fff4dc", "#b9800b", ""),
    Status.KEPT: ("#eaf6ea", "#3c8a3f", ""),
    Status.OTHER: ("#ffffff", "#999999", ""),
}
_ALONE = (Status.REMOVABLE, Status.SHRINKABLE, Status.FIXED, Status.OTHER)
_OF_RUN = (Status.REMOVED, Status.SHRUNK, Status.KEPT, Status.OTHER)
_HEAD = 78
"""Pixels above the first row: the title, and the legend below it."""


def draw(
    architecture: Architecture,
    rows: Sequence[Row],
    decision: Decision | None,
    student: Architecture | None,
    title: str,
) -> str:
    """An SVG document: the images on top, the logits at the bottom, one box for each layer.

    `rows` are those of `search.inspection` for this architecture. With a `decision` and the
    `student` that it makes, boxes show what was removed and shrunk, without them what could be.
    """
    boxes = make_boxes(architecture, rows, decision, student)
    layout = lay_out(place([box.inputs for box in boxes]), [box.lines for box in boxes], _HEAD)
    legend = _legend(_ALONE if decision is None else _OF_RUN)
    title = one_line(title, 120)
    width = max(layout.width, MARGIN * 2 + CHARACTER * 1.3 * len(title), legend[1])
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_n(width)}" '
        f'height="{_n(layout.height)}" viewBox="0 0 {_n(width)} {_n(layout.height)}" '
        "font-family=\"ui-monospace, Menlo, Consolas, 'DejaVu Sans Mono', monospace\" "
        'font-size="11">',
        f"<title>{escape(title)}</title>",
        '<rect width="100%" height="100%" fill="#ffffff"/>',
        f'<text x="{MARGIN}" y="30" font-size="14" font-weight="bold">{escape(title)}</text>',
        *legend[0],
        *_wires(layout),
        *(
            _box(box, place, removed=box.status is Status.REMOVED)
            for box, place in zip(boxes, layout.boxes, strict=True)
        ),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _legend(shown: Sequence[Status]) -> tuple[list[str], float]:
    """The colours with their meaning, and where they end."""
    parts: list[str] = []
    x = float(MARGIN)
    for status in shown:
        fill, border, dash = _LOOKS[status]
        parts.append(
            f'<rect x="{_n(x)}" y="42" width="18" height="12" rx="3" fill="{fill}" '
            f'stroke="{border}"{_dash(dash)}/>'
        )
        parts.append(f'<text x="{_n(x + 24)}" y="52">{escape(status.value)}</text>')
        x += 24 + CHARACTER * len(status.value) + 20
    return parts, x


def _wires(layout: Layout) -> list[str]:
    lines = " ".join(_path(line.points) for line in layout.lines)
    heads = " ".join(
        f"M{_n(x - 3.5)} {_n(y - 7)}L{_n(x + 3.5)} {_n(y - 7)}L{_n(x)} {_n(y)}Z"
        for x, y in layout.arrows
    )
    return [
        f'<path d="{lines}" fill="none" stroke="#555555" stroke-width="1.2"/>',
        f'<path d="{heads}" fill="#555555"/>',
        *(f'<circle cx="{_n(x)}" cy="{_n(y)}" r="2.4" fill="#555555"/>' for x, y in layout.dots),
    ]


def _path(points: Sequence[Point]) -> str:
    return "M" + "L".join(f"{_n(x)} {_n(y)}" for x, y in points)


def _box(box: Box, at: Rectangle, *, removed: bool) -> str:
    fill, border, dash = _LOOKS[box.status]
    strike = ' text-decoration="line-through"' if removed else ""
    looks = [f' font-weight="bold"{strike}', strike, "", ""]
    texts = [
        f'<text x="{_n(at.middle)}" y="{_n(at.y + LINE * (i + 1))}" text-anchor="middle"{look}>'
        f"{escape(line)}</text>"
        for i, (line, look) in enumerate(zip(box.lines, looks, strict=False))
    ]
    note = "\n".join(one_line(line, 400) for line in box.note.split("\n"))
    return (
        f"<g class={quoteattr(box.status.name.lower())}><title>{escape(note)}</title>"
        f'<rect x="{_n(at.x)}" y="{_n(at.y)}" width="{_n(at.width)}" height="{_n(at.height)}" '
        f'rx="5" fill="{fill}" stroke="{border}"{_dash(dash)}/>{"".join(texts)}</g>'
    )


def _dash(dash: str) -> str:
    return f' stroke-dasharray="{dash}"' if dash else ""


def _n(number: float) -> str:
    """A coordinate with at most one decimal."""
    return f"{number:.1f}".removesuffix(".0")
