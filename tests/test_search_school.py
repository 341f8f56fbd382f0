"""What a school says of a teacher is kept between runs, and is what anybody would find."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
import small
import torch

from hwn2n.distil.accuracy import accuracy, predict_logits
from hwn2n.network.capture import capture
from hwn2n.network.decision import NOTHING
from hwn2n.network.inherit import Inheritance
from hwn2n.network.planner import Planner
from hwn2n.search.school import School


def school(**changes: Any) -> School:
    teacher, data = small.small_teacher(), small.small_data()
    model = deepcopy(teacher.model)  # a test hooks and changes it
    captured = capture(model, data.image_shape, teacher.program)
    inheritance = Inheritance(captured, Planner(captured.architecture))
    return School(
        teacher=model,
        inheritance=inheritance,
        data=data,
        settings=small.settings(**changes),
    )


def test_few_images_score_a_candidate_and_all_of_them_a_run_off() -> None:
    ours = school(validation_images=20)
    architecture = capture(ours.teacher, ours.data.image_shape).architecture
    student = ours.student(architecture, NOTHING, seed=0)
    assert ours.train_briefly(student, seed=0).n == 20
    assert ours.train_briefly(student, seed=0, epochs=2).n == len(ours.data.validation) > 20


@pytest.mark.parametrize(("fresh", "seen"), [(False, 20), (True, 60)])
def test_a_final_training_of_few_images_takes_others_in_each_epoch_if_it_should(
    monkeypatch: pytest.MonkeyPatch, fresh: bool, seen: int
) -> None:
    changes = {"final__fresh": fresh, "final__max_images": 20, "final__epochs": 3}
    ours = school(final_augment=False, **changes)
    shown: set[bytes] = set()

    def spied(images: torch.Tensor, *_: Any) -> torch.Tensor:
        shown.update(image.numpy().tobytes() for image in images)
        return images

    monkeypatch.setattr("hwn2n.distil.epoch.augment", spied)
    architecture = capture(ours.teacher, ours.data.image_shape).architecture
    ours.train_fully(ours.student(architecture, NOTHING, seed=0), seed=0)
    assert len(shown) == seen


@pytest.mark.usefixtures("logits_kept")
def test_a_teacher_is_scored_once_and_by_all_its_weights() -> None:
    first = school()
    asked: list[int] = []
    first.teacher.register_forward_hook(lambda _, given, __: asked.append(len(given[0])))
    data = first.data
    wanted = accuracy(first.teacher, data.validation, data.mean, data.std)
    asked.clear()
    assert first.score(first.teacher) == wanted and sum(asked) == len(data.validation)
    asked.clear()
    assert first.score(first.teacher) == wanted
    assert asked == [16], "a few are compared with what is kept"
    assert first.score(first.teacher, data.train) == accuracy(
        first.teacher, data.train, data.mean, data.std
    )
    asked.clear()
    for parameter in first.teacher.parameters():
        parameter.data.neg_()
    assert first.score(first.teacher).top1 != wanted.top1
    assert sum(asked) == len(data.validation)


@pytest.mark.parametrize(("precision", "other"), [("fp32", "bf16"), ("bf16", "fp32")])
def test_the_teachers_logits_are_of_the_precision_that_was_asked_for(
    precision: str, other: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hwn2n.distil.logits.choose_precision", lambda _: other)
    ours = school(train__precision=precision)
    found = ours.search_logits()
    how = (ours.search_images, ours.data.mean, ours.data.std)
    assert found is not None
    assert torch.equal(found, predict_logits(ours.teacher, *how, precision=precision))
    assert not torch.equal(found, predict_logits(ours.teacher, *how, precision=other))
