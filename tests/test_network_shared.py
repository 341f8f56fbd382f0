"""Weights that more than one operation uses: which channels and kernels that ties together."""

import pytest
import torch
import torch.nn.functional as F
from networks import images, seeded
from structures import Net, conv, pooled
from torch import nn

from hwn2n.hardware.counts import count as counted_by_fvcore
from hwn2n.network.architecture import IllegalArchitectureError
from hwn2n.network.capture import capture
from hwn2n.network.counts import count
from hwn2n.network.decision import Decision
from hwn2n.network.inherit import Inheritance
from hwn2n.network.module import instantiate_with
from hwn2n.network.planner import Planner

SHAPE = (3, 8, 8)


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


def shared_behind_a_flatten():
    """A linear layer that reads 4 channels of 4 places, and then its own 16 channels."""

    def forward(m, x):
        x = F.adaptive_avg_pool2d(F.relu(m.stem(x)), 2).flatten(1)
        return F.relu(m.shared(F.relu(m.shared(x))))

    return Net(forward, stem=conv(3, 4), shared=nn.Linear(16, 16), head=nn.Linear(16, 5))


def shared_by_other_concatenations():
    """A convolution that reads 4 and 8 channels, and then 8 and 4."""

    def forward(m, x):
        few, many = m.few(x), m.many(x)
        orders = (few, many), (many, few)
        return pooled(sum(m.shared(torch.cat(order, 1)) for order in orders))

    return Net(forward, few=conv(3, 4), many=conv(3, 8), shared=conv(12, 6), head=nn.Linear(6, 5))


@pytest.mark.parametrize("make", [shared_behind_a_flatten, shared_by_other_concatenations])
def test_weights_shared_by_layers_that_read_other_channels_keep_what_they_read(make):
    model = seeded(make)
    captured = capture(model, SHAPE)
    planner, x = Planner(captured.architecture), images(SHAPE)
    assert planner.plan(Decision()) == captured.architecture
    for name in ("stem", "few", "many"):
        if name in planner.channels.groups:
            assert "shares its weights" in planner.channels.groups[name].frozen
    widths = dict.fromkeys(planner.channels.free, 1)
    decision = Decision(widths=widths)
    plan = planner.plan(decision)
    weights = Inheritance(captured, planner).weights(plan, decision, seed=0)
    assert instantiate_with(plan, weights)(x).shape == (2, 5)
    assert planner.count(decision) == count(plan)


def test_shared_weights_that_a_removal_leaves_with_other_sizes():
    """Without the pooling the first of two uses reads 64 places and the second still 16."""

    def make():
        def forward(m, x):
            x = m.pool(F.relu(m.stem(x))).flatten(1)
            return F.relu(m.shared(F.relu(m.shared(x))))

        return Net(
            forward,
            stem=conv(3, 1),
            pool=nn.MaxPool2d(2),
            shared=nn.Linear(16, 16),
            head=nn.Linear(16, 5),
        )

    planner = Planner(capture(seeded(make), SHAPE).architecture)
    for attempt in (planner.plan, planner.count):
        with pytest.raises(IllegalArchitectureError, match="weights of shared and must have"):
            attempt(Decision(removed=frozenset({"pool"})))


def weight_used_again(m, x):
    x = F.relu(m.stem(x))
    return pooled(F.relu(m.again(x) + x)) + pooled(F.conv2d(x, m.again.weight, None, 2, 1))


def weight_used_before(m, x):
    x = F.relu(m.stem(x))
    y = F.conv2d(x, m.again.weight, None, 2, 1)
    return pooled(F.relu(m.again(x) + x)) + pooled(y)


def bias_used_again(m, x):
    x = F.relu(m.stem(x))
    return pooled(F.relu(m.again(x) + x)) + m.again.bias.sum()


def with_again(function):
    net = Net(function, stem=conv(3, 5), again=conv(5, 5), head=nn.Linear(5, 5))
    return Planner(capture(seeded(lambda: net), SHAPE).architecture)


@pytest.mark.parametrize("function", [weight_used_again, weight_used_before])
def test_a_kernel_stays_where_its_weight_is_used_as_it_is(function):
    planner = with_again(function)
    assert planner.free_kernels() == {"stem"}
    for attempt in (planner.plan, planner.count):
        with pytest.raises(IllegalArchitectureError, match="weights of again and must have"):
            attempt(Decision(kernels={"again": (1, 1)}))
    assert planner.plan(Decision(kernels={"again": (3, 3)})) == planner.teacher


def test_a_kernel_may_shrink_where_only_its_bias_is_used_again():
    planner = with_again(bias_used_again)
    assert planner.free_kernels() == {"stem", "again"}
    decision = Decision(kernels={"again": (1, 1)})
    assert planner.plan(decision).by_name()["again"].config["kernel_size"] == [1, 1]
    assert planner.count(decision) == count(planner.plan(decision))


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
