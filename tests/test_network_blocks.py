"""Residual branches as one step: which there are, and what is left without them."""

import random

import pytest
import torch
import torch.nn.functional as F
from networks import Mixed, Wrap, captured_teacher, images, planner_of, seeded

from hwn2n.network.architecture import IllegalArchitectureError
from hwn2n.network.blocks import find_blocks
from hwn2n.network.capture import capture
from hwn2n.network.decision import Decision
from hwn2n.network.inherit import Inheritance
from hwn2n.network.layers import find_layers
from hwn2n.network.module import instantiate, instantiate_with
from hwn2n.network.planner import Planner
from hwn2n.search.choices.actions import RemovalStage, ShrinkageStage
from hwn2n.search.policies.removal import KEEP, REMOVE

SHAPE = (3, 8, 8)


def planner(forward):
    return Planner(capture(seeded(lambda: Wrap(forward)), SHAPE).architecture)


def test_blocks_of_a_resnet():
    blocks = find_blocks(planner_of("resnet20", 8).teacher)
    assert len(blocks) == 9
    first, projected = blocks[0], blocks[3]
    prefix = "features.stage1.0"
    assert set(first.operations) == {
        f"{prefix}.{name}" for name in ("conv1", "bn1", "relu1", "conv2", "bn2")
    }
    assert first.join == f"{prefix}.add"
    assert not any("shortcut" in name for name in projected.operations)  # the projection stays
    names = [layer.name for layer in find_layers(planner_of("resnet20", 8), "block")]
    assert names[:3] == ["conv", "features.stage1.0.add", "features.stage1.1.add"]
    assert "features.stage2.0.shortcut.conv" in names
    assert len(names) == 1 + 9 + 2 + 1
    layers = {layer.name: layer for layer in find_layers(planner_of("resnet20", 8), "block")}
    assert layers["features.stage1.0.add"].params == 2 * (16 * 16 * 9 + 32)
    assert all(layer.removable for layer in layers.values() if layer.kind == "add")


def test_a_block_with_an_identity_disappears_and_a_projection_stays():
    captured, teacher = captured_teacher("resnet20", 8), planner_of("resnet20", 8)
    blocks = {block.join: block for block in find_blocks(teacher.teacher)}
    plain, projected = blocks["features.stage1.1.add"], blocks["features.stage2.0.add"]
    removed = frozenset([*plain.operations, plain.join, *projected.operations, projected.join])
    decision = Decision(removed=removed)
    plan = teacher.plan(decision)
    assert not removed & {op.name for op in plan}
    assert "features.stage2.0.shortcut.conv" in plan.by_name()
    assert not any(op.name.endswith("_bypass") for op in plan)  # a stride in it went with it
    weights = Inheritance(captured, teacher).weights(plan, decision, seed=0)
    student = instantiate_with(plan, weights)
    x = images((3, 8, 8))
    # what is left computes what the teacher does with branches that give zero
    zeroed = {key: value.clone() for key, value in captured.weights.items()}
    for block in ("features.stage1.1.bn2", "features.stage2.0.bn2"):
        zeroed[f"{block}.weight"].zero_()
        zeroed[f"{block}.bias"].zero_()
    with torch.no_grad():
        wanted = instantiate_with(teacher.teacher, zeroed)(x)
        torch.testing.assert_close(student(x), wanted)


def test_all_blocks_at_once():
    teacher = planner_of("resnet20", 8)
    blocks = find_blocks(teacher.teacher)
    removed = frozenset(n for block in blocks for n in (*block.operations, block.join))
    plan = teacher.plan(Decision(removed=removed))
    assert [op.name for op in plan if op.kind == "conv2d"] == [
        "conv",
        "features.stage2.0.shortcut.conv",
        "features.stage3.0.shortcut.conv",
    ]
    assert instantiate(plan)(images((3, 8, 8))).shape == (2, 10)


def test_a_branch_goes_with_operations_that_no_bypass_could_replace():
    def excited(m, x):
        x = m.conv(x)
        y = m.again(x)
        y = y * y.mean((2, 3), keepdim=True).sigmoid()
        return m.head((x + torch.logsumexp(y, 1, keepdim=True)).mean([2, 3]))

    teacher = planner(excited)
    [block] = find_blocks(teacher.teacher)
    kinds = [teacher.teacher.by_name()[name].kind for name in block.operations]
    assert "mul" in kinds
    assert "function" in kinds
    plan = teacher.plan(Decision(removed=frozenset([*block.operations, block.join])))
    assert [op.kind for op in plan] == ["conv2d", "mean", "linear"]
    # without its sum, a branch that ends in such an operation cannot go
    with pytest.raises(IllegalArchitectureError, match="cannot be bypassed"):
        teacher.plan(Decision(removed=frozenset(block.operations)))


def both_sides(m, x):
    x = m.conv(x)
    return m.head((F.relu(m.again(x)) + m.again(x)).mean([2, 3]))


def branch_read_elsewhere(m, x):
    x = m.conv(x)
    y = m.again(x)
    return m.head((x + y).mean([2, 3]) * y.mean([2, 3]))


def no_fork(m, x):
    return m.head((m.conv(x) + m.scale).mean([2, 3]))


@pytest.mark.parametrize("forward", [both_sides, branch_read_elsewhere, no_fork])
def test_what_is_no_block(forward):
    assert find_blocks(planner(forward).teacher) == ()


def test_layers_outside_of_blocks_are_units():
    teacher = Planner(capture(seeded(Mixed), SHAPE).architecture)
    layers = find_layers(teacher, "block")
    assert [layer.name for layer in layers] == [
        "stem", "add", "left", "right", "pool", "hidden", "classifier",
    ]  # fmt: skip
    assert layers[1].operations == ("depthwise", "norm", "relu_1", "back", "add")


def test_both_stages_with_blocks():
    teacher = planner_of("resnet20", 8)
    removal = RemovalStage(teacher, granularity="block")
    actions = [KEEP] * len(removal.steps)
    actions[removal.steps.names.index("features.stage2.1.add")] = REMOVE
    removed = removal.decision(actions).removed
    assert "features.stage2.1.conv1" in removed
    stage = ShrinkageStage(teacher, removed, granularity="block")
    assert "features.stage2.2.conv1:width" in stage.steps.names  # widths are those of layers
    assert not any("stage2.1" in name for name in stage.steps.names)
    decision = stage.decision(stage.steps.settle(torch.zeros(len(stage.steps)).long()).tolist())
    assert instantiate(teacher.plan(decision))(images((3, 8, 8))).shape == (2, 10)


def test_a_block_whose_projection_goes_too_is_what_it_forks_from():
    captured, teacher = captured_teacher("resnet20", 8), planner_of("resnet20", 8)
    layers = [layer for layer in find_layers(teacher, "block") if layer.removable]
    gone = ("features.stage2.0.add", "features.stage2.0.shortcut.conv")
    removed = frozenset(n for layer in layers if layer.name in gone for n in layer.operations)
    decision = Decision(removed=removed)
    plan = teacher.plan(decision)
    names = set(plan.by_name())
    assert not {n for n in names if n.startswith("features.stage2.0") and "bypass" not in n}
    [bypass] = [op for op in plan if op.name.endswith("_bypass")]
    assert (bypass.kind, bypass.config["stride"]) == ("max_pool2d", [2, 2])
    assert plan.by_name()["features.stage2.1.conv1"].inputs == (bypass.name,)
    # the second stage is tied to the first one's width
    assert plan.by_name()["features.stage2.1.conv2"].shape == (-1, 16, 4, 4)
    weights = Inheritance(captured, teacher).weights(plan, decision, seed=0)
    assert instantiate_with(plan, weights)(images((3, 8, 8))).shape == (2, 10)


def test_every_removal_of_blocks_leaves_a_network():
    teacher = planner_of("resnet20", 8)
    layers = [layer for layer in find_layers(teacher, "block") if layer.removable]
    generator = random.Random(0)
    for _ in range(60):
        odds = generator.random()
        gone = [layer for layer in layers if generator.random() < odds]
        plan = teacher.plan(Decision(frozenset(n for layer in gone for n in layer.operations)))
        assert plan.output == teacher.teacher.output


def test_an_activation_that_comes_to_read_its_like_goes_with_the_branch():
    captured, teacher = captured_teacher("resnet20", 8), planner_of("resnet20", 8)
    blocks = {block.join: block for block in find_blocks(teacher.teacher)}
    plain = blocks["features.stage1.1.add"]
    decision = Decision(removed=frozenset([*plain.operations, plain.join]))
    plan = teacher.plan(decision)
    assert "features.stage1.1.relu2" not in plan.by_name()
    assert plan.by_name()["features.stage1.2.conv1"].inputs == ("features.stage1.0.relu2",)
    # with it the logits would be the same
    student = instantiate_with(plan, Inheritance(captured, teacher).weights(plan, decision, seed=0))
    zeroed = {key: value.clone() for key, value in captured.weights.items()}
    zeroed["features.stage1.1.bn2.weight"].zero_()
    zeroed["features.stage1.1.bn2.bias"].zero_()
    whole = instantiate_with(teacher.teacher, zeroed)
    x = images((3, 8, 8))
    with torch.no_grad():
        torch.testing.assert_close(student.eval()(x), whole.eval()(x))


def test_an_activation_stays_where_it_still_does_something():
    def signed(m, x):
        x = m.conv(x)
        return m.head(F.relu(x + m.again(x)).mean([2, 3]))

    def leaky(m, x):
        x = F.leaky_relu(m.conv(x))
        return m.head(F.leaky_relu(x + m.again(x)).mean([2, 3]))

    for forward in (signed, leaky):
        teacher = planner(forward)
        [block] = find_blocks(teacher.teacher)
        plan = teacher.plan(Decision(removed=frozenset([*block.operations, block.join])))
        before = [op.name for op in teacher.teacher if op.kind == "activation"]
        assert [op.name for op in plan if op.kind == "activation"] == before
