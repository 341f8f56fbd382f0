"""Channels that come in groups, sections and blocks: what is kept where, and how much there is."""

import pytest
import torch
import torch.nn.functional as F
from networks import images, seeded
from structures import NETWORKS, Net, conv, grouped, pooled, shuffled
from torch import nn

from hwn2n.hardware.counts import count as counted_by_fvcore
from hwn2n.network.architecture import IllegalArchitectureError
from hwn2n.network.capture import capture
from hwn2n.network.counts import count
from hwn2n.network.decision import Decision
from hwn2n.network.importance import by_contribution, by_filters
from hwn2n.network.inherit import Inheritance
from hwn2n.network.layers import find_layers
from hwn2n.network.module import instantiate_with
from hwn2n.network.planner import Planner

SHAPE = (3, 8, 8)


def masked(captured, planner, decision):
    """The teacher with zeros for all channels that the decision takes out."""
    inheritance = Inheritance(captured, planner)
    channels = inheritance.kept(decision)
    weights = {key: value.clone() for key, value in captured.weights.items()}
    plan = planner.plan(decision)
    for op in plan:
        if not op.inputs or f"{op.name}.weight" not in weights:
            continue
        kept = channels.of(op, planner.teacher.by_name()[op.name])
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
            gone[rows.index] = False
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
    inheritance = Inheritance(captured, planner, by_filters)
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


def grouped_up():
    """A transposed convolution of four groups, of channels that a removal would change."""
    return Net(
        lambda m, x: pooled(F.relu(m.up(F.relu(m.inner(m.stem(x)))))),
        stem=conv(3, 6),
        inner=conv(6, 8),
        up=nn.ConvTranspose2d(8, 12, 2, 2, groups=4),
        head=nn.Linear(12, 5),
    )


def test_transposed_convolutions_in_groups_keep_their_channels():
    captured = capture(seeded(grouped_up), SHAPE)
    planner, decision = Planner(captured.architecture), Decision(widths={"stem": 2})
    assert set(planner.channels.free) == {"stem"}
    for rank in (by_contribution, by_filters):
        weights = Inheritance(captured, planner, rank).weights(
            planner.plan(decision), decision, seed=0
        )
        assert torch.equal(weights["up.weight"], captured.weights["up.weight"])
    weight = captured.weights["up.weight"].double()  # (8, 3, 2, 2): output 3g + j reads 2g, 2g + 1
    sums = [weight[2 * g : 2 * g + 2, j].abs().sum() for g in range(4) for j in range(3)]
    strongest = torch.stack(sums).argsort(descending=True).tolist()
    assert by_filters(captured, planner.channels)["up"] == strongest


def test_a_removal_in_front_of_a_grouped_transposed_convolution_is_illegal():
    planner = Planner(capture(seeded(grouped_up), SHAPE).architecture)
    removed = frozenset({"inner", "relu"})
    for attempt in (planner.plan, planner.count):
        with pytest.raises(IllegalArchitectureError, match="must read 8 channels, but would get 6"):
            attempt(Decision(removed=removed))
    assert not next(layer for layer in find_layers(planner) if layer.name == "inner").removable
