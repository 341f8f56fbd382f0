"""Whether a budget can be met: bounds against every student there is, and proofs that hold."""

from __future__ import annotations

import itertools
import random
import re
from functools import cache

import pytest
import torch
import torch.nn.functional as F
from networks import Mixed, Plain, planner_of, random_decision, seeded
from torch import nn

from hwn2n.budget.load import load_budget
from hwn2n.budget.matrix import Constraints
from hwn2n.errors import BudgetNotMetError
from hwn2n.network.architecture import IllegalArchitectureError
from hwn2n.network.capture import capture
from hwn2n.network.counts import count
from hwn2n.network.decision import Decision
from hwn2n.network.layers import find_layers
from hwn2n.network.operators import OPERATORS, rule
from hwn2n.network.planner import Planner
from hwn2n.search.bounds import follow, intervals
from hwn2n.search.bounds.costs import COLUMNS, QUANTITIES, cost_bounds
from hwn2n.search.bounds.program import Possible
from hwn2n.search.bounds.proof import Limit, prove
from hwn2n.search.choices.actions import SHRINK_VALUES, smaller_kernel
from hwn2n.search.fitting.projection import counted_cost
from hwn2n.search.reach import check_reachable, smallest_student
from hwn2n.search.recipes import build_settings


class Chain(nn.Module):
    """Three removable convolutions, a pooling and a classifier: 1,131 parameters."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 8, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(8)
        self.conv2 = nn.Conv2d(8, 8, 3, padding=1)
        self.pool = nn.MaxPool2d(2)
        self.conv3 = nn.Conv2d(8, 6, 3, padding=1)
        self.classifier = nn.Linear(6, 3)

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        x = F.relu(self.conv3(self.pool(F.relu(self.conv2(x)))))
        return self.classifier(x.mean((2, 3)))


class Excited(nn.Module):
    """Squeeze and excitation: a product that stretches (C, 1, 1); a convolution without padding."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.squeeze = nn.Conv2d(8, 4, 1)
        self.excite = nn.Conv2d(4, 8, 1)
        self.last = nn.Conv2d(8, 6, 3)
        self.head = nn.Linear(6, 5)

    def forward(self, x):
        x = F.relu(self.conv(x))
        gate = self.excite(F.relu(self.squeeze(F.adaptive_avg_pool2d(x, 1))))
        return self.head(self.last(x * torch.sigmoid(gate)).mean((2, 3)))


class Strided(nn.Module):
    """Strides inside both branches of a sum, pooling with ceil_mode, a flattened classifier."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.left1 = nn.Conv2d(8, 12, 3, stride=2, padding=1)
        self.left2 = nn.Conv2d(12, 12, 3, padding=1)
        self.right = nn.Conv2d(8, 12, 1, stride=2)
        self.pool = nn.MaxPool2d(3, 2, 1, ceil_mode=True)
        self.hidden = nn.Linear(108, 9)
        self.head = nn.Linear(9, 5)

    def forward(self, x):
        x = F.relu(self.stem(x))
        x = F.relu(self.left2(F.relu(self.left1(x))) + self.right(x))
        return self.head(F.relu(self.hidden(self.pool(x).flatten(1))))


class Grouped(nn.Module):
    """A grouped convolution, which loses whole groups, and with them what they read."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 8, 5)
        self.grouped = nn.Conv2d(8, 8, 3, padding=1, groups=2)
        self.last = nn.Conv2d(8, 7, 3)
        self.head = nn.Linear(7, 5)

    def forward(self, x):
        return self.head(F.relu(self.last(self.grouped(self.first(x)))).mean((2, 3)))


class Tied(nn.Module):
    """One convolution used twice."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.twice = nn.Conv2d(8, 8, 3, padding=1)
        self.last = nn.Conv2d(8, 6, 3, padding=1)
        self.head = nn.Linear(6, 5)

    def forward(self, x):
        x = F.relu(self.twice(F.relu(self.twice(F.relu(self.first(x))))))
        return self.head(F.relu(self.last(x)).mean((2, 3)))


class Dense(nn.Module):
    """Concatenations of concatenations, and a scale of fixed size that freezes its channels."""

    def __init__(self):
        super().__init__()
        self.a = nn.Conv2d(3, 4, 3, padding=1)
        self.b = nn.Conv2d(4, 3, 3, padding=1)
        self.c = nn.Conv2d(7, 3, 3, padding=1)
        self.mix = nn.Conv2d(10, 6, 1)
        self.pool = nn.AvgPool2d(2)
        self.scale = nn.Parameter(torch.ones(1, 6, 1, 1))
        self.head = nn.Linear(6, 5)

    def forward(self, x):
        x = self.a(x)
        x = torch.cat([x, F.relu(self.b(x))], 1)
        x = torch.cat([x, F.relu(self.c(x))], 1)
        return self.head((self.pool(self.mix(x)) * self.scale).mean((2, 3)))


class Tokens(nn.Module):
    """Patches with a linear block on three dimensions, and operators without a rule."""

    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 4, stride=4)
        self.up = nn.Linear(8, 16)
        self.down = nn.Linear(16, 8)
        self.norm = nn.BatchNorm1d(8)
        self.head = nn.Linear(8, 5)

    def forward(self, x):
        x = self.patches(x).flatten(2).transpose(1, 2)
        return self.head(self.norm((x + self.down(F.gelu(self.up(x)))).mean(1)))


class Mid(nn.Module):
    """Layer normalisation of whole images, which has no rule: before it all is frozen."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.LayerNorm([8, 8, 8])
        self.last = nn.Conv2d(8, 4, 3, padding=1)
        self.head = nn.Conv2d(4, 5, 1)

    def forward(self, x):
        x = self.last(self.norm(F.relu(self.first(x))))
        return self.head(torch.cat([x, x], 1)[:, :4] + x).mean((2, 3))


NETS = {
    "chain": (Chain, (1, 8, 8)),
    "plain": (Plain, (3, 8, 8)),
    "mixed": (Mixed, (3, 8, 8)),
    "excited": (Excited, (3, 9, 9)),
    "strided": (Strided, (3, 7, 7)),
    "grouped": (Grouped, (3, 12, 12)),
    "tied": (Tied, (3, 8, 8)),
    "dense": (Dense, (3, 8, 8)),
    "tokens": (Tokens, (3, 8, 8)),
    "mid": (Mid, (3, 8, 8)),
}
SEARCHES = {
    "fast": build_settings("fast", {"granularity": "unit"}),
    "paper": build_settings("paper"),
    "operators": build_settings("fast", {"granularity": "operator"}),
    "no shrinkage": build_settings("paper", {"shrinkage.updates": 0}),
    "only projection": build_settings("fast", {"granularity": "unit", "shrinkage.updates": 0}),
    "no removal": build_settings("paper", {"removal.updates": 0}),
}


@cache
def planner(net):
    make, shape = NETS[net]
    return Planner(capture(seeded(make), shape).architecture)


def removable(teacher, settings):
    if not settings.removal.updates:
        return []
    return [layer for layer in find_layers(teacher, settings.granularity) if layer.removable]


def decisions(teacher, settings, removed, rng, random_ones):
    """The extreme decisions after a removal, and some between them."""
    architecture, channels = teacher.left(removed)
    shrinks = bool(settings.shrinkage.updates)

    def least(group):
        if settings.project:
            return settings.widths.least(group)
        return settings.widths.nearest(group, SHRINK_VALUES[0]) if shrinks else group.width

    def kernels(share):
        sizes = {}
        for op in architecture:
            if shrinks and rule(op).has_kernel:
                height, width = op.config["kernel_size"]
                same = op.config.get("tied_to")
                chosen = share()
                size = (smaller_kernel(height, chosen), smaller_kernel(width, chosen))
                sizes[op.name] = sizes.get(same, size)
        return sizes

    free = {name: group for name, group in channels.groups.items() if not group.frozen}
    whole = {name: group.width for name, group in free.items()}
    for share in (SHRINK_VALUES[0], 1.0):
        yield Decision(removed, {n: least(g) for n, g in free.items()}, kernels(lambda s=share: s))
        yield Decision(removed, whole, kernels(lambda s=share: s))
    for _ in range(random_ones):
        chosen = {
            name: settings.widths.at_most(group, rng.randint(least(group), group.width))
            for name, group in free.items()
        }
        yield Decision(removed, chosen, kernels(lambda: rng.choice(SHRINK_VALUES)))


@cache
def students(net, search, most=20, random_ones=1):
    """(removed, counted cost) of legal students: of all removals, or of `most` random ones."""
    teacher, settings, rng = planner(net), SEARCHES[search], random.Random(net + search)
    layers = removable(teacher, settings)
    choices = list(itertools.product([True, False], repeat=len(layers)))
    if len(choices) > most:
        choices = rng.sample(choices, most)
    found = []
    for kept in choices:
        pairs = list(zip(layers, kept, strict=True))
        removed = frozenset(name for layer, k in pairs if not k for name in layer.operations)
        try:
            made = list(decisions(teacher, settings, removed, rng, random_ones))
        except IllegalArchitectureError:
            continue
        for decision in made:
            try:
                cost = counted_cost(teacher.plan(decision))
            except IllegalArchitectureError:
                continue
            values = {name: reading.value for name, reading in cost.items()}
            found.append((removed, values, cost))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("search", SEARCHES)
@pytest.mark.parametrize("net", NETS)
def test_many_students_are_inside_the_bounds_and_points_of_the_program(net, search):
    """As the tests below, with more students; each by itself is a point that nothing excludes."""
    teacher, settings = planner(net), SEARCHES[search]
    found = students(net, search, 400, 6)
    bounds = cost_bounds(teacher, settings, projects=settings.project)
    inside_the_bounds(bounds, found)
    rng, whole = random.Random(net), count(teacher.teacher).params
    for _, values, _ in rng.sample(found, min(20, len(found))):
        exactly = [
            Limit(dict.fromkeys(QUANTITIES, 0.0) | {quantity: sign}, sign * value)
            for quantity, value in quantities(values).items()
            for sign in (1.0, -1.0)
        ]
        units = quantities({n: r.value for n, r in counted_cost(teacher.teacher).items()})
        assert isinstance(prove(bounds, exactly, units), Possible)
    for _ in range(40):
        rows = random_limits(rng, found)
        inside = any(c["params"] <= whole and rows.satisfied(cost) for _, c, cost in found)
        try:
            check_reachable(teacher, settings, rows)
        except BudgetNotMetError as error:
            assert not inside, str(error)


def quantities(values):
    buffers = values["weight_bytes"] - 4 * values["params"]
    return {"params": values["params"], "flops": values["flops"], "buffer_bytes": buffers}


def inside_the_bounds(bounds, found):
    assert len(found) >= 4
    for removed, values, _ in found:
        for column in COLUMNS:
            low, high = bounds.column(column, removed)
            assert low <= values[column] <= high


def test_every_kind_of_operator_has_bounds():
    assert follow.RULES.keys() == intervals.RULES.keys() == OPERATORS.keys()


@pytest.mark.parametrize("search", SEARCHES)
@pytest.mark.parametrize("net", NETS)
def test_no_student_is_outside_the_bounds(net, search):
    settings = SEARCHES[search]
    bounds = cost_bounds(planner(net), settings, projects=settings.project)
    inside_the_bounds(bounds, students(net, search))


@pytest.mark.parametrize("arch", ["digits-cnn", "resnet20"])
def test_random_students_of_the_papers_teachers_are_inside_the_bounds(arch):
    teacher = planner_of(arch, 8 if arch == "digits-cnn" else 32)
    settings, rng, legal = SEARCHES["fast"], random.Random(0), 0
    bounds = cost_bounds(teacher, settings, projects=True)
    for _ in range(20):
        try:
            decision = random_decision(teacher, rng)
            cost = counted_cost(teacher.plan(decision))
        except IllegalArchitectureError:
            continue
        legal += 1
        for column in COLUMNS:
            low, high = bounds.column(column, decision.removed)
            assert low <= cost[column].value <= high
    assert legal >= 5


def parts(net, search):
    bounds = cost_bounds(planner(net), SEARCHES[search], projects=SEARCHES[search].project)
    return {part.name: part for part in bounds.parts}


def test_bounds_by_hand():
    """The smallest student of a chain is its classifier on one channel of the image."""
    bounds = cost_bounds(planner("chain"), SEARCHES["fast"], projects=True)
    everything = {name for part in bounds.parts for name in part.operations}
    assert [bounds.column(c, everything)[0] for c in COLUMNS] == [3 * (1 + 1), 3 * 1, 4 * 6]
    chain = parts("chain", "fast")
    assert {name for name, part in chain.items() if part.operations} == {
        "conv1",
        "conv2",
        "pool",
        "conv3",
    }
    # conv1 makes at least one channel by a 1x1 kernel at 8x8, and normalises it.
    conv1 = chain["conv1"]
    assert conv1.params == (1 + 2, 8 * 9 + 2 * 8)
    assert conv1.flops == (64 + 2 * 64, 64 * 8 * 9 + 2 * 8 * 64)
    assert conv1.buffer_bytes == (8 + 8, 8 * 8 + 8)
    assert (conv1.positions, conv1.idle, conv1.free) == ((64, 64), 0, 0)
    # Without the pooling conv3 sees 8x8 instead of 4x4; its biases are no multipliers.
    conv3 = chain["conv3"]
    assert conv3.flops == (16, 64 * 6 * 8 * 9)
    assert (conv3.positions, conv3.idle, conv3.free) == ((16, 64), 6, 0)
    # The search of the paper keeps a tenth of the outputs, here of 16 pixels and a bias.
    assert parts("plain", "paper")["fc1"].params[0] == 2 * (16 + 1)
    # A convolution that is used twice has its weights once.
    assert parts("tied", "fast")["twice_1"].params == (0, 0)
    assert parts("tied", "fast")["twice_1"].free == 64 * 8 * 8 * 9


def test_widths_that_never_change_are_not_shrunk():
    # The first convolution feeds layer normalisation of 8 channels: only its kernel can shrink.
    assert parts("mid", "fast")["first"].params[0] == 8 * (3 + 1)
    # A grouped convolution keeps one of its two groups at least, and so does who reads it.
    grouped = parts("grouped", "no removal")
    assert grouped["grouped"].params[0] == 4 * (4 + 1)
    assert grouped["last"].params[0] == 1 * (4 + 1)
    assert grouped["head"].params[0] == 5 * (1 + 1)


def limits(*rows):
    return load_budget({"apiVersion": "hwn2n/v1", "name": "t", "constraints": list(rows)}).resolve(
        {}
    )


def random_limits(rng, found):
    """One to three rows whose limits lie about what students cost, and beyond."""
    rows = []
    for _ in range(rng.randint(1, 3)):
        column = rng.choice(list(COLUMNS))
        values = sorted(values[column] for _, values, _ in found)
        value = rng.choice([values[0], values[-1], *rng.choices(values, k=3)])
        limit = int(value * rng.choice([0.3, 0.9, 0.999, 1, 1.001, 1.1, 3])) + 1
        unit = "B" if column == "weight_bytes" else ""
        kind = rng.random()
        if kind < 0.6:
            rows.append({"metric": column, "max": f"{limit}{unit}"})
        elif kind < 0.85:
            rows.append({"metric": column, "min": f"{limit}{unit}"})
        else:
            scales = [max(1, values[0]) for _ in "ab"]
            terms = [
                {"metric": "params", "coef": 0.5, "scale": int(scales[0])},
                {"metric": "flops", "coef": 0.5, "scale": int(scales[1] * rng.choice([1, 10]))},
            ]
            rows.append({"sum": terms, "max": rng.choice([0.4, 1, 2, 5])})
    return limits(*rows)


@pytest.mark.parametrize("search", ["fast", "paper"])
@pytest.mark.parametrize("net", ["chain", "plain", "mixed", "strided", "grouped", "dense"])
def test_what_is_refused_has_no_student(net, search):
    teacher, settings, found = planner(net), SEARCHES[search], students(net, search)
    whole, rng, refused, open_ = count(teacher.teacher).params, random.Random(net), 0, 0
    for _ in range(15):
        rows = random_limits(rng, found)
        inside = any(c["params"] <= whole and rows.satisfied(cost) for _, c, cost in found)
        try:
            open_ += check_reachable(teacher, settings, rows) is not None and not inside
        except BudgetNotMetError as error:
            refused += 1
            assert not inside, str(error)
            assert "which is proven" in str(error) and "\n" not in str(error)
    assert refused and open_ < 10


def refusal(net, rows, search="fast"):
    with pytest.raises(BudgetNotMetError) as caught:
        check_reachable(planner(net), SEARCHES[search], limits(*rows))
    return str(caught.value)


def test_a_refusal_names_the_row_and_what_is_needed():
    text = refusal("chain", [{"metric": "flops", "max": "1M"}, {"metric": "params", "max": 5}])
    assert text == (
        "no student can be inside the budget, which is proven: params <= 5 (budget: "
        "constraints[1]), but every student has at least 6; nothing was trained"
    )
    text = refusal("chain", [{"metric": "weight_bytes", "max": "23B"}])
    assert "every student has at least 24 bytes;" in text
    text = refusal("chain", [{"sum": [{"metric": "params", "coef": 2, "scale": 1}], "max": 5}])
    assert "every student has at least 12;" in text


def test_a_lower_limit_is_proven_too():
    text = refusal("chain", [{"metric": "flops", "min": "1M"}])
    # all layers without the pooling: 64 positions everywhere
    most = 64 * (8 * 9 + 2 * 8 + 8 * 8 * 9 + 8 * 6 * 9) + 3 * 8
    assert "flops >= 1M" in text and f"every student has at most {most:,};" in text


def test_a_student_has_no_more_parameters_than_its_teacher():
    """Without its pooling the flattened classifier would have four times the inputs."""
    teacher = planner("plain")
    whole = count(teacher.teacher).params
    text = refusal("plain", [{"metric": "params", "min": whole + 1}])
    assert (
        f"every student with at most the teacher's {whole:,} params has at most {whole:,}" in text
    )


def test_rows_that_exclude_each_other_are_named_without_the_others():
    rows = [
        {"metric": "weight_bytes", "max": "1MB"},
        {"metric": "params", "min": 1000},
        {"metric": "flops", "max": 100},
        {"metric": "flops", "min": 3},
    ]
    text = refusal("chain", rows)
    assert "proven: flops <= 100" in text and "every student with params >= 1000" in text
    assert "weight_bytes" not in text and "flops >= 3" not in text
    # One limit alone or three of four rows are met.
    for left_out in (1, 2):
        rest = [row for i, row in enumerate(rows) if i != left_out]
        assert check_reachable(planner("chain"), SEARCHES["fast"], limits(*rest)) is None


def test_rows_between_which_there_is_a_gap():
    """With `up` or `down` there are at least 525 parameters, without both 453: half is none."""
    rows = [{"metric": "params", "max": 520}, {"metric": "params", "min": 460}]
    text = refusal("tokens", rows, "no shrinkage")
    assert re.search(r"params <= 520 .*, params >= 460 .* exclude each other; nothing was", text)
    values = {values["params"] for _, values, _ in students("tokens", "no shrinkage")}
    assert not [value for value in values if 453 < value < 525] and len(values) > 1


def test_a_search_that_takes_too_long_leaves_the_question_open(monkeypatch):
    rows = limits({"metric": "params", "max": 520}, {"metric": "params", "min": 460})
    monkeypatch.setattr("hwn2n.search.bounds.program._NODES", 2)
    text = check_reachable(planner("tokens"), SEARCHES["no shrinkage"], rows)
    assert text is not None and text.startswith("nobody knows")


def test_tolerance_is_part_of_a_row():
    row = {"metric": "params", "max": 5, "tolerance": "20%"}
    assert check_reachable(planner("chain"), SEARCHES["fast"], limits(row)) is None
    text = refusal("chain", [{**row, "tolerance": "19%"}])
    assert "every student has at least 6" in text


def test_what_is_met_needs_no_program(monkeypatch):
    monkeypatch.setattr("hwn2n.search.reach.prove", lambda *_: pytest.fail("asked for a proof"))
    teacher, settings = planner("mixed"), SEARCHES["fast"]
    least = smallest_student(teacher, settings, limits({"metric": "params", "max": 60}))[1]
    for rows in (
        Constraints(rows=()),
        limits({"metric": "params", "max": "1M"}),
        limits({"metric": "params", "max": int(least["params"].value)}),
    ):
        assert check_reachable(teacher, settings, rows) is None


def test_a_budget_between_the_smallest_and_the_teacher():
    """Neither the teacher nor the smallest student is inside, but a scaled one is."""
    rows = limits({"metric": "params", "max": 500}, {"metric": "params", "min": 450})
    for search in ("fast", "paper"):
        assert check_reachable(planner("chain"), SEARCHES[search], rows) is None


def test_what_nobody_knows_is_a_warning_and_no_refusal():
    """No student of the tests has fewer than 30 parameters, but the bounds leave room for 10."""
    assert min(values["params"] for _, values, _ in students("plain", "operators")) >= 30
    rows = limits({"metric": "params", "max": 20})
    text = check_reachable(planner("plain"), SEARCHES["fast"], rows)
    assert text is not None and "\n" not in text
    assert text.startswith("nobody knows whether a student can be inside the budget: the smallest")
    assert "where params <= 20" in text and text.endswith("the search goes on")


class Valid(nn.Module):
    """No padding, and a crop: smaller kernels leave images that the crop's reader refuses."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        self.norm = nn.LayerNorm([6, 6])
        self.head = nn.Linear(8, 5)

    def forward(self, x):
        return self.head(self.norm(self.conv(x)).mean((2, 3)))


def test_kernels_that_cannot_shrink_do_not_stop_the_walk():
    teacher = Planner(capture(seeded(Valid), (3, 8, 8)).architecture)
    rows = limits({"metric": "params", "max": 1})
    decision, cost = smallest_student(teacher, SEARCHES["fast"], rows)
    assert not decision.kernels and cost["params"].value <= count(teacher.teacher).params
    with pytest.raises(BudgetNotMetError, match="proven"):
        check_reachable(teacher, SEARCHES["fast"], rows)
