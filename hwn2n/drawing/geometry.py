"""Coordinates: boxes on a grid of rows and columns, lines in the gaps between them.

No line crosses a box: horizontal parts run in the gaps between rows, vertical ones in the gutter
left of each column, or in the free rows of a column at the end of its chain.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hwn2n.drawing.ranks import Placed
from hwn2n.drawing.wires import LANE, TRACK, Line, Point, Rectangle, Tracks, draw_lines, find_lanes

CHARACTER = 6.7
"""Width of a character of the 11 px monospace font; a little more than the 0.602 em of most."""
LINE = 15
MARGIN = 24
_GAP = 22
_COLUMN_GAP = 26
_PADDING = 10


@dataclass(frozen=True)
class Layout:
    """The finished picture: boxes by node, lines, arrow heads at the ends of some of them, and
    dots where lines that touch are joined."""

    width: float
    height: float
    boxes: tuple[Rectangle, ...]
    lines: tuple[Line, ...]
    arrows: tuple[Point, ...]
    dots: tuple[Point, ...]


def lay_out(placed: Placed, texts: Sequence[Sequence[str]], top: float) -> Layout:
    """Place boxes with these lines of text, the first row at `top` pixels."""
    lanes, lanes_of_column = find_lanes(placed)
    width = CHARACTER * max(len(line) for lines in texts for line in lines) + 16
    left, right = _columns(placed, lanes_of_column, width)
    middle = [left[column] + width / 2 for column in placed.column]
    lane_x = {node: left[placed.column[node]] - LANE * (lane + 1) for node, lane in lanes.items()}
    tracks = Tracks(placed, middle, lane_x, width)
    rows = max(placed.row) + 1
    height = [LINE * len(lines) + _PADDING for lines in texts]
    row_height = [
        max(height[node] for node in range(len(texts)) if placed.row[node] == row)
        for row in range(rows)
    ]
    tops, ends = [top], [top + row_height[0]]
    for row in range(1, rows):
        tops.append(ends[-1] + _GAP + TRACK * tracks.used(row - 1))
        ends.append(tops[-1] + row_height[row])
    boxes = tuple(
        Rectangle(middle[node] - width / 2, ends[row] - height[node], width, height[node])
        for node, row in enumerate(placed.row)
    )
    y = {key: ends[tracks.gap(key)] + _GAP / 2 + TRACK * at for key, at in tracks.depth.items()}
    lines, arrows, dots = draw_lines(placed, boxes, lane_x, y)
    return Layout(
        width=right + MARGIN,
        height=ends[-1] + MARGIN,
        boxes=boxes,
        lines=tuple(lines),
        arrows=tuple(arrows),
        dots=tuple(dict.fromkeys(dots)),
    )


def _columns(placed: Placed, lanes: dict[int, int], width: float) -> tuple[dict[int, float], float]:
    """The left edge of each column's boxes, and the right edge of the last."""
    left: dict[int, float] = {}
    x = float(MARGIN)
    for column in range(max(placed.column) + 1):
        if column:
            x += _COLUMN_GAP
        if lanes.get(column):
            x += LANE * (lanes[column] + 1)
        left[column] = x
        x += width
    return left, x
