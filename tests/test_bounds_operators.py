"""Bounds of students where channels come in units, branches go as one, and widths are rounded."""

import itertools
import random
from functools import cache

import pytest
import torch
import torch.nn.functional as F
from networks import seeded
from structures import NETWORKS, Net, Vit, Windows, conv, pooled
from test_search_reach import COLUMNS, decisions, limits, removable
from torch import nn

from hwn2n.errors import BudgetNotMetError
from hwn2n.network.architecture import IllegalArchitectureError
from hwn2n.network.capture import capture
from hwn2n.network.counts import count
from hwn2n.network.layers import find_layers
from hwn2n.network.planner import Planner
from hwn2n.search.bounds.costs import cost_bounds
from hwn2n.search.bounds.presence import find_presence
from hwn2n.search.fitting.projection import counted_cost
from hwn2n.search.reach import check_reachable, smallest_student
from hwn2n.search.recipes import build_settings


def shared_table():
    """Two residual branches that alone read one scaled table, and a projected shortcut."""

    def forward(m, x):
        x, table = m.stem(x), m.table * 2
        x = x + m.down(F.relu(m.up(x + table)))
        return pooled(m.short(x) + m.again(F.relu(m.grow(x * table))))

    net = Net(
        forward,
        stem=conv(3, 8),
        up=conv(8, 16),
        down=conv(16, 8),
        short=nn.Conv2d(8, 12, 1, stride=2),
        grow=conv(8, 10),
        again=nn.Conv2d(10, 12, 3, stride=2, padding=1),
        head=nn.Linear(12, 5),
    )
    net.table = nn.Parameter(torch.linspace(0.5, 1.5, 8).view(1, 8, 1, 1))
    return net


def doubled():
    """A convolution that meets a concatenation of another with itself: two equal sections."""

    def forward(m, x):
        y = m.part(x)
        return pooled(m.out(F.relu(m.whole(x) + torch.cat([y, y], 1))))

    return Net(forward, whole=conv(3, 8), part=conv(3, 4), out=conv(8, 6), head=nn.Linear(6, 5))


MAKE = {name: make for name, (make, _, _) in NETWORKS.items()}
MAKE |= {"vit": Vit, "windows": Windows, "shared table": shared_table, "doubled": doubled}

SEARCHES = {
    "fast": build_settings("fast", {"granularity": "unit"}),
    "paper": build_settings("paper"),
    "blocks": build_settings("fast", {"granularity": "block"}),
    "blocks, rounded": build_settings("paper", {"granularity": "block", "round_to": 4}),
    "rounded": build_settings("fast", {"granularity": "unit", "round_to": 2, "min_width": 3}),
}


@cache
def planner(net):
    return Planner(capture(seeded(MAKE[net]), (3, 8, 8)).architecture)


def students(net, search, most=12):
    """(removed, params, flops and weight_bytes) of legal students."""
    teacher, settings, rng = planner(net), SEARCHES[search], random.Random(net + search)
    choices = list(itertools.product([True, False], repeat=len(removable(teacher, settings))))
    for kept in choices if len(choices) <= most else rng.sample(choices, most):
        pairs = zip(removable(teacher, settings), kept, strict=True)
        removed = frozenset(name for layer, k in pairs if not k for name in layer.operations)
        try:
            made = list(decisions(teacher, settings, removed, rng, 1))
        except IllegalArchitectureError:
            continue
        for decision in made:
            try:
                cost = counted_cost(teacher.plan(decision))
            except IllegalArchitectureError:
                continue
            yield removed, {name: reading.value for name, reading in cost.items()}


@pytest.mark.parametrize("search", SEARCHES)
@pytest.mark.parametrize("net", MAKE)
def test_no_student_is_outside_the_bounds(net, search):
    settings = SEARCHES[search]
    bounds = cost_bounds(planner(net), settings, projects=settings.project)
    found = list(students(net, search))
    assert len(found) >= 4
    for removed, values in found:
        for column in COLUMNS:
            low, high = bounds.column(column, removed)
            assert low <= values[column] <= high
    least = min(values["params"] for _, values in found)
    if least > 1:
        try:
            check_reachable(planner(net), settings, limits({"metric": "params", "max": least}))
        except BudgetNotMetError as error:
            pytest.fail(f"{least} params are reachable: {error}")


def parts(net, search):
    settings = SEARCHES[search]
    bounds = cost_bounds(planner(net), settings, projects=settings.project)
    return {part.name: part for part in bounds.parts}


def test_rounded_widths_are_not_below_their_least():
    # Of 6 channels at least 4 remain, those that the smallest multiple of 2 from 3 on has.
    found = parts("scaled last", "rounded")
    assert found["wide"].params[0] == 4 * (4 + 1)
    assert found["stem"].params[0] == 4 * (3 + 1)
    assert parts("scaled last", "fast")["wide"].params[0] == 1 * (1 + 1)
    # A tenth of 24 by fours is 4; of 8 and of 6, as many.
    found = parts("scaled last", "blocks, rounded")
    assert found["stem"].params[0] == 4 * (3 + 1)


def test_layer_normalisation_by_hand():
    # The stream of 8 channels shrinks to 1; five tokens, weights and biases of the last norm.
    norm = parts("vit", "fast")["norm"]
    assert norm.params == (2 * 1, 2 * 8) and norm.flops == (5 * 5 * 1, 5 * 5 * 8)
    # 5 x 5 FLOPs for the weight of each channel; its bias comes for free.
    assert norm.positions == (25, 25) and norm.idle == 8


def test_what_only_branches_read_may_go_with_them():
    teacher = planner("shared table")
    layers = [layer for layer in find_layers(teacher, "block") if layer.removable]
    layer_of = {name: layer.name for layer in layers for name in layer.operations}
    assert not {"table_held", "mul"} & layer_of.keys()
    presence = find_presence(teacher.teacher, layer_of)
    assert not {"table_held", "mul"} & presence.lasting
    assert {"short", "head", "mean"} <= presence.lasting | layer_of.keys()
    assert parts("shared table", "blocks")["table_held"].params == (0, 8)
    assert parts("shared table", "fast")["table_held"].params[0] == 1
    removed = frozenset(n for layer in layers if layer.kind == "add" for n in layer.operations)
    left, _ = teacher.left(removed)
    assert "table_held" not in left.by_name()


def test_the_smallest_student_of_blocks_and_rounded_widths():
    for search in ("blocks", "rounded", "blocks, rounded"):
        settings, teacher = SEARCHES[search], planner("shared table")
        rows = limits({"metric": "params", "max": 1})
        decision, cost = smallest_student(teacher, settings, rows)
        _, channels = teacher.left(decision.removed)
        for name, width in decision.widths.items():
            group = channels.groups[name]
            least = settings.widths.least(group)
            assert least <= width and (width == group.width or width % settings.round_to == 0)
        assert cost["params"].value == count(teacher.plan(decision)).params
        joins = {op.name for op in teacher.teacher if op.kind == "add"} & decision.removed
        assert bool(joins) == ("blocks" in search)
