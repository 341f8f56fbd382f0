from dataclasses import replace
from math import cos, pi

import pytest
import torch

from hwn2n.distil.losses import (
    CrossEntropy,
    CrossEntropyAndL2,
    LogitL2,
    cross_entropy_and_l2,
    logit_l2,
)
from hwn2n.distil.optim import epoch_seed, learning_rate, make_optimizer, weight_decay
from hwn2n.distil.recipes import (
    STUDENT_RECIPES,
    TEACHER_RECIPES,
    TrainSettings,
    default_recipe,
)
from hwn2n.errors import InputError


def rates(**changes):
    settings = TrainSettings(**{"epochs": 4, "lr": 1.0, **changes})
    return [learning_rate(settings, step, 2) for step in range(8)]


def test_schedules_by_hand():
    assert rates() == [1.0] * 8
    assert rates(schedule="cosine") == pytest.approx([(1 + cos(pi * i / 8)) / 2 for i in range(8)])
    assert rates(schedule="onecycle", warmup=0.25) == pytest.approx(
        [1 / 2, 1, 1, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6]
    )
    assert rates(schedule="step", milestones=(1, 3), gamma=0.5) == pytest.approx(
        [1, 1, 0.5, 0.5, 0.5, 0.5, 0.25, 0.25]
    )
    assert rates(schedule="step", milestones=(1, 3), gamma=(0.5, 0.1)) == pytest.approx(
        [1, 1, 0.5, 0.5, 0.5, 0.5, 0.05, 0.05]
    )


def test_the_authors_55_epoch_rule():
    settings = TEACHER_RECIPES["paper-cifar"]
    # datasets/cifar10.py counts epochs from 1: 1-18, 19-29, 30-43, 44-52, 53-
    wanted = {1: 5e-3, 18: 5e-3, 19: 1e-3, 29: 1e-3, 30: 5e-4, 43: 5e-4, 44: 1e-4, 53: 1e-5}
    for epoch, rate in wanted.items():
        assert learning_rate(settings, (epoch - 1) * 7, 7) == pytest.approx(rate)
        assert weight_decay(settings, epoch - 1) == (5e-4 if epoch <= 43 else 0)


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
def test_optimizers(optimizer):
    model = torch.nn.Linear(2, 2)
    model.bias.requires_grad_(False)
    made = make_optimizer(model, TrainSettings(epochs=1, optimizer=optimizer, weight_decay=0.1))
    assert type(made).__name__.lower() == optimizer
    assert [group["weight_decay"] for group in made.param_groups] == [0.1]
    assert [p.shape for p in made.param_groups[0]["params"]] == [(2, 2)]


def test_nothing_to_train():
    with pytest.raises(InputError, match="parameters that require a gradient"):
        make_optimizer(torch.nn.ReLU(), TrainSettings(epochs=1))


def test_epoch_seeds_differ_and_stay():
    seeds = {epoch_seed(seed, epoch) for seed in range(20) for epoch in range(20)}
    assert len(seeds) == 400
    assert epoch_seed(0, 0) == epoch_seed(0, 0)
    assert all(0 <= seed < 2**63 for seed in seeds)
    with pytest.raises(InputError, match="negative"):
        epoch_seed(-1, 0)


@pytest.mark.parametrize(
    "changes",
    [
        {"epochs": 0},
        {"epochs": 1.5},
        {"batch_size": 1},
        {"optimizer": "lion"},
        {"schedule": "linear"},
        {"augment": "mixup"},
        {"precision": "fp16"},
        {"lr": 0.0},
        {"lr": float("nan")},
        {"momentum": 1.0},
        {"weight_decay": -1.0},
        {"weight_decay_until": -1},
        {"warmup": 1.0},
        {"label_smoothing": 1.0},
        {"clip_norm": 0.0},
        {"max_images": 1},
        {"patience": 0},
        {"milestones": (2, 1)},
        {"milestones": (0, 1)},
        {"milestones": (1, 2), "gamma": (0.1,)},
        {"nesterov": True, "momentum": 0.0},
        {"nesterov": True, "optimizer": "adam"},
    ],
)
def test_settings_refuse(changes):
    with pytest.raises(InputError) as caught:
        TrainSettings(**{"epochs": 2, **changes})
    assert next(iter(changes)) in str(caught.value)


def test_presets():
    assert {"paper-mnist", "paper-cifar", "paper-resnet", "fast"} <= TEACHER_RECIPES.keys()
    search = STUDENT_RECIPES["paper-search"]
    assert (search.epochs, search.optimizer, search.lr, search.batch_size) == (5, "adam", 5e-4, 200)
    for presets in (TEACHER_RECIPES, STUDENT_RECIPES):
        for name, preset in presets.items():
            assert preset.precision == ("fp32" if name.startswith("paper") else "auto"), name
    assert default_recipe("cifar10", "resnet18").augment == "crop-flip"
    assert default_recipe("imagefolder:some/where.zip", "vgg13").augment == "crop-flip"
    assert default_recipe("mnist", "vgg13").augment == "none"
    assert default_recipe("module:function", "conv4").augment == "none"
    mine = default_recipe("mnist:load", "conv4"), default_recipe("cifar10:load", "conv4")
    assert mine[0] == mine[1] == default_recipe("module:function", "conv4")
    assert default_recipe("module:function", "conv4", "flip").augment == "flip"
    assert default_recipe("cifar10", "conv4", "none").augment == "none"
    assert default_recipe("cifar10", "vgg13").lr == default_recipe("cifar10", "resnet18").lr / 2
    assert default_recipe("digits", "digits-cnn").epochs < 30
    assert replace(TEACHER_RECIPES["fast"], epochs=1).epochs == 1


def test_losses_by_hand():
    student = torch.tensor([[1.0, 3.0], [0.0, 0.0]])
    teacher = torch.tensor([[0.0, 1.0], [0.0, 0.0]])
    labels = torch.tensor([0, 1])
    assert logit_l2(student, teacher).item() == pytest.approx((1 + 4) / 4)
    # -log softmax: log(1 + e^2) for the first image, log 2 for the second
    entropy = (torch.tensor(2.0).exp().log1p() + torch.tensor(2.0).log()).item() / 2
    assert cross_entropy_and_l2(student, teacher, labels, 2.0).item() == pytest.approx(
        entropy + 2 * 5 / 4
    )
    assert CrossEntropy()(student, None, labels).item() == pytest.approx(entropy)
    assert LogitL2()(student, teacher, labels).item() == pytest.approx(5 / 4)
    assert CrossEntropyAndL2(lam=2.0)(student, teacher, labels).item() == pytest.approx(
        entropy + 5 / 2
    )
    # all of the target spread: mean of -log softmax over the classes
    smooth = CrossEntropy(label_smoothing=0.5)(student[1:], None, labels[1:]).item()
    assert smooth == pytest.approx(torch.tensor(2.0).log().item())


def test_losses_refuse():
    with pytest.raises(InputError, match="label_smoothing"):
        CrossEntropy(label_smoothing=1.0)
    with pytest.raises(InputError, match="lam"):
        CrossEntropyAndL2(lam=-1.0)
    with pytest.raises(InputError, match="teacher's logits"):
        LogitL2()(torch.zeros(1, 2), None, torch.zeros(1).long())
