"""Channels that come in groups, sections and blocks: what is kept where, and how much there is."""

import pytest
import torch
import torch.nn.functional as F
from networks import images, seeded
from torch import nn

from hwn2n.hardware.counts import count as counted_by_fvcore
from hwn2n.network.capture import capture
from hwn2n.network.decision import Decision
from hwn2n.network.inherit import Inheritance
from hwn2n.network.module import instantiate_with
from hwn2n.network.planner import Planner, count

SHAPE = (3, 8, 8)


class Net(nn.Module):
    """Layers by keyword and a forward pass of (them, images); `head` makes 5 logits."""

    def __init__(self, function, **layers):
        super().__init__()
        for name, layer in layers.items():
            setattr(self, name, layer)
        self.function = function

    def forward(self, x):
        return self.head(self.function(self, x))


def conv(*args, **kwargs):
    return nn.Conv2d(*args, 3, padding=1, **kwargs)


def pooled(x):
    return x.mean((2, 3))


def grouped():
    return Net(
        lambda m, x: pooled(F.relu(m.norm(m.grouped(F.relu(m.stem(x)))))),
        stem=conv(3, 12),
        grouped=conv(12, 24, groups=4),
        norm=nn.BatchNorm2d(24),
        head=nn.Linear(24, 5),
    )


def multiplied():
    return Net(
        lambda m, x: pooled(F.relu(m.depthwise(m.stem(x)))),
        stem=conv(3, 4),
        depthwise=conv(4, 12, groups=4),
        head=nn.Linear(12, 5),
    )


def split_and_added():
    def forward(m, x):
        first, second, third = m.stem(x).relu().split(4, 1)
        second = second + F.relu(m.inner(first))
        return pooled(m.out(torch.cat([first, second, third], 1)))

    return Net(forward, stem=conv(3, 12), inner=conv(4, 4), out=conv(12, 6), head=nn.Linear(6, 5))


def shuffled():
    def forward(m, x):
        x = torch.cat([m.left(x), m.right(x)], 1)
        keep, change = _shuffle(x).chunk(2, 1)
        x = _shuffle(torch.cat([keep, m.norm(m.depthwise(m.inner(change)))], 1))
        return pooled(m.out(F.relu(x)))

    return Net(
        forward,
        left=conv(3, 8),
        right=conv(3, 8),
        inner=conv(8, 8),
        depthwise=conv(8, 8, groups=8),
        norm=nn.BatchNorm2d(8),
        out=conv(16, 6),
        head=nn.Linear(6, 5),
    )


def _shuffle(x):
    batch, channels, height, width = x.shape
    x = x.view(batch, 2, channels // 2, height, width).transpose(1, 2).contiguous()
    return x.view(batch, channels, height, width)


def group_normalised():
    return Net(
        lambda m, x: pooled(m.again(F.relu(m.norm(m.stem(x)))).relu()),
        stem=conv(3, 12),
        norm=nn.GroupNorm(4, 12),
        again=conv(12, 6),
        head=nn.Linear(6, 5),
    )


def upsampled():
    return Net(
        lambda m, x: pooled(F.interpolate(F.relu(m.up(m.stem(x))), scale_factor=2.0)),
        stem=conv(3, 6),
        up=nn.ConvTranspose2d(6, 8, 3, 2, 1, output_padding=1),
        head=nn.Linear(8, 5),
    )


def excited():
    def forward(m, x):
        x = m.stem(x)
        weights = m.up(F.relu(m.down(x.mean((2, 3))))).sigmoid().view(x.shape[0], -1, 1, 1)
        return pooled(x * weights.expand_as(x))

    return Net(
        forward, stem=conv(3, 8), down=nn.Linear(8, 4), up=nn.Linear(4, 8), head=nn.Linear(8, 5)
    )


def scaled_last():
    def forward(m, x):
        x = m.stem(x)
        y = m.narrow(F.gelu(m.wide(m.depthwise(x).permute(0, 2, 3, 1))))
        return pooled(x + (y * m.gamma).permute(0, 3, 1, 2))

    net = Net(
        forward,
        stem=conv(3, 6),
        depthwise=conv(6, 6, groups=6),
        wide=nn.Linear(6, 24),
        narrow=nn.Linear(24, 6),
        head=nn.Linear(6, 5),
    )
    net.gamma = nn.Parameter(torch.linspace(0.5, 1.5, 6))
    return net


class Standardised(nn.Conv2d):
    """As in NF-Nets: filters of mean 0 and variance 1, times a gain."""

    def __init__(self, inputs, outputs):
        super().__init__(inputs, outputs, 3, padding=1)
        self.gain = nn.Parameter(torch.linspace(0.5, 1.5, outputs).view(-1, 1, 1, 1))
        self.scale = 1.7 * self.weight[0].numel() ** -0.5

    def forward(self, x):
        scale = (self.gain * self.scale).view(-1)
        rows = self.weight.reshape(1, self.out_channels, -1)
        rows = F.batch_norm(rows, None, None, scale, training=True, momentum=0.0, eps=1e-6)
        return F.conv2d(x, rows.reshape_as(self.weight), self.bias, 1, 1)


def standardised():
    return Net(
        lambda m, x: pooled(m.second(F.relu(m.first(x)))),
        first=Standardised(3, 6),
        second=Standardised(6, 8),
        head=nn.Linear(8, 5),
    )


def selected():
    """Selective kernels: two branches, weighed by a softmax over them."""

    def forward(m, x):
        branches = torch.stack([m.left(x), m.right(x)], 1)
        weights = m.choose(branches.sum(1).mean((2, 3), keepdim=True))
        weights = weights.view(x.shape[0], 2, 6, 1, 1).softmax(1)
        return pooled((branches * weights).sum(1))

    return Net(forward, left=conv(3, 6), right=conv(3, 6), choose=conv(6, 12), head=nn.Linear(6, 5))


def attended():
    """A filter that slides over the channels, and a mean over them."""

    def forward(m, x):
        x = m.stem(x).relu()
        y = m.slide(x.mean((2, 3)).view(x.shape[0], 1, -1)).sigmoid()
        x = x * y.view(x.shape[0], -1, 1, 1)
        return pooled(x / (1 + x.mean(1, keepdim=True)))

    return Net(forward, stem=conv(3, 8), slide=nn.Conv1d(1, 1, 3, padding=1), head=nn.Linear(8, 5))


# name -> network, widths that it is given, and how its groups are (width, step)
NETWORKS = {
    "grouped": (grouped, {"stem": 6}, {"stem": (12, 3)}),
    "depthwise with a multiplier": (multiplied, {"stem": 3}, {"stem": (4, 1)}),
    "split and added": (split_and_added, {"stem": 6, "out": 4}, {"stem": (12, 3), "out": (6, 1)}),
    "shuffled": (shuffled, {"left": 4, "out": 3}, {"left": (8, 1), "out": (6, 1)}),
    "groups normalised": (group_normalised, {"stem": 6}, {"stem": (12, 3), "again": (6, 1)}),
    "upsampled": (upsampled, {"stem": 4, "up": 5}, {"stem": (6, 1), "up": (8, 1)}),
    "excited": (excited, {"stem": 5, "down": 2}, {"stem": (8, 1), "down": (4, 1)}),
    "standardised": (standardised, {"second": 5}, {"first": (6, 1), "second": (8, 1)}),
    "selected": (selected, {"left": 4}, {"left": (6, 1)}),
    "attended": (attended, {"stem": 8}, {"stem": (8, 1)}),
    "scaled last": (scaled_last, {"stem": 4, "wide": 9}, {"stem": (6, 1), "wide": (24, 1)}),
}


def masked(captured, planner, decision):
    """The teacher with zeros for all channels that the decision takes out."""
    inheritance = Inheritance(captured, planner)
    weights = {key: value.clone() for key, value in captured.weights.items()}
    plan = planner.plan(decision)
    for op in plan:
        if not op.inputs or f"{op.name}.weight" not in weights:
            continue
        kept = inheritance._kept(op, planner.channels, decision)
        own = op.kind in ("batch_norm", "group_norm") or op.config.get("depthwise")
        rows = kept.read if own else kept.made
        for key in ("weight", "bias", "gain") if rows is not None else ():
            value = weights.get(f"{op.name}.{key}")
            if value is None:
                continue
            value = (
                value.transpose(0, 1)
                if op.kind == "conv_transpose2d" and value.dim() > 1
                else value
            )
            gone = torch.ones(len(value), dtype=torch.bool)
            gone[rows] = False
            value[gone] = 0
    return instantiate_with(planner.teacher, weights)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_student_is_the_teacher_without_the_channels_taken_out(name):
    make, widths, groups = NETWORKS[name]
    model = seeded(make)
    captured = capture(model, SHAPE)
    x = images(SHAPE, 3)
    with torch.no_grad():
        torch.testing.assert_close(captured.module()(x), model(x), rtol=0, atol=1e-6)
    planner = Planner(captured.architecture)
    functions = [op.config for op in planner.teacher if op.kind == "function"]
    assert all(config.get("elementwise") or "axes" in config for config in functions)
    found = {g.name: (g.width, g.step) for g in planner.channels.groups.values() if not g.frozen}
    assert found == groups
    decision = Decision(widths=widths)
    plan = planner.plan(decision)
    inherited = Inheritance(captured, planner).weights(plan, decision, seed=0)
    student = instantiate_with(plan, inherited)
    with torch.no_grad():
        torch.testing.assert_close(student(x), masked(captured, planner, decision)(x))
    for architecture, module in ((planner.teacher, model), (plan, student)):
        counts, fvcore = count(architecture), counted_by_fvcore(module, images(SHAPE, 1))
        assert (counts.params, counts.flops) == (fvcore.params, fvcore.flops)


def test_whole_groups_go_with_those_that_they_read():
    captured = capture(seeded(grouped), SHAPE)
    planner = Planner(captured.architecture)
    group = planner.channels.groups["stem"]
    assert (group.producers, group.per_unit, group.units) == (("stem", "grouped"), (3, 6), 4)
    plan = planner.plan(Decision(widths={"stem": 6}))
    config = plan.by_name()["grouped"].config
    assert (config["in_channels"], config["out_channels"], config["groups"]) == (6, 12, 2)
    inheritance = Inheritance(captured, planner)
    scores = torch.zeros(4, dtype=torch.float64)
    for name in ("stem", "grouped"):
        norms = captured.weights[f"{name}.weight"].double().abs().flatten(1).sum(1)
        norms = norms.view(4, -1).sum(1)
        scores += norms / norms.mean()
    kept = torch.argsort(scores, descending=True)[:2].sort().values.tolist()
    assert inheritance.keep("stem", 2) == kept
    rows = [3 * unit + i for unit in kept for i in range(3)]
    decision = Decision(widths={"stem": 6})
    new = inheritance.weights(plan, decision, seed=0)
    assert torch.equal(new["stem.weight"], captured.weights["stem.weight"][rows])


def test_halves_of_a_shuffled_tensor_stay_halves():
    captured = capture(seeded(shuffled), SHAPE)
    planner = Planner(captured.architecture)
    assert planner.channels.groups["left"].producers == ("left", "right", "inner")
    assert planner.channels.groups["left"].spread
    kept = Inheritance(captured, planner).keep("left", 4)
    assert [channel // 2 for channel in kept] == [0, 1, 2, 3]  # one of each stretch of two


def test_grouped_convolutions_behind_a_concatenation_stay_as_they_are():
    def make():
        return Net(
            lambda m, x: pooled(m.grouped(torch.cat([m.left(x), m.right(x)], 1))),
            left=conv(3, 4),
            right=conv(3, 4),
            grouped=conv(8, 8, groups=2),
            head=nn.Linear(8, 5),
        )

    planner = Planner(capture(seeded(make), SHAPE).architecture)
    for name in ("left", "right", "grouped"):
        assert "2 groups across several inputs" in planner.channels.groups[name].frozen


def test_one_weight_used_in_two_ways_is_held_once():
    def twice(m, x):
        y = m.again(m.stem(x))
        return pooled(F.conv2d(y, m.again.weight, m.again.bias, stride=2))

    model = seeded(lambda: Net(twice, stem=conv(3, 4), again=conv(4, 4), head=nn.Linear(4, 5)))
    captured = capture(model, SHAPE)
    assert captured.weights.keys() == model.state_dict().keys()
    student = captured.module()
    student(images(SHAPE)).sum().backward()
    with torch.no_grad():
        student.get_parameter("again.weight").zero_()
        student.get_parameter("again.bias").zero_()
        out = student(images(SHAPE))
        assert torch.equal(out, student.get_parameter("head.bias").expand(2, 5))
    planner = Planner(captured.architecture)
    assert "uses the weights of again as they are" in planner.channels.groups["again"].frozen
    assert count(captured.architecture).params == sum(p.numel() for p in model.parameters())
    found = counted_by_fvcore(captured.module(), images(SHAPE, 1))
    assert count(captured.architecture).flops == found.flops
    assert count(captured.architecture).weight_bytes == found.weight_bytes


def test_a_width_that_is_read_by_two_parameters_of_one_name():
    """Two modules with one parameter: its weight is held once, under the first one's name."""

    def make():
        net = Net(
            lambda m, x: pooled(m.second(m.first(x))),
            first=conv(3, 3),
            second=conv(3, 3),
            head=nn.Linear(3, 5),
        )
        net.second.weight = net.first.weight
        return net

    model = seeded(make)
    captured = capture(model, SHAPE)
    with torch.no_grad():
        assert torch.equal(captured.module()(images(SHAPE)), model(images(SHAPE)))
    assert sum(p.numel() for p in captured.module().parameters()) == sum(
        p.numel() for p in model.parameters()
    )
