"""What few networks do: images folded into the batch, fixed filters, names that graphs have."""

import random

import pytest
import torch
import torch.nn.functional as F
from networks import images, random_decision, seeded
from structures import Net, conv, pooled
from torch import nn

from hwn2n.errors import InputError
from hwn2n.hardware.counts import count as counted_by_fvcore
from hwn2n.network.architecture import IllegalArchitectureError
from hwn2n.network.capture import capture
from hwn2n.network.counts import count
from hwn2n.network.decision import NOTHING, Decision
from hwn2n.network.files.teacher import check_classifier
from hwn2n.network.inherit import Inheritance, fresh_weights
from hwn2n.network.layers import find_layers
from hwn2n.network.module import instantiate_with
from hwn2n.network.planner import Planner

SHAPE = (3, 8, 8)


def tiles_in_the_batch():
    """Four tiles of each image are images of their own for one layer."""

    def forward(m, x):
        x = m.stem(x)
        n, c, h, w = x.shape
        x = x.view(n, c, 2, h // 2, 2, w // 2).permute(0, 2, 4, 1, 3, 5)
        x = F.relu(m.inner(x.reshape(n * 4, c, h // 2, w // 2)))
        x = x.view(n, 2, 2, 8, h // 2, w // 2).permute(0, 3, 1, 4, 2, 5)
        return pooled(x.reshape(n, 8, h, w))

    return Net(forward, stem=conv(3, 8), inner=conv(8, 8), head=nn.Linear(8, 5))


def halves_in_the_batch():
    """The logits are the mean over two halves of each image."""

    def forward(m, x):
        n = x.shape[0]
        x = torch.stack([x[:, :, :4], x[:, :, 4:]], 1).flatten(0, 1)
        x = pooled(F.relu(m.out(F.relu(m.stem(x)))))
        return m.fc(x).view(n, 2, 6).mean(1)

    return Net(forward, stem=conv(3, 8), out=conv(8, 6), fc=nn.Linear(6, 6), head=nn.Linear(6, 5))


class FixedFilter(nn.Module):
    """The same blur of every channel, which nobody learns."""

    def __init__(self):
        super().__init__()
        line = torch.tensor([1.0, 2.0, 1.0]) / 4
        self.register_buffer("filter", (line[:, None] * line).repeat(8, 1, 1, 1))

    def forward(self, x):
        return F.conv2d(x, self.filter, stride=2, padding=1, groups=8)


def blurred():
    return Net(
        lambda m, x: pooled(F.relu(m.out(m.blur(F.relu(m.stem(x)))))),
        stem=conv(3, 8),
        blur=FixedFilter(),
        out=conv(8, 6),
        head=nn.Linear(6, 5),
    )


def gated_by_one_channel():
    """What has one channel gates what no operator knows the channels of."""

    def forward(m, x):
        stem = m.stem(x)
        n, _, h, w = stem.shape
        summed = torch.cumsum((stem * stem).view(n, 2, 4, h, w), 1).reshape(n, 8, h, w)
        joined = torch.cat([summed * m.gate(x).sigmoid(), F.relu(m.side(x))], 1)
        return pooled(F.relu(m.out(joined)))

    layers = {"stem": conv(3, 8), "gate": conv(3, 1), "side": conv(3, 6), "out": conv(14, 6)}
    return Net(forward, **layers, head=nn.Linear(6, 5))


def attended():
    """Means and maxima over places and over channels, and what a gate leaves over."""

    def forward(m, x):
        x = F.relu(m.stem(x))
        both = torch.cat([x.mean(1, keepdim=True), x.max(1, keepdim=True)[0]], 1)
        gate = m.where(both).sigmoid()
        x = F.relu(m.out(gate * x + (1 - gate) * m.side(x)))
        pools = F.adaptive_avg_pool2d(x, 1), F.adaptive_max_pool2d(x, 1)
        return torch.cat(pools, 1).flatten(1)

    layers = {"stem": conv(3, 8), "where": conv(2, 1), "side": conv(8, 8), "out": conv(8, 6)}
    return Net(forward, **layers, head=nn.Linear(12, 5))


@pytest.mark.parametrize(
    "make", [tiles_in_the_batch, halves_in_the_batch, blurred, gated_by_one_channel, attended]
)
def test_students_run_and_cost_what_is_counted(make):
    model = seeded(make)
    captured = capture(model, SHAPE)
    planner, x, rng = Planner(captured.architecture), images(SHAPE, 3), random.Random(0)
    with torch.no_grad():
        torch.testing.assert_close(captured.module()(x), model(x), rtol=0, atol=1e-6)
    built = 0
    for decision in [NOTHING, *(random_decision(planner, rng) for _ in range(15))]:
        try:
            plan = planner.plan(decision)
        except IllegalArchitectureError:
            continue
        weights = Inheritance(captured, planner).weights(plan, decision, seed=0)
        student = instantiate_with(plan, weights)
        assert student(x).shape == (3, 5)
        counts, real = count(plan), counted_by_fvcore(student, images(SHAPE, 1))
        assert (counts.params, counts.flops) == (real.params, real.flops)
        built += 1
    assert built > 5


def test_maxima_and_what_a_gate_leaves_over_tie_nothing():
    planner = Planner(capture(seeded(attended), SHAPE).architecture)
    assert set(planner.channels.free) == {"stem", "where", "out"}, "the sum ties side to stem"


def test_a_removal_never_makes_more_of_a_view():
    """Rows are folded into channels two by two: of twice as many rows nobody knows by how many."""

    def forward(m, x):
        x = F.relu(m.tall(F.relu(m.stem(x))))
        n, c, h, w = x.shape
        x = x.view(n, c, h // 2, 2, w).permute(0, 1, 3, 2, 4).reshape(n, 2 * c, h // 2, w)
        return pooled(F.relu(m.out(x)))

    def make():
        tall = nn.Conv2d(8, 8, 3, stride=(2, 1), padding=1)
        layers = {"stem": conv(3, 8), "tall": tall, "out": conv(16, 6)}
        return Net(forward, **layers, head=nn.Linear(6, 5))

    planner = Planner(capture(seeded(make), SHAPE).architecture)
    with pytest.raises(IllegalArchitectureError, match="must read shape"):
        planner.plan(Decision(removed=frozenset({"tall"})))


def test_a_fixed_filter_stays_fixed():
    model = seeded(blurred)
    captured = capture(model, SHAPE)
    planner = Planner(captured.architecture)
    plan = planner.plan(NOTHING)
    student = instantiate_with(plan, Inheritance(captured, planner).weights(plan, NOTHING, seed=0))
    learned = sum(p.numel() for p in model.parameters())
    assert count(plan).params == sum(p.numel() for p in student.parameters()) == learned
    assert sorted(planner.free_kernels()) == ["out", "stem"]


@pytest.mark.parametrize("name", ["graph", "code", "meta", "_graph", "class", "add_submodule"])
def test_modules_may_have_names_that_graphs_have(name):
    class Named(nn.Module):
        def __init__(self):
            super().__init__()
            self.add_module(name, conv(3, 6))
            self.inner = nn.ModuleDict({name: conv(6, 6)})
            self.head = nn.Linear(6, 5)

        def forward(self, x):
            x = F.relu(self.inner[name](F.relu(self._modules[name](x))))
            return self.head(pooled(x))

    model, x = seeded(Named), images(SHAPE)
    with torch.no_grad():
        assert torch.equal(capture(model, SHAPE).module()(x), model(x))


def test_halves_keep_the_same_channels_where_groups_between_them_are_gone():
    def forward(m, x):
        first, second = F.relu(m.stem(x)).chunk(2, 1)
        return pooled(F.relu(m.out(torch.cat([first, F.relu(m.grouped(second))], 1))))

    def make():
        layers = {"stem": conv(3, 12), "grouped": conv(6, 6, groups=3), "out": conv(12, 6)}
        return Net(forward, **layers, head=nn.Linear(6, 5))

    captured = capture(seeded(make), SHAPE)
    planner = Planner(captured.architecture)
    gone = next(layer for layer in find_layers(planner) if layer.name == "grouped")
    inheritance = Inheritance(captured, planner)

    def inherited(**widths):
        decision = Decision(removed=frozenset(gone.operations), widths=widths)
        return inheritance.weights(planner.plan(decision), decision, seed=0)

    whole = inherited()["out.weight"]
    for width in range(2, 13, 2):
        weights = inherited(stem=width)
        rows = [_place(captured.weights["stem.weight"], row) for row in weights["stem.weight"]]
        columns = weights["out.weight"].unbind(1)
        assert rows == [_place(whole.transpose(0, 1), column) for column in columns]


def _place(rows, wanted):
    return next(i for i, row in enumerate(rows) if torch.equal(row, wanted))


def normalised():
    """Normalises its images itself."""

    class Normalised(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("mean", torch.full((1, 3, 1, 1), 0.5))
            self.register_buffer("std", torch.full((1, 3, 1, 1), 0.25))

        def forward(self, x):
            return (x - self.mean) / self.std

    return Net(
        lambda m, x: pooled(F.relu(m.stem(m.normal(x)))),
        normal=Normalised(),
        stem=conv(3, 8),
        head=nn.Linear(8, 5),
    )


@pytest.mark.parametrize("make", [normalised, blurred])
def test_fresh_weights_leave_what_is_fixed(make):
    captured = capture(seeded(make), SHAPE)
    planner = Planner(captured.architecture)
    decision = Decision(widths={"stem": 4} if make is normalised else {})
    plan = planner.plan(decision)
    fixed = Inheritance(captured, planner).fixed(plan, decision)
    student = instantiate_with(plan, fresh_weights(plan, seed=0) | fixed)
    held = [value for name, value in student.named_buffers() if name in fixed]
    assert held and all(value.abs().min() > 0 for value in held)
    logits = student(images(SHAPE))
    assert logits.isfinite().all() and len(logits[:, 0].unique()) > 1


def test_a_graph_that_fails_on_images_is_one_line(capsys):
    graph = torch.fx.symbolic_trace(nn.Sequential(conv(3, 4), nn.Flatten(), nn.Linear(7, 5)))
    with pytest.raises(InputError, match=r"bad\.pt2: the teacher must accept images"):
        check_classifier(graph, SHAPE, None, "bad.pt2")
    assert capsys.readouterr().err == ""
