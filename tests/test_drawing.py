"""The picture of a graph: valid XML, no box on another, no line through a box."""

import random
import xml.etree.ElementTree as ET
from functools import cache
from itertools import combinations
from unittest.mock import patch

import pytest
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import Mixed, planner_of, random_decision, seeded

from hwn2n.drawing import draw
from hwn2n.drawing.boxes import LONGEST_LINE, Status, make_boxes
from hwn2n.drawing.geometry import CHARACTER, lay_out
from hwn2n.drawing.ranks import place
from hwn2n.network.capture import capture
from hwn2n.network.decision import Decision
from hwn2n.network.planner import Planner
from hwn2n.search.inspection import find_rows
from hwn2n.search.recipes import RECIPES, build_settings

SVG = "{http://www.w3.org/2000/svg}"


@cache
def planner(name):
    if name in ("vgg13", "resnet18"):
        return planner_of(name, 32)
    if name == "mixed":
        return Planner(capture(seeded(Mixed), (3, 8, 8)).architecture)
    how = {"init_weights": False, "aux_logits": False} if name == "googlenet" else {}
    model = getattr(torchvision.models, name)(weights=None, num_classes=10, **how)
    return Planner(capture(model.eval(), (3, 32, 32)).architecture)


@cache
def quick_rows(name):
    """Rows without asking for each layer whether the network holds without it."""
    with patch("hwn2n.network.layers._why_kept", return_value=None):
        return find_rows(planner(name), RECIPES["fast"])


def overlap(a, b):
    return a.x < b.x + b.width and b.x < a.x + a.width and a.y < b.bottom and b.y < a.bottom


def through(box, start, end):
    """Does a horizontal or vertical line run through the inside of a box?"""
    (x1, x2), (y1, y2) = sorted((start[0], end[0])), sorted((start[1], end[1]))
    assert x1 == x2 or y1 == y2, "lines are horizontal or vertical"
    return x1 < box.x + box.width and box.x < x2 and y1 < box.bottom and box.y < y2


def segments(layout):
    for line in layout.lines:
        for start, end in zip(line.points, line.points[1:], strict=False):
            if start != end:
                yield line.net, start, end


def lie_on_each_other(a, b):
    """Do two parts of lines have more than a point in common?"""
    for axis in (0, 1):
        other = 1 - axis
        if a[0][axis] == a[1][axis] == b[0][axis] == b[1][axis]:
            low = max(min(a[0][other], a[1][other]), min(b[0][other], b[1][other]))
            high = min(max(a[0][other], a[1][other]), max(b[0][other], b[1][other]))
            return high > low
    return False


def on(point, start, end):
    return min(start[0], end[0]) <= point[0] <= max(start[0], end[0]) and min(
        start[1], end[1]
    ) <= point[1] <= max(start[1], end[1])


def connected(layout):
    """Groups of lines that a reader takes for one: by ends that touch, and by dots."""
    parent = list(range(len(layout.lines)))

    def root(i):
        while parent[i] != i:
            i = parent[i]
        return i

    def touches(line, point):
        return any(on(point, a, b) for a, b in zip(line.points, line.points[1:], strict=False))

    for i, line in enumerate(layout.lines):
        for j, other in enumerate(layout.lines):
            if any(touches(other, end) for end in (line.points[0], line.points[-1])):
                parent[root(i)] = root(j)
    for dot in layout.dots:
        joined = [i for i, line in enumerate(layout.lines) if touches(line, dot)]
        for i in joined:
            parent[root(i)] = root(joined[0])
    return [root(i) for i in range(len(layout.lines))]


def check(inputs, texts, *, thorough):
    layout = lay_out(place(inputs), texts, 50)
    for a, b in combinations(layout.boxes, 2):
        assert not overlap(a, b)
    for box in layout.boxes:
        assert box.x >= 0 and box.x + box.width <= layout.width
        assert box.y >= 50 and box.bottom <= layout.height
    parts = list(segments(layout))
    for _, start, end in parts:
        assert not any(through(box, start, end) for box in layout.boxes)
        assert min(start[0], end[0]) >= 0 and max(start[0], end[0]) <= layout.width
    for reader, sources in enumerate(inputs):
        for source in sources:
            assert layout.boxes[source].bottom < layout.boxes[reader].y, "lines lead downwards"
    if not thorough:
        return
    for (net, *a), (other, *b) in combinations(parts, 2):
        assert net == other or not lie_on_each_other(a, b)
    group = connected(layout)
    for reader, sources in enumerate(inputs):
        box = layout.boxes[reader]
        into = {
            group[i]
            for i, line in enumerate(layout.lines)
            if line.points[-1][1] == box.y and box.x < line.points[-1][0] < box.x + box.width
        }
        for source in sources:
            start = (layout.boxes[source].middle, layout.boxes[source].bottom)
            leaving = {group[i] for i, line in enumerate(layout.lines) if line.points[0] == start}
            assert into & leaving, f"box {source} must lead to box {reader}"


@pytest.mark.parametrize(
    "name",
    [
        *("vgg13", "resnet18", "mixed", "mobilenet_v3_small", "googlenet"),
        pytest.param("densenet121", marks=pytest.mark.slow),
    ],
)
def test_boxes_and_lines_keep_clear_of_each_other(name):
    teacher, rows = planner(name).teacher, quick_rows(name)
    boxes = make_boxes(teacher, rows, None, None)
    drawn = [name for row in rows for name in row.operations]
    assert sorted(drawn) == sorted(teacher.by_name())
    assert len(boxes) <= len(rows) + 1
    check([box.inputs for box in boxes], [box.lines for box in boxes], thorough=len(boxes) < 90)


@st.composite
def graphs(draw_from):
    """Any acyclic graph from one box, some boxes without inputs among them."""
    count = draw_from(st.integers(2, 14))
    inputs = [()]
    for node in range(1, count):
        least = 0 if node < count - 1 else 1
        found = draw_from(st.sets(st.integers(0, node - 1), min_size=least, max_size=4))
        inputs.append(tuple(sorted(found)))
    read = {source for sources in inputs for source in sources}
    unread = tuple(node for node in range(count) if node not in read)
    return [*inputs, unread]


@settings(max_examples=150, deadline=None)
@given(graphs())
def test_any_graph_is_drawn_clearly(inputs):
    check(inputs, [("box", "x" * (node % 7 + 1)) for node in range(len(inputs))], thorough=True)


@pytest.mark.parametrize("name", ["vgg13", "resnet18", "mixed"])
def test_the_picture_of_a_student_marks_what_was_removed_and_shrunk(name):
    of = planner(name)
    rows = find_rows(of, build_settings("fast", {"granularity": "unit"}))
    decision = random_decision(of, random.Random(3))
    if not decision.removed:
        layer = next(row for row in rows if row.removable)
        decision = Decision(frozenset(layer.operations))
    student = of.plan(decision)
    root = ET.fromstring(draw(of.teacher, rows, decision, student, "a <run> & its \x00 title"))
    assert root.tag == f"{SVG}svg"
    marked = {"removed": set(), "shrunk": set(), "kept": set()}
    for group in root.iter(f"{SVG}g"):
        name = group.find(f"{SVG}text").text
        if group.get("class") in marked:
            marked[group.get("class")].add(name)
    for row in rows:
        if row.policy and decision.removed.issuperset(row.operations):
            assert row.name in marked["removed"]
        elif row.policy and row.name in decision.kernels:
            assert row.name in marked["shrunk"] | marked["kept"]
    assert not marked["removed"] & marked["shrunk"]
    texts = " ".join(text.text for text in root.iter(f"{SVG}text"))
    assert "removed" in texts and "channels" in texts
    assert "a <run> & its" in texts


def test_the_picture_of_a_network_alone_says_what_is_possible():
    of = planner("mixed")
    root = ET.fromstring(
        draw(
            of.teacher,
            find_rows(of, build_settings("fast", {"granularity": "unit"})),
            None,
            None,
            "mixed",
        )
    )
    classes = [group.get("class") for group in root.iter(f"{SVG}g")]
    assert {"removable", "shrinkable", "other"} <= set(classes)
    names = [group.find(f"{SVG}text").text for group in root.iter(f"{SVG}g")]
    assert names[0] == "images" and "depthwise" in names and "classifier" in names
    legend = {text.text for text in root.iter(f"{SVG}text")}
    assert {Status.REMOVABLE.value, Status.SHRINKABLE.value} <= legend
    notes = " ".join(title.text for title in root.iter(f"{SVG}title"))
    assert "one for each class" in notes, "reasons appear when a box is pointed at"


def test_texts_fit_their_boxes():
    of = planner("mobilenet_v3_small")
    boxes = make_boxes(of.teacher, quick_rows("mobilenet_v3_small"), None, None)
    layout = lay_out(place([box.inputs for box in boxes]), [box.lines for box in boxes], 0)
    for box, rectangle in zip(boxes, layout.boxes, strict=True):
        for line in box.lines:
            assert len(line) <= LONGEST_LINE
            assert CHARACTER * len(line) < rectangle.width
