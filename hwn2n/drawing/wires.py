"""Lines between the boxes, as in a circuit diagram.

A box that is read further down has one line beside its column, from which all its readers branch
off (a dot). Lines that come to a box from the left, or from the right, are one line at the end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hwn2n.drawing.ranks import Placed, first_free

TRACK = 9
"""Pixels between horizontal lines in one gap."""
LANE = 10
"""Pixels between vertical lines beside a column."""
_PORT = 0.25
"""How far from a box's middle lines from a side arrive, as a share of its width."""

Point = tuple[float, float]
Key = tuple[str, int]
"""A horizontal line: ("out", box) where its output spreads, ("left", box) or ("right", box)
where lines from that side come to it."""


@dataclass(frozen=True)
class Rectangle:
    """A box's place: its upper left corner and its size, in pixels."""

    x: float
    y: float
    width: float
    height: float

    @property
    def middle(self) -> float:
        """Half way across."""
        return self.x + self.width / 2

    @property
    def bottom(self) -> float:
        """Where lines leave it."""
        return self.y + self.height


@dataclass(frozen=True)
class Line:
    """Corners of a line, and what it is part of: lines of the same `net` may lie on each other."""

    net: Key
    points: tuple[Point, ...]


def find_lanes(placed: Placed) -> tuple[dict[int, int], dict[int, int]]:
    """The lane beside its column of each box that needs one, and how many lanes a column has.

    Short lines lie next to the boxes, long ones outside, so that few cross.
    """
    spans: dict[int, list[tuple[int, int, int]]] = {}
    for node in range(len(placed.row)):
        last = _last_wired_row(placed, node) - 1
        if placed.below[node] is not None and last > placed.row[node]:
            span = (placed.row[node] + 1, last, node)
            spans.setdefault(placed.column[node], []).append(span)
        # the end of a chain needs none: its line goes on in its own column
    lanes: dict[int, int] = {}
    used: dict[int, int] = {}
    for column, found in spans.items():
        taken: list[list[tuple[int, int]]] = []
        for first, last, node in sorted(found, key=lambda span: (span[1] - span[0], span)):
            lanes[node] = first_free(taken, first, last)
        used[column] = len(taken)
    return lanes, used


def _last_wired_row(placed: Placed, node: int) -> int:
    """The lowest reader that the box's line must reach; -1 if it needs no line."""
    rows = [placed.row[r] for r in placed.readers[node] if placed.above[r] != node]
    return max(rows, default=-1)


class Tracks:
    """How far down in its gap each horizontal line runs; those that spread above the others."""

    def __init__(
        self,
        placed: Placed,
        middle: Sequence[float],
        lane_x: Mapping[int, float],
        width: float,
    ) -> None:
        self._spans = _spans(placed, middle, lane_x, width)
        self.depth: dict[Key, int] = {}
        self._used: dict[int, int] = {}
        for gap in {gap for gap, _, _ in self._spans.values()}:
            here = [key for key, span in self._spans.items() if span[0] == gap]
            below = 0
            for keys in ([k for k in here if k[0] == "out"], [k for k in here if k[0] != "out"]):
                levels: list[list[tuple[float, float]]] = []
                for key in sorted(keys, key=lambda key: self._spans[key][2] - self._spans[key][1]):
                    self.depth[key] = below + _level(levels, *self._spans[key][1:])
                below += len(levels)
            self._used[gap] = below

    def gap(self, key: Key) -> int:
        """The row below which the line runs."""
        return self._spans[key][0]

    def used(self, gap: int) -> int:
        """How many lines run below each other there."""
        return self._used.get(gap, 0)


def _spans(
    placed: Placed, middle: Sequence[float], lane_x: Mapping[int, float], width: float
) -> dict[Key, tuple[int, float, float]]:
    """Gap, left and right end of all horizontal lines."""
    found: dict[Key, tuple[int, float, float]] = {}
    for node, row in enumerate(placed.row):
        ends = [middle[head] for head in placed.heads(node)]
        if node in lane_x:
            ends.append(lane_x[node])
        if ends:
            ends.append(middle[node])
            found["out", node] = row, min(ends), max(ends)
    for node, row in enumerate(placed.row):
        for side, sources in _sides(placed, middle, lane_x, node).items():
            port = middle[node] + _port(side) * width
            ends = [*(x for x, _ in sources), port]
            found[side, node] = row - 1, min(ends), max(ends)
    return found


def _sides(
    placed: Placed, middle: Sequence[float], lane_x: Mapping[int, float], node: int
) -> dict[str, list[tuple[float, int]]]:
    """The further sources of a box by the side they come from, each with where its line is."""
    found: dict[str, list[tuple[float, int]]] = {}
    for source in placed.wired(node):
        x = lane_x.get(source, middle[source])
        found.setdefault("left" if x < middle[node] else "right", []).append((x, source))
    return found


def _port(side: str) -> float:
    return -_PORT if side == "left" else _PORT


def _level(levels: list[list[tuple[float, float]]], low: float, high: float) -> int:
    for index, spans in enumerate(levels):
        if all(high + LANE < a or b + LANE < low for a, b in spans):
            spans.append((low, high))
            return index
    levels.append([(low, high)])
    return len(levels) - 1


def draw_lines(
    placed: Placed,
    boxes: Sequence[Rectangle],
    lane_x: Mapping[int, float],
    y: Mapping[Key, float],
) -> tuple[list[Line], list[Point], list[Point]]:
    """Lines, arrow heads and dots; `y` are the horizontal lines' heights."""
    lines: list[Line] = []
    arrows: list[Point] = []
    dots: list[Point] = []
    middle = [box.middle for box in boxes]
    ends: dict[int, float] = {}
    for node, box in enumerate(boxes):
        following = placed.below[node]
        if following is not None:
            down = ((box.middle, box.bottom), (box.middle, boxes[following].y))
            lines.append(Line(("out", node), down))
            arrows.append(down[1])
        for head in placed.heads(node):
            at, there = y["out", node], boxes[head].middle
            start, end = (box.middle, box.bottom), (there, boxes[head].y)
            lines.append(Line(("out", node), (start, (box.middle, at), (there, at), end)))
            arrows.append(end)
        if ("out", node) in y and following is not None:
            dots.append((box.middle, y["out", node]))
        for side, sources in _sides(placed, middle, lane_x, node).items():
            at, port = y[side, node], box.middle + _port(side) * box.width
            far = (min if side == "left" else max)(x for x, _ in sources)
            lines.append(Line((side, node), ((far, at), (port, at), (port, box.y))))
            arrows.append((port, box.y))
            for x, source in sources:
                ends[source] = max(ends.get(source, 0.0), at)
                goes_on = placed.row[node] < _last_wired_row(placed, source)
                straight_on = source not in lane_x and placed.below[source] is not None
                if x != far or goes_on or straight_on:
                    dots.append((x, at))
    for node, lowest in ends.items():
        start = (middle[node], boxes[node].bottom)
        if node in lane_x:
            at, x = y["out", node], lane_x[node]
            points: tuple[Point, ...] = (start, (start[0], at), (x, at), (x, lowest))
        else:
            points = (start, (start[0], lowest))
        lines.append(Line(("out", node), points))
    return lines, arrows, dots
