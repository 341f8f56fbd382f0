"""Inherited weights against slicing by hand."""

import pytest
import torch
from networks import Mixed, Plain, Wrap, captured_teacher, images, planner_of, seeded
from structures import Net
from torch import nn

from hwn2n.network.capture import capture
from hwn2n.network.decision import NOTHING, Decision
from hwn2n.network.inherit import Inheritance, fresh_weights
from hwn2n.network.module import instantiate_with
from hwn2n.network.planner import Planner

SHAPE = (3, 8, 8)


def inherit(make, decision, shape=SHAPE, seed=0):
    captured = capture(seeded(make), shape)
    planner = Planner(captured.architecture)
    plan = planner.plan(decision)
    return captured.weights, Inheritance(captured, planner).weights(plan, decision, seed=seed), plan


def strongest(count, sent, *readers):
    """By hand: the channels with the largest `sent` (see `behind` and `filters`) times what the
    readers' weights (out, channels, ...) make of it."""
    reads = [r.double().square().transpose(0, 1).flatten(1).sum(1) for r in readers]
    score = sent * sum(r / r.mean() for r in reads)
    return torch.argsort(score, descending=True)[:count].sort().values


def behind(weights, *norms, rectified=True):
    """The variance of what a batch normalisation sends on, with or without a ReLU behind it, summed
    over several: that of max(0, x) for a normal x, in closed form."""
    total = 0
    for norm in norms:
        gamma, beta = weights[f"{norm}.weight"].double().abs(), weights[f"{norm}.bias"].double()
        z = beta / gamma
        below, density = torch.special.ndtr(z), torch.exp(-z * z / 2) / (2 * torch.pi) ** 0.5
        mean = beta * below + gamma * density
        square = (beta**2 + gamma**2) * below + beta * gamma * density
        total = total + (square - mean**2 if rectified else gamma**2)
    return total


def filters(*layers):
    """Where there is none: the squares of the filters, each layer's divided by their mean."""
    squares = [layer.double().flatten(1).square().sum(1) for layer in layers]
    return sum(s / s.mean() for s in squares)


def test_width_decisions_on_an_uncoupled_network_slice():
    decision = Decision(widths={"conv1": 5, "conv2": 4, "fc1": 11})
    old, new, plan = inherit(Plain, decision)
    one = strongest(5, behind(old, "bn1"), old["conv2.weight"])
    two = strongest(4, behind(old, "bn2"), old["fc1.weight"].view(20, 12, 16))
    three = strongest(11, filters(old["fc1.weight"]), old["fc2.weight"])
    wanted = {
        "conv1.weight": old["conv1.weight"][one],
        "conv1.bias": old["conv1.bias"][one],
        **{
            f"bn1.{k}": old[f"bn1.{k}"][one]
            for k in ("weight", "bias", "running_mean", "running_var")
        },
        "bn1.num_batches_tracked": torch.tensor(7),
        "conv2.weight": old["conv2.weight"][two][:, one],
        **{
            f"bn2.{k}": old[f"bn2.{k}"][two]
            for k in ("weight", "bias", "running_mean", "running_var")
        },
        "bn2.num_batches_tracked": torch.tensor(7),
        # 12 channels of 4x4 positions each, channel after channel
        "fc1.weight": old["fc1.weight"].view(20, 12, 16)[three][:, two].reshape(11, 64),
        "fc1.bias": old["fc1.bias"][three],
        "fc2.weight": old["fc2.weight"][:, three],
        "fc2.bias": old["fc2.bias"],
    }
    assert new.keys() == wanted.keys()
    for key, value in wanted.items():
        assert torch.equal(new[key], value), key
    assert instantiate_with(plan, new)(images(SHAPE)).shape == (2, 5)


def test_pruning_dead_channels_changes_nothing():
    model = seeded(Plain)
    with torch.no_grad():
        for layer, norm in ((model.conv1, model.bn1), (model.conv2, model.bn2)):
            layer.weight[::2] = 0
            for key in ("weight", "bias"):
                getattr(norm, key)[::2] = 0
    captured = capture(model, SHAPE)
    planner = Planner(captured.architecture)
    decision = Decision(widths={"conv1": 4, "conv2": 6})
    plan = planner.plan(decision)
    student = instantiate_with(plan, Inheritance(captured, planner).weights(plan, decision, seed=0))
    with torch.no_grad():
        torch.testing.assert_close(student(images(SHAPE)), model(images(SHAPE)))


def test_kernels_are_cropped_around_the_centre():
    old, new, plan = inherit(Plain, Decision(kernels={"conv1": (3, 1), "conv2": (1, 1)}))
    assert torch.equal(new["conv1.weight"], old["conv1.weight"][:, :, 1:4, 2:3])
    assert torch.equal(new["conv2.weight"], old["conv2.weight"][:, :, 1:2, 1:2])
    assert plan.by_name()["conv1"].config["padding"] == [1, 0]
    assert new["conv1.weight"].is_contiguous()


def test_coupled_producers_keep_the_same_channels():
    decision = Decision(widths={"stem": 5, "left": 2, "right": 3})
    old, new, _ = inherit(Mixed, decision)
    readers = [old[f"{name}.weight"] for name in ("back", "left", "right")]
    stream = strongest(5, behind(old, "norm"), *readers)
    hidden = old["hidden.weight"].view(12, 16, 16)
    left = strongest(2, filters(old["left.weight"]), hidden[:, :6])
    right = strongest(3, filters(old["right.weight"]), hidden[:, 6:])
    assert torch.equal(new["stem.weight"], old["stem.weight"][stream])
    assert torch.equal(new["depthwise.weight"], old["depthwise.weight"][stream])
    assert torch.equal(new["depthwise.bias"], old["depthwise.bias"][stream])
    assert torch.equal(new["norm.running_var"], old["norm.running_var"][stream])
    assert torch.equal(new["back.weight"], old["back.weight"][stream][:, stream])
    assert torch.equal(new["right.weight"], old["right.weight"][right][:, stream])
    both = torch.cat([left, 6 + right])  # a concatenation: the second follows the six of the first
    assert torch.equal(
        new["hidden.weight"], old["hidden.weight"].view(12, 16, 16)[:, both].flatten(1)
    )


def test_a_norm_behind_a_flatten_has_many_places_for_each_channel():
    def make():
        return nn.Sequential(
            nn.Conv2d(3, 6, 3),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.BatchNorm1d(6 * 9),
            nn.Linear(6 * 9, 5),
        )

    old, new, _ = inherit(make, NOTHING)
    assert all(torch.equal(new[key], old[key]) for key in old)
    old, new, plan = inherit(make, Decision(widths={"0": 2}))
    kept = strongest(
        2, behind(old, "3", rectified=False).view(6, 9).sum(1), old["4.weight"].view(5, 6, 9)
    )
    assert torch.equal(new["3.running_mean"], old["3.running_mean"].view(6, 9)[kept].flatten())
    assert torch.equal(new["4.weight"], old["4.weight"].view(5, 6, 9)[:, kept].flatten(1))
    assert instantiate_with(plan, new)(images(SHAPE)).shape == (2, 5)


@pytest.mark.parametrize("make", [Plain, Mixed])
def test_full_width_is_the_teacher(make):
    captured = capture(seeded(make), SHAPE)
    planner = Planner(captured.architecture)
    decision = Decision(widths={name: g.width for name, g in planner.channels.groups.items()})
    new = Inheritance(captured, planner).weights(planner.plan(decision), decision, seed=0)
    assert new.keys() == captured.weights.keys()
    for key, value in captured.weights.items():
        assert torch.equal(new[key], value)
        assert new[key].data_ptr() != value.data_ptr()


def test_a_bypass_brings_new_channels_that_start_fresh():
    # without conv2 (12 channels), fc1 reads the 8 of conv1; conv2's ranking says whose columns
    decision = Decision(removed=frozenset({"conv2", "bn2"}))
    old, new, _ = inherit(Plain, decision)
    kept = strongest(8, behind(old, "bn2"), old["fc1.weight"].view(20, 12, 16))
    assert torch.equal(new["fc1.weight"], old["fc1.weight"].view(20, 12, 16)[:, kept].flatten(1))
    # without the first convolution the second reads 3 channels of the image instead of 8
    old, new, _ = inherit(Plain, Decision(removed=frozenset({"conv1", "bn1"})))
    kept = strongest(3, behind(old, "bn1"), old["conv2.weight"])
    assert torch.equal(new["conv2.weight"], old["conv2.weight"][:, kept])

    def grows():
        return nn.Sequential(
            nn.Conv2d(3, 8, 3),
            nn.Conv2d(8, 2, 3),
            nn.Conv2d(2, 5, 4),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        )

    first = inherit(grows, Decision(removed=frozenset({"1"})), (3, 8, 8), seed=4)
    again = inherit(grows, Decision(removed=frozenset({"1"})), (3, 8, 8), seed=4)
    other = inherit(grows, Decision(removed=frozenset({"1"})), (3, 8, 8), seed=5)
    old, new, _ = first
    assert torch.equal(new["2.weight"][:, :2], old["2.weight"])
    assert torch.equal(new["2.weight"], again[1]["2.weight"])
    assert torch.equal(new["2.weight"][:, :2], other[1]["2.weight"][:, :2])
    assert not torch.equal(new["2.weight"][:, 2:], other[1]["2.weight"][:, 2:])
    assert new["2.weight"][:, 2:].abs().max() <= (8 * 16) ** -0.5  # torch's own initialisation


def test_a_removed_pool_leaves_a_finer_grid_with_the_same_sums():
    old, new, _ = inherit(Plain, Decision(removed=frozenset({"pool"})))
    coarse, fine = old["fc1.weight"].view(20, 12, 4, 4), new["fc1.weight"].view(20, 12, 8, 8)
    torch.testing.assert_close(fine[:, :, ::2, ::2], coarse / 4)
    torch.testing.assert_close(fine.sum((2, 3)), coarse.sum((2, 3)))


def test_a_removed_pool_of_wide_images_leaves_each_place_its_weights():
    """4 x 16 places are 8 x 8 for whoever counts them alone."""

    def make():
        return Net(
            lambda m, x: m.pool(m.stem(x)).flatten(1),
            stem=nn.Conv2d(3, 6, 3, padding=1),
            pool=nn.MaxPool2d(4),
            head=nn.Linear(6 * 4, 5),
        )

    captured = capture(seeded(make), (3, 4, 16))
    planner, decision = Planner(captured.architecture), Decision(removed=frozenset({"pool"}))
    plan = planner.plan(decision)
    new = Inheritance(captured, planner).weights(plan, decision, seed=0)
    coarse = captured.weights["head.weight"].view(5, 6, 1, 4)
    fine = new["head.weight"].view(5, 6, 4, 16)
    torch.testing.assert_close(fine, coarse.repeat_interleave(4, 2).repeat_interleave(4, 3) / 16)


@pytest.mark.parametrize(
    ("between", "removed", "inputs"),
    [(nn.ReLU(), "stem", 3 * 16), (nn.ReLU(), "pool", 6 * 64), (nn.Softmax(1), "stem", 3 * 16)],
)
def test_what_reads_channels_last_starts_fresh_where_a_removal_changes_it(between, removed, inputs):
    """Place after place, not channel after channel: nobody says which weights still fit."""

    def make():
        return Net(
            lambda m, x: m.fc(m.between(m.pool(m.stem(x)).permute(0, 2, 3, 1).flatten(1))),
            stem=nn.Conv2d(3, 6, 3, padding=1),
            pool=nn.MaxPool2d(2),
            between=between,
            fc=nn.Linear(96, 16),
            head=nn.Linear(16, 5),
        )

    old, new, plan = inherit(make, Decision(removed=frozenset({removed})))
    assert new["fc.weight"].shape == (16, inputs)
    assert instantiate_with(plan, new)(images(SHAPE)).shape == (2, 5)
    assert torch.equal(new["head.weight"], old["head.weight"])
    largest = new["fc.weight"].abs().max() * inputs**0.5
    assert 0.9 < largest <= 1  # torch's own initialisation
    _, same, _ = inherit(make, NOTHING)
    assert torch.equal(same["fc.weight"], old["fc.weight"])


def test_residual_groups_of_a_resnet_agree():
    captured = captured_teacher("resnet20", 8)
    planner = planner_of("resnet20", 8)
    inheritance = Inheritance(captured, planner)
    decision = Decision(widths={"conv": 7})
    new = inheritance.weights(planner.plan(decision), decision, seed=0)
    producers = planner.channels.groups["conv"].producers
    weights = captured.weights
    inner = [f"features.stage1.{i}.bn2" for i in range(3)]  # sums read them
    readers = ["features.stage2.0.shortcut.conv", "features.stage2.0.conv1"]
    readers += [f"features.stage1.{i}.conv1" for i in range(3)]
    sent = behind(weights, "bn") + behind(weights, *inner, rectified=False)
    kept = strongest(7, sent, *(weights[f"{name}.weight"] for name in readers))
    assert inheritance.keep("conv", 7) == kept.tolist()
    for name in producers[1:]:
        assert torch.equal(new[f"{name}.weight"], captured.weights[f"{name}.weight"][kept])


def test_held_and_tied_tensors_are_inherited():
    def forward(m, x):
        return m.head((m.again(m.again(m.conv(x))) * m.scale).mean([2, 3]))

    old, new, plan = inherit(lambda: Wrap(forward), NOTHING)
    assert new.keys() == old.keys()
    assert all(torch.equal(new[key], old[key]) for key in old)
    new["scale_held.weight"].zero_()
    assert old["scale_held.weight"].any()
    assert instantiate_with(plan, new).state_dict().keys() == old.keys()


def test_neither_way_touches_the_global_generator():
    captured = capture(seeded(Plain), SHAPE)
    planner = Planner(captured.architecture)
    decision = Decision(removed=frozenset({"conv1", "bn1"}))
    plan = planner.plan(decision)
    before = torch.get_rng_state()
    inherited = Inheritance(captured, planner).weights(plan, decision, seed=3)
    first, second = fresh_weights(plan, seed=3), fresh_weights(plan, seed=3)
    assert torch.equal(torch.get_rng_state(), before)
    assert inherited.keys() == first.keys()
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert not torch.equal(first["fc1.weight"], fresh_weights(plan, seed=4)["fc1.weight"])
