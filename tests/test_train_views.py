"""Shared views: an epoch's augmented images, and what the teacher says of them, serve all seeds."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import small
import torch
from torch import Tensor, nn

from hwn2n.distil import views
from hwn2n.distil.accuracy import predict_logits
from hwn2n.distil.losses import LogitL2
from hwn2n.distil.recipes import TrainSettings
from hwn2n.distil.state import TrainState
from hwn2n.distil.train import train
from hwn2n.distil.views import shared_epoch, views_of_epoch

DATA = small.small_data()
NORMAL = {"mean": DATA.mean, "std": DATA.std}
HOW = TrainSettings(
    epochs=3, batch_size=16, lr=0.01, augment="crop-flip", precision="fp32", shared_views=True
)


class Counting(nn.Module):
    """A teacher that counts the images that it is asked about."""

    def __init__(self) -> None:
        super().__init__()
        self.net = small.SmallNet()
        self.asked = 0

    def forward(self, x: Tensor) -> Tensor:
        self.asked += len(x)
        return self.net(x)


def trained(how: TrainSettings, teacher: nn.Module, seed: int, **more: object) -> list[Tensor]:
    torch.manual_seed(0)
    student = small.SmallNet()
    train(student, DATA.train, LogitL2(), how, teacher=teacher, seed=seed, **NORMAL, **more)  # type: ignore[arg-type]
    return [value.clone() for value in student.state_dict().values()]


def test_the_views_differ_between_epochs_and_are_what_augmentation_gives() -> None:
    first, again, second = (views_of_epoch(DATA.train, "crop-flip", n) for n in (0, 0, 1))
    assert torch.equal(first.images, again.images)
    assert torch.equal(first.labels, DATA.train.labels)
    assert not torch.equal(first.images, second.images)
    assert not torch.equal(first.images, DATA.train.images)
    assert torch.equal(views_of_epoch(DATA.train, "none", 3).images, DATA.train.images)


@pytest.mark.parametrize("count", [150, 40])
def test_each_image_meets_the_logits_of_its_own_view_in_the_order_asked_for(count: int) -> None:
    order = torch.randperm(150, generator=torch.Generator().manual_seed(1))[:count]
    teacher = small.SmallNet().eval()
    how: dict[str, Any] = {"device": torch.device("cpu"), "precision": "fp32", **NORMAL}
    seen, logits, among = shared_epoch(DATA.train, order, "crop-flip", 0, teacher, **how)
    assert len(seen) == len(logits) == count
    assert torch.equal(seen.labels[among], DATA.train.labels[order])
    assert torch.equal(logits, predict_logits(teacher, seen, precision="fp32", **NORMAL))
    other = order.flip(0)
    same, _, back = shared_epoch(DATA.train, other, "crop-flip", 0, teacher, **how)
    assert torch.equal(same.images[back.flip(0)], seen.images[among])


@pytest.mark.parametrize("fast", ["fp32", "bf16"])
def test_the_teacher_is_asked_in_the_precision_of_the_training(
    fast: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is fast on the machine; "auto" is that."""
    asked: list[str] = []

    def spied(*given: Any, precision: str, **how: Any) -> Tensor:
        asked.append(precision)
        return predict_logits(*given, precision=precision, **how)

    monkeypatch.setattr("hwn2n.distil.logits.predict_logits", spied)
    for module in ("logits", "feed"):
        monkeypatch.setattr(f"hwn2n.distil.{module}.choose_precision", lambda _: fast)
    for precision in ("fp32", "bf16", "auto"):
        trained(replace(HOW, precision=precision, epochs=1), small.SmallNet(), seed=0)
    assert asked == ["fp32", "bf16", fast]


@pytest.mark.usefixtures("logits_kept")
def test_a_second_training_does_not_ask_the_teacher() -> None:
    teacher = Counting()
    trained(HOW, teacher, seed=0)
    assert teacher.asked == 3 * 150
    trained(HOW, teacher, seed=1)
    few = 3 * 16  # to see that what is kept is still what it says
    assert teacher.asked == 3 * 150 + few
    trained(replace(HOW, shared_views=False), teacher, seed=1)
    assert teacher.asked == 6 * 150 + few


def test_interrupted_and_resumed_it_is_the_same_training() -> None:
    teacher, states = small.SmallNet(), []

    def stop(_: object, state: TrainState) -> None:
        states.append(state)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained(HOW, teacher, seed=4, on_epoch=stop)
    resumed = trained(HOW, teacher, seed=4, resume_state=states[0])
    whole = trained(HOW, teacher, seed=4)
    assert all(torch.equal(a, b) for a, b in zip(resumed, whole, strict=True))


def test_too_many_images_to_hold_twice_are_augmented_by_each_training(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    teacher = small.SmallNet()
    own = trained(replace(HOW, shared_views=False), teacher, seed=2)
    shared = trained(HOW, teacher, seed=2)
    monkeypatch.setattr(views, "MOST_BYTES", DATA.train.images.numel() - 1)
    beyond = trained(HOW, teacher, seed=2)
    assert all(torch.equal(a, b) for a, b in zip(own, beyond, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(own, shared, strict=True))
