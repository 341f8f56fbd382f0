"""Coordinates: boxes on a grid of rows and columns, lines in the gaps between them.

No line crosses a box: horizontal parts run in the gaps between rows, vertical ones in the gutter
left of each column, or in the free rows of a column at the end of its chain. A box that is read
further down has one line in the gutter, from which all its readers branch off (a dot), as in a
circuit diagram.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from hwn2n.drawing.ranks import Placed, first_free

CHARACTER = 6.7
"""Width of a character of the 11 px monospace font; a little more than the 0.602 em of most."""
LINE = 15
TRACK = 9
GAP = 22
LANE = 10
MARGIN = 24
COLUMN_GAP = 26
PORT = 0.25
"""How far from a box's middle lines from the side arrive, as a share of its width."""

Point = tuple[float, float]


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


@dataclass
class Layout:
    """The finished picture: boxes by node, lines as corners, arrow heads at the ends of some."""

    width: float
    height: float
    boxes: list[Rectangle]
    lines: list[list[Point]] = field(default_factory=list)
    arrows: list[Point] = field(default_factory=list)
    dots: list[Point] = field(default_factory=list)


@dataclass(frozen=True)
class _Track:
    """A horizontal line in the gap below a row: from `left` to `right`."""

    gap: int
    left: float
    right: float


def lay_out(placed: Placed, texts: Sequence[Sequence[str]], top: float) -> Layout:
    """Place boxes with these lines of text, the first row at `top` pixels."""
    lanes, lanes_of_column = _lanes(placed)
    width = CHARACTER * max(len(line) for lines in texts for line in lines) + 16
    left, total = _columns(placed, lanes_of_column, width)
    middle = [left[column] + width / 2 for column in placed.column]
    lane_x = {node: left[placed.column[node]] - LANE * (lane + 1) for node, lane in lanes.items()}
    tracks = _tracks(placed, middle, lane_x, width)
    depth = _depths(tracks)
    rows = max(placed.row) + 1
    heights = [0.0] * rows
    for node, lines in enumerate(texts):
        heights[placed.row[node]] = max(heights[placed.row[node]], LINE * len(lines) + 10)
    gaps = [GAP + TRACK * (1 + max(_used(depth, tracks, gap), default=-1)) for gap in range(rows)]
    tops = [top + sum(heights[:row]) + sum(gaps[:row]) for row in range(rows)]
    boxes = []
    for node, lines in enumerate(texts):
        row, height = placed.row[node], LINE * len(lines) + 10
        boxes.append(
            Rectangle(middle[node] - width / 2, tops[row] + heights[row] - height, width, height)
        )
    layout = Layout(
        total + MARGIN,
        tops[-1] + heights[-1] + MARGIN,
        boxes,  # the last row has no gap below
    )
    y = {
        key: tops[t.gap] + heights[t.gap] + GAP / 2 + TRACK * depth[key]
        for key, t in tracks.items()
    }
    _draw_lines(layout, placed, lane_x, y)
    return layout


def _lanes(placed: Placed) -> tuple[dict[int, int], dict[int, int]]:
    """Lines beside their column: the lane of each node that has one, and lanes by column.

    Short lines lie next to the boxes, long ones outside, so that few cross.
    """
    spans: dict[int, list[tuple[int, int, int]]] = {}
    for node, readers in enumerate(placed.readers):
        wired = [reader for reader in readers if placed.above[reader] != node]
        if placed.below[node] is None or not wired:
            continue  # the end of a chain goes on in its own column
        last = max(placed.row[reader] for reader in wired) - 1
        if last > placed.row[node]:
            first = placed.row[node] + 1
            spans.setdefault(placed.column[node], []).append((first, last, node))
    lanes: dict[int, int] = {}
    used: dict[int, int] = {}
    for column, found in spans.items():
        taken: list[list[tuple[int, int]]] = []
        for first, last, node in sorted(found, key=lambda span: (span[1] - span[0], span)):
            lanes[node] = first_free(taken, first, last)
        used[column] = len(taken)
    return lanes, used


def _columns(placed: Placed, lanes: dict[int, int], width: float) -> tuple[dict[int, float], float]:
    """The left edge of each column's boxes, and the right edge of the last."""
    left: dict[int, float] = {}
    x = float(MARGIN)
    for column in range(max(placed.column) + 1):
        if column:
            x += COLUMN_GAP
        if lanes.get(column):
            x += LANE * (lanes[column] + 1)
        left[column] = x
        x += width
    return left, x


def _source_x(
    placed: Placed, middle: Sequence[float], lane_x: dict[int, float], source: int
) -> float:
    """Where the line of a box comes down to its further readers."""
    return lane_x.get(source, middle[source])


def _tracks(
    placed: Placed, middle: Sequence[float], lane_x: dict[int, float], width: float
) -> dict[tuple[str, int], _Track]:
    """Horizontal lines: where a box's output spreads, and where lines come together to a box.

    Keys: ("out", node), and ("left", node) or ("right", node) for lines from that side.
    """
    found: dict[tuple[str, int], _Track] = {}
    for node in range(len(placed.row)):
        ends = [middle[head] for head in placed.heads(node)]
        if node in lane_x:
            ends.append(lane_x[node])
        if ends:
            ends.append(middle[node])
            found["out", node] = _Track(placed.row[node], min(ends), max(ends))
    for node in range(len(placed.row)):
        sources = [_source_x(placed, middle, lane_x, s) for s in placed.wired(node)]
        gap = placed.row[node] - 1
        if left := [x for x in sources if x < middle[node]]:
            found["left", node] = _Track(gap, min(left), middle[node] - PORT * width)
        if right := [x for x in sources if x >= middle[node]]:
            found["right", node] = _Track(
                gap, middle[node] + PORT * width, max([*right, middle[node] + PORT * width])
            )
    return found


def _depths(tracks: dict[tuple[str, int], _Track]) -> dict[tuple[str, int], int]:
    """How far down in its gap each horizontal line runs; those that spread above the others."""
    depth: dict[tuple[str, int], int] = {}
    for gap in {track.gap for track in tracks.values()}:
        here = {key: track for key, track in tracks.items() if track.gap == gap}
        spreading = [key for key in here if key[0] == "out"]
        joining = [key for key in here if key[0] != "out"]
        below = 0
        for keys in (spreading, joining):
            levels: list[list[tuple[float, float]]] = []
            for key in sorted(keys, key=lambda key: here[key].right - here[key].left):
                low, high = (
                    min(here[key].left, here[key].right),
                    max(here[key].left, here[key].right),
                )
                depth[key] = below + _level(levels, low, high)
            below += len(levels)
    return depth


def _level(levels: list[list[tuple[float, float]]], low: float, high: float) -> int:
    for index, spans in enumerate(levels):
        if all(high + LANE < a or b + LANE < low for a, b in spans):
            spans.append((low, high))
            return index
    levels.append([(low, high)])
    return len(levels) - 1


def _used(
    depth: dict[tuple[str, int], int], tracks: dict[tuple[str, int], _Track], gap: int
) -> list[int]:
    return [depth[key] for key, track in tracks.items() if track.gap == gap]


def _draw_lines(
    layout: Layout, placed: Placed, lane_x: dict[int, float], y: dict[tuple[str, int], float]
) -> None:
    boxes = layout.boxes
    end_of: dict[int, float] = {}
    for node, box in enumerate(boxes):
        following = placed.below[node]
        if following is not None:
            layout.lines.append([(box.middle, box.bottom), (box.middle, boxes[following].y)])
            layout.arrows.append((box.middle, boxes[following].y))
        for head in placed.heads(node):
            there, at = boxes[head].middle, y["out", node]
            layout.lines.append(
                [(box.middle, box.bottom), (box.middle, at), (there, at), (there, boxes[head].y)]
            )
            layout.arrows.append((there, boxes[head].y))
        if ("out", node) in y and following is not None:
            layout.dots.append((box.middle, y["out", node]))
        _join(layout, placed, node, lane_x, y, end_of)
    for node, lowest in end_of.items():
        box = boxes[node]
        if node in lane_x:
            at = y["out", node]
            layout.lines.append([(box.middle, at), (lane_x[node], at), (lane_x[node], lowest)])
        else:
            layout.lines.append([(box.middle, box.bottom), (box.middle, lowest)])


def _join(
    layout: Layout,
    placed: Placed,
    node: int,
    lane_x: dict[int, float],
    y: dict[tuple[str, int], float],
    end_of: dict[int, float],
) -> None:
    """The lines that come to a box from the sides; notes how far down each source's line goes."""
    box = layout.boxes[node]
    middle = [other.middle for other in layout.boxes]
    for side, sign in (("left", -1), ("right", 1)):
        if (side, node) not in y:
            continue
        at, port = y[side, node], box.middle + sign * PORT * box.width
        joined = [
            (x, source)
            for source in placed.wired(node)
            if (x := _source_x(placed, middle, lane_x, source)) < box.middle
            if side == "left"
        ] or [
            (x, source)
            for source in placed.wired(node)
            if (x := _source_x(placed, middle, lane_x, source)) >= box.middle
        ]
        far = min(x for x, _ in joined) if side == "left" else max(x for x, _ in joined)
        layout.lines.append([(far, at), (port, at), (port, box.y)])
        layout.arrows.append((port, box.y))
        for x, source in joined:
            end_of[source] = max(end_of.get(source, 0.0), at)
            if x != far or placed.row[node] < max(
                placed.row[r] for r in placed.readers[source] if placed.above[r] != source
            ):
                layout.dots.append((x, at))
