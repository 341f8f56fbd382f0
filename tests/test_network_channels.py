"""Channel groups by hand, what removals leave, and decisions that are refused with a reason."""

import pytest
import torch
from networks import Mixed, Plain, Wrap, images, planner_of, seeded
from torch import nn

from hwn2n.errors import InputError
from hwn2n.network.architecture import IllegalArchitectureError
from hwn2n.network.bypass import chain_operations, without
from hwn2n.network.capture import capture
from hwn2n.network.decision import NOTHING, Decision
from hwn2n.network.layers import find_layers
from hwn2n.network.module import instantiate
from hwn2n.network.planner import Planner

SHAPE = (3, 8, 8)


def planner(make, shape=SHAPE):
    return Planner(capture(seeded(make), shape).architecture)


def test_groups_of_a_mixed_network():
    channels = planner(Mixed).channels
    found = {
        name: (group.width, group.producers, group.frozen)
        for name, group in channels.groups.items()
    }
    assert found == {
        "stem": (8, ("stem", "back"), None),  # a sum ties them; depthwise in between
        "left": (6, ("left",), None),
        "right": (10, ("right",), None),
        "hidden": (12, ("hidden",), None),
        "classifier": (5, ("classifier",), "the logits: one for each class"),
    }
    [merged] = [layout for name, layout in channels.layouts.items() if name == "cat"]
    assert [channels.group_of(part).name for part in merged.parts] == ["left", "right"]
    assert channels.layouts["flatten"].flat
    assert channels.own_group("depthwise") is None


def test_widths_reach_every_reader():
    architecture = planner(Mixed).plan(Decision(widths={"stem": 3, "left": 1, "hidden": 7}))
    configs = {op.name: op.config for op in architecture}
    assert configs["depthwise"]["groups"] == configs["depthwise"]["out_channels"] == 3
    assert configs["norm"]["num_features"] == 3
    assert configs["back"]["in_channels"] == configs["back"]["out_channels"] == 3
    assert configs["left"]["in_channels"] == 3
    assert configs["hidden"]["in_features"] == (1 + 10) * 16
    assert configs["classifier"] == {"in_features": 7, "out_features": 5, "bias": True}
    assert instantiate(architecture)(images(SHAPE)).shape == (2, 5)


def test_groups_of_a_residual_network():
    groups = planner_of("resnet20", 8).channels.groups
    stream = groups["conv"]
    assert stream.width == 16
    assert stream.producers == ("conv", *(f"features.stage1.{i}.conv2" for i in range(3)))
    second = groups["features.stage2.0.conv2"]
    assert second.producers[:2] == (
        "features.stage2.0.conv2",
        "features.stage2.0.shortcut.conv",
    )
    assert second.width == 32
    assert groups["features.stage1.0.conv1"].producers == ("features.stage1.0.conv1",)


def test_a_removal_in_a_chain_changes_the_resolution():
    plan = planner(Plain).plan(Decision(removed=frozenset({"pool"})))
    assert plan.by_name()["fc1"].config["in_features"] == 12 * 64
    assert chain_operations(plan) == {op.name for op in plan}
    left = planner(Plain).plan(Decision(removed=frozenset({"conv2", "bn2"})))
    assert left.by_name()["fc1"].config["in_features"] == 8 * 16


def test_a_stride_inside_a_branch_becomes_subsampling():
    teacher = planner_of("resnet20", 8)
    block = "features.stage2.0"
    removed = frozenset({f"{block}.conv1", f"{block}.bn1", f"{block}.relu1"})
    plan = teacher.plan(Decision(removed=removed))
    bypass = plan.by_name()[f"{block}.conv1_bypass"]
    assert (bypass.kind, bypass.source) == ("max_pool2d", f"{block}.conv1")
    assert bypass.config["kernel_size"] == [1, 1]
    assert bypass.config["stride"] == [2, 2]
    assert bypass.shape == (-1, 16, 4, 4)
    pixels = images((16, 8, 8))
    assert torch.equal(nn.MaxPool2d(1, 2)(pixels), pixels[:, :, ::2, ::2])
    assert instantiate(plan)(images((3, 8, 8))).shape == (2, 10)
    assert f"{block}.conv1" not in chain_operations(teacher.teacher)


def test_a_removed_projection_ties_widths_to_the_smaller():
    teacher = planner_of("resnet20", 8)
    block = "features.stage2.0"
    removed = frozenset({f"{block}.shortcut.conv", f"{block}.shortcut.bn"})
    _, channels = teacher.left(removed)
    group = channels.groups["conv"]
    assert group.width == 16
    assert f"{block}.conv2" in group.producers
    plan = teacher.plan(Decision(removed=removed))
    assert plan.by_name()[f"{block}.conv2"].config["out_channels"] == 16
    assert plan.by_name()["features.stage3.0.conv1"].config["in_channels"] == 16
    assert instantiate(plan)(images((3, 8, 8))).shape == (2, 10)


def test_what_cannot_be_removed():
    teacher = planner(Mixed)
    with pytest.raises(InputError, match="has no layer 'nothing'"):
        teacher.plan(Decision(removed=frozenset({"nothing"})))
    with pytest.raises(IllegalArchitectureError, match=r"cat \(cat\) cannot be bypassed"):
        teacher.plan(Decision(removed=frozenset({"cat"})))
    with pytest.raises(IllegalArchitectureError, match="classifier makes the logits"):
        teacher.plan(Decision(removed=frozenset({"classifier"})))
    chain = planner(lambda: nn.Sequential(nn.Conv2d(3, 4, 4), nn.Conv2d(4, 5, 5), nn.Flatten()))
    for name, would in (("0", [5 * 16]), ("1", [4 * 25])):
        with pytest.raises(IllegalArchitectureError, match="2 must give logits of shape") as caught:
            chain.plan(Decision(removed=frozenset({name})))
        assert f"would give {would}" in str(caught.value)


def test_layers_that_must_stay_say_why():
    layers = {layer.name: layer.reason for layer in find_layers(planner_of("resnet20", 8))}
    assert layers["classifier"] == "classifier makes the logits"
    assert "would have only 3 channels (the image's channels)" in layers["conv"]
    assert [name for name, reason in layers.items() if reason] == ["conv", "classifier"]

    def normalised(m, x):
        x = m.conv((x - 0.5) / 0.25)
        return m.head((x + m.again(x)).mean([2, 3]))

    layers = {layer.name: layer.reason for layer in find_layers(planner(lambda: Wrap(normalised)))}
    assert layers["again"] is None
    assert "would have only 3 channels" in layers["conv"]


def test_tied_layers_stay_and_share_their_kernel():
    def twice(m, x):
        return m.head(m.again(m.again(m.conv(x))).mean([2, 3]))

    teacher = planner(lambda: Wrap(twice))
    for name in ("again", "again_1"):
        with pytest.raises(IllegalArchitectureError, match="shares its weights"):
            without(teacher.teacher, {name})
    with pytest.raises(IllegalArchitectureError, match="must have the same kernel"):
        teacher.plan(Decision(kernels={"again": (1, 1)}))
    plan = teacher.plan(Decision({}, {"conv": 2}, {"again": (1, 1), "again_1": (1, 1)}))
    student = instantiate(plan)
    assert student(images(SHAPE)).shape == (2, 5)
    assert sum(p.numel() for p in student.parameters()) == (27 + 1) * 2 + (2 + 1) * 2 + 15


@pytest.mark.parametrize(
    ("decision", "message"),
    [
        (Decision(widths={"nothing": 1}), "no channel group 'nothing'"),
        (Decision(widths={"back": 1}), "no channel group 'back'"),
        (Decision(widths={"stem": 0}), "between 1 and 8, but got 0"),
        (Decision(widths={"stem": 9}), "between 1 and 8, but got 9"),
        (Decision(widths={"classifier": 4}), "must keep 5 channels: the logits"),
        (Decision(kernels={"hidden": (1, 1)}), "no convolution 'hidden'"),
        (Decision(kernels={"stem": (5, 3)}), "between 1 and 3, but got 5"),
        (Decision(kernels={"stem": (2, 3)}), "would shift the image"),
    ],
)
def test_bad_sizes(decision, message):
    with pytest.raises(InputError, match=message):
        planner(Mixed).plan(decision)


def test_a_kernel_without_padding_cannot_shrink_inside_a_branch():
    class Cropped(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem = nn.Conv2d(3, 4, 1)
            self.branch = nn.Conv2d(4, 4, 3)
            self.head = nn.Linear(4, 5)

        def forward(self, x):
            x = self.stem(x)
            return self.head((self.branch(x) + x[:, :, 1:-1, 1:-1]).mean([2, 3]))

    teacher = planner(Cropped)
    with pytest.raises(IllegalArchitectureError, match=r"\(add\) would combine shapes"):
        teacher.plan(Decision(kernels={"branch": (1, 1)}))
    assert teacher.plan(Decision(widths={"stem": 2}))  # a border cut off leaves channels free
    assert teacher.free_kernels() == frozenset()
    assert planner(Mixed).free_kernels() == {"stem", "depthwise", "left"}
    unpadded = planner(
        lambda: nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5)
        )
    )
    assert unpadded.free_kernels() == {"0"}  # nothing minds a larger image there


def test_a_giant_linear_layer_is_illegal():
    class Wide(nn.Sequential):
        def __init__(self):
            super().__init__(
                nn.Conv2d(3, 64, 1), nn.MaxPool2d(8), nn.Flatten(), nn.Linear(64 * 16, 5)
            )

    teacher = planner(Wide, (3, 32, 32))
    with pytest.raises(IllegalArchitectureError, match="giant fully connected layer of 65536"):
        teacher.plan(Decision(removed=frozenset({"1"})))
    assert teacher.plan(Decision(frozenset({"1"}), {"0": 48}))  # 49,152 inputs


def test_channels_of_other_lengths_or_fixed_tensors_freeze():
    def spread(m, x):
        y = m.conv(x)
        return m.head((y * y[:, :1]).mean([2, 3]))

    def held(m, x):
        return m.head((m.conv(x) * m.scale).mean([2, 3]))

    def reversed_(m, x):
        return m.head((m.conv(x) * m.scale[:, [3, 2, 1, 0]]).mean([2, 3]))

    def normalised(m, x):
        y = m.conv(x)
        return m.head((y / y.cumsum(1)).mean([2, 3]))

    for forward, reason in (
        (spread, "4 channels of conv must stay together"),
        (reversed_, "no rule for aten.index"),
        (normalised, "no rule for aten.cumsum"),
    ):
        teacher = planner(lambda forward=forward: Wrap(forward))
        assert reason in teacher.channels.groups["conv"].frozen
        assert teacher.channels.groups["conv"].width == 4
        with pytest.raises(IllegalArchitectureError, match="must keep 4 channels"):
            teacher.plan(Decision(widths={"conv": 3}))
    free = planner(lambda: Wrap(held))
    assert free.channels.groups["conv"].producers == ("conv", "scale_held")
    plan = free.plan(Decision(widths={"conv": 3}))
    assert plan.by_name()["scale_held"].config["shape"] == [1, 3, 1, 1]
    assert instantiate(plan)(images(SHAPE)).shape == (2, 5)


@pytest.mark.parametrize(
    ("deviation", "free"),
    [
        (lambda x: x.std(1, keepdim=True), False),
        (lambda x: x.var(1, unbiased=False, keepdim=True), True),
        (lambda x: torch.var(x, 1, correction=0, keepdim=True), True),
        (lambda x: torch.std(x, 1, correction=2, keepdim=True), False),
        (lambda x: x.std((1, 2, 3), keepdim=True), True),
    ],
)
def test_channels_stay_where_one_of_them_has_no_deviation(deviation, free):
    teacher = planner(lambda: Wrap(lambda m, x: m.head(_scaled(m.conv(x), deviation))))
    assert ("conv" in teacher.channels.free) == free
    if not free:
        assert "works across channels" in teacher.channels.groups["conv"].frozen
        return
    student = instantiate(teacher.plan(Decision(widths={"conv": 1})))
    assert student(images(SHAPE)).isfinite().all()


def test_what_a_deviation_leaves_stays_where_it_is():
    """`keepdim` stands behind `unbiased`; without the pooling the image grows behind it."""

    def forward(m, x):
        x = nn.functional.max_pool2d(m.conv(x), 2)
        return m.head((x * x.var(1, unbiased=False, keepdim=True)).mean((2, 3)))

    teacher = planner(lambda: Wrap(forward))
    plan = teacher.plan(Decision(removed=frozenset({"max_pool2d"})))
    assert plan.by_name()["var"].shape == (-1, 1, 8, 8)
    assert instantiate(plan)(images(SHAPE)).shape == (2, 5)


def _scaled(x, deviation):
    return (x * deviation(x)).mean((2, 3))


def test_functions_keep_the_shapes_that_they_know():
    def split(m, x):
        first, second = m.again(torch.relu(m.conv(x))).chunk(2, 1)
        return m.head(torch.cat([second, first], 1).mean([2, 3]))

    def halves(m, x):
        first, second = x.chunk(2, 2)
        return m.head((first * second[:, :, :1]).mean([2, 3]))

    teacher = planner(lambda: Wrap(split))
    group = teacher.channels.groups["again"]
    assert (group.frozen, group.width, group.step) == (None, 4, 2)
    assert teacher.plan(Decision(frozenset({"again"})))
    with pytest.raises(InputError, match="must be a multiple of 2, but got 3"):
        teacher.plan(Decision(widths={"again": 3}))
    plan = teacher.plan(Decision(frozenset({"again"}), {"conv": 2}))
    assert plan.by_name()["head"].config["in_features"] == 2
    assert instantiate(plan)(images(SHAPE)).shape == (2, 5)
    pooled = planner(lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.MaxPool2d(2), Wrap(halves)))
    with pytest.raises(IllegalArchitectureError, match="must read 3 places, but would read 6"):
        pooled.plan(Decision(frozenset({"1"})))
    plan = teacher.plan(Decision(widths={"conv": 2}))
    assert instantiate(plan)(images(SHAPE)).shape == (2, 5)


def test_decision_round_trip_and_damage():
    decision = Decision(frozenset({"b", "a"}), {"w": 3}, {"k": (1, 3)})
    data = decision.to_json()
    assert data == {"removed": ["a", "b"], "widths": {"w": 3}, "kernels": {"k": [1, 3]}}
    assert Decision.from_json(data) == decision
    assert Decision.from_json(NOTHING.to_json()) == NOTHING
    for bad in (None, {}, {**data, "removed": "ab"}, {**data, "kernels": {"k": 3}}):
        with pytest.raises(InputError, match="damaged decision"):
            Decision.from_json(bad)
