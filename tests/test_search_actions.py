"""What actions mean: steps, forced and tied ones, and the decisions that they make."""

import pytest
import torch
from networks import Plain, Wrap, images, planner_of, random_decision, seeded
from torch import nn

from hwn2n.errors import InputError
from hwn2n.network.capture import capture
from hwn2n.network.decision import NOTHING, Decision
from hwn2n.network.layers import find_layers
from hwn2n.network.module import instantiate
from hwn2n.network.planner import Planner
from hwn2n.search.choices.actions import (
    KEEP_ALL,
    SHRINK_VALUES,
    RemovalStage,
    ShrinkageStage,
    smaller_kernel,
)
from hwn2n.search.choices.steps import FREE
from hwn2n.search.policies.removal import KEEP, REMOVE

SHAPE = (3, 8, 8)


def planner(make):
    return Planner(capture(seeded(make), SHAPE).architecture)


def test_shrink_values_are_the_papers():
    assert SHRINK_VALUES == (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
    assert SHRINK_VALUES[KEEP_ALL] == 1.0


@pytest.mark.parametrize(
    ("size", "kernels"),
    [
        #    0.1 0.2 0.3 0.4 0.5 0.6 0.7 0.8 0.9 1.0
        (1, [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]),
        (2, [2, 2, 2, 2, 2, 2, 2, 2, 2, 2]),
        (3, [1, 1, 1, 1, 1, 1, 3, 3, 3, 3]),
        (4, [2, 2, 2, 2, 2, 2, 2, 4, 4, 4]),
        (5, [1, 1, 1, 3, 3, 3, 3, 5, 5, 5]),
        (7, [1, 1, 3, 3, 3, 5, 5, 5, 7, 7]),
    ],
)
def test_kernels_stay_centred(size, kernels):
    assert [smaller_kernel(size, share) for share in SHRINK_VALUES] == kernels


def test_removal_steps_of_a_resnet():
    stage = RemovalStage(planner_of("resnet20", 8))
    assert stage.steps.names == tuple(x.name for x in find_layers(planner_of("resnet20", 8)))
    forced = dict(zip(stage.steps.names, stage.steps.forced.tolist(), strict=True))
    assert {name for name, action in forced.items() if action != FREE} == {"conv", "classifier"}
    assert forced["conv"] == KEEP
    assert stage.steps.tied.unique().tolist() == [FREE]
    assert stage.decision([KEEP] * len(stage.steps)) == NOTHING
    actions = [KEEP] * len(stage.steps)
    actions[stage.steps.names.index("features.stage2.0.conv1")] = REMOVE
    names = {f"features.stage2.0.{name}" for name in ("conv1", "bn1", "relu1")}
    assert stage.decision(actions) == Decision(removed=frozenset(names))


def test_features_of_both_kinds():
    paper = RemovalStage(planner(Plain), features="paper").steps.features
    assert paper[0].tolist() == [1, 5, 1, 2, 8, 0, 0]  # type, kernel, stride, padding, outputs
    normalised = RemovalStage(planner(Plain)).steps.features
    assert normalised.shape[0] == 5
    assert normalised.abs().max() <= 2


def test_shrinkage_steps_of_a_resnet_tie_the_stream():
    stage = ShrinkageStage(planner_of("resnet20", 8), frozenset())
    names, tied = stage.steps.names, stage.steps.tied.tolist()
    stem = names.index("conv:width")
    for block in range(3):
        assert tied[names.index(f"features.stage1.{block}.conv2:width")] == stem
        assert tied[names.index(f"features.stage1.{block}.conv1:width")] == FREE
    assert all(FREE <= source < at for at, source in enumerate(tied))
    assert "features.stage2.0.shortcut.conv:kernel" not in names  # 1x1 has nothing to shrink
    forced = dict(zip(names, stage.steps.forced.tolist(), strict=True))
    assert {name: a for name, a in forced.items() if a != FREE} == {"classifier:width": KEEP_ALL}


def test_settled_actions_make_legal_decisions_that_agree():
    teacher = planner_of("resnet20", 8)
    generator = torch.Generator().manual_seed(0)
    removal = RemovalStage(teacher)
    for _ in range(5):
        actions = torch.randint(0, 2, (len(removal.steps),), generator=generator)
        removed = removal.decision(removal.steps.settle(actions).tolist()).removed
        stage = ShrinkageStage(teacher, removed)
        chosen = torch.randint(0, 10, (len(stage.steps),), generator=generator)
        actions = stage.steps.settle(chosen).tolist()
        decision = stage.decision(actions)
        plan = teacher.plan(decision)
        assert instantiate(plan)(images((3, 8, 8))).shape == (2, 10)
        _, channels = teacher.left(removed)
        for (layer, variable), action in zip(stage.variables, actions, strict=True):
            config = plan.by_name()[layer.name].config
            if variable == "width":
                full = channels.own_group(layer.name).width
                made = config.get("out_channels", config.get("out_features"))
                assert made == max(1, int(full * SHRINK_VALUES[action] + 0.5))
            else:
                assert config["kernel_size"] == [smaller_kernel(3, SHRINK_VALUES[action])] * 2


def test_keeping_everything_is_the_teacher():
    teacher = planner_of("resnet20", 8)
    stage = ShrinkageStage(teacher, frozenset())
    kept = teacher.plan(stage.decision([KEEP_ALL] * len(stage.steps)))
    assert kept == teacher.teacher


def test_oblong_kernels_have_a_step():
    def make():
        return nn.Sequential(
            nn.Conv2d(3, 4, (1, 5), padding=(0, 2)), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
            nn.Linear(4, 5),
        )  # fmt: skip

    stage = ShrinkageStage(planner(make), frozenset())
    assert stage.steps.names == ("0:kernel", "0:width", "3:width")
    assert stage.decision([0, 4, 9]) == Decision(frozenset(), {"0": 2}, {"0": (1, 1)})


def test_layers_that_share_weights_share_their_steps():
    def twice(m, x):
        return m.head(m.again(m.again(m.conv(x))).mean([2, 3]))

    teacher = planner(lambda: Wrap(twice))
    removal = RemovalStage(teacher)
    forced = dict(zip(removal.steps.names, removal.steps.forced.tolist(), strict=True))
    assert forced == dict.fromkeys(("conv", "again", "again_1", "head"), KEEP)
    stage = ShrinkageStage(teacher, frozenset())
    tied = dict(zip(stage.steps.names, stage.steps.tied.tolist(), strict=True))
    at = stage.steps.names.index
    assert tied["again_1:kernel"] == at("again:kernel")
    assert tied["again:width"] == tied["again_1:width"] == at("conv:width")
    for seed in range(5):
        chosen = torch.randint(
            0, 10, (len(stage.steps),), generator=torch.Generator().manual_seed(seed)
        )
        decision = stage.decision(stage.steps.settle(chosen).tolist())
        assert instantiate(teacher.plan(decision))(images(SHAPE)).shape == (2, 5)


def test_nothing_to_decide():
    with pytest.raises(InputError, match="must have a layer that hwn2n knows"):
        RemovalStage(planner(lambda: nn.Sequential(nn.Flatten(), nn.Softmax(1))))
    with pytest.raises(InputError, match="has none left"):
        ShrinkageStage(
            planner(lambda: nn.Sequential(nn.MaxPool2d(2), nn.Flatten(), nn.ReLU())), frozenset()
        )


def test_random_decisions_of_the_tests_are_those_of_the_stages():
    import random

    teacher = planner_of("resnet20", 8)
    decision = random_decision(teacher, random.Random(0))
    stage = ShrinkageStage(teacher, decision.removed)
    names = {f"{name}:width" for name in decision.widths}
    assert names <= set(stage.steps.names)
