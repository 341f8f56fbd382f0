"""The check on labelled images: accuracies, and real inputs for what is measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import small
import torch
from told import MEASURED, Told, budget, latency

import hwn2n
from hwn2n.budget.cost import Reading
from hwn2n.budget.judgement import Verdict
from hwn2n.commands.labelled import INPUTS, load_labelled
from hwn2n.commands.request import Request, as_taught
from hwn2n.distil.accuracy import accuracy
from hwn2n.distil.data_options import is_same_data
from hwn2n.errors import InputError, MeasurementError
from hwn2n.network.files import Teacher
from hwn2n.search.recipes import build_settings

DATA = small.small_data()
COLUMNS = ["params", "accuracy"]


def check(*rows: dict[str, Any], **how: Any) -> Any:
    how = {"target": Told(latency_p50=MEASURED), "model": small.SmallNet()} | how
    return hwn2n.check(budget=budget(*rows), input_shape=small.SHAPE, **how)


def test_accuracies_are_those_of_the_validation_images() -> None:
    model = small.small_teacher().model
    found = accuracy(model, DATA.validation, DATA.mean, DATA.std)
    rows = (
        {"metric": "accuracy", "min": "50%"},
        {"metric": "worst_class_accuracy", "min": "99.9%", "severity": "warn"},
    )
    judged = check(*rows, model=model, data=DATA)
    assert [row.value for row in judged.rows] == [found.top1, found.worst_class]
    assert [row.low for row in judged.rows] == [None, None]
    assert (judged.rows[0].verdict, judged.exit_code) == (Verdict.PASS, 0)
    assert judged.inputs == "diagonals"


def test_without_images_nobody_can_tell() -> None:
    found = check({"metric": "accuracy", "min": "50%"})
    assert (found.exit_code, found.inputs) == (3, "noise")
    assert found.rows[0].reason == "accuracy: only labelled images tell it: give --data NAME"


def test_accuracies_may_be_relative_to_a_teacher() -> None:
    row = {"metric": "accuracy", "min": "-1pt"}
    teacher = small.small_teacher()
    assert check(row, model=teacher.model, teacher=teacher, data=DATA).exit_code == 0
    torch.manual_seed(0)
    found = check(row, teacher=teacher, data=DATA)  # an untrained student
    top1 = accuracy(teacher.model, DATA.validation, DATA.mean, DATA.std).top1
    assert found.exit_code == 1
    assert found.rows[0].limit == pytest.approx(top1 - 0.01)


def test_measured_networks_run_on_the_images_normalised() -> None:
    target = Told(latency_p50=MEASURED)
    check(latency(max="1s"), target=target, data=DATA)
    [protocol] = target.protocols
    assert protocol.images is not None
    assert protocol.images.shape == (min(INPUTS, len(DATA.validation)), *small.SHAPE)
    assert protocol.images.dtype == torch.float32
    expected = (DATA.validation.images[0].double() / 255 - DATA.mean[0]) / DATA.std[0]
    assert torch.allclose(protocol.images[0].double(), expected, atol=1e-5)
    teacher = small.small_teacher(mean=(0.5,), std=(0.25,))
    check(latency(max="1s"), model=teacher, target=target, data=DATA)
    expected = (DATA.validation.images[0].double() / 255 - 0.5) / 0.25
    assert target.protocols[1].images is not None
    assert torch.allclose(target.protocols[1].images[0].double(), expected, atol=1e-5)


def test_a_profile_runs_on_the_images_of_a_check(tmp_path: Any, monkeypatch: Any) -> None:
    told = Told(energy=Reading(1.0, "measured", 0.9, 1.1))
    model, row = small.SmallNet(), {"metric": "energy", "max": "2J"}
    taught = Teacher(
        data="mine:data", metadata={"split_seed": 7}, source="a file", model=small.SmallNet()
    )
    monkeypatch.setattr("hwn2n.commands.labelled.load_data", lambda name, **how: DATA)
    for network, data in ((model, DATA), (taught, "mine:data")):
        before = hwn2n.profile(
            network, target=told, input_shape=small.SHAPE, columns=["energy"], data=data
        )
        before.save(tmp_path / "main.json")
        found = check(row, model=network, target=told, data=data, baseline=tmp_path / "main.json")
        assert before.inputs == found.inputs == "diagonals"
        assert found.rows[0].change.relative == 0
        there, here = told.protocols[-2:]
        assert torch.equal(there.images, here.images)


def test_static_only_reads_no_data() -> None:
    found = check({"metric": "params", "max": "2k"}, data="no-such-data", static_only=True)
    assert (found.exit_code, found.inputs) == (0, "noise")


def test_increases_leave_accuracies_to_the_budget(tmp_path: Any) -> None:
    path = tmp_path / "main.json"
    model = small.SmallNet()
    target = Told(latency_p50=MEASURED)
    hwn2n.profile(model, target=target, input_shape=small.SHAPE, columns=COLUMNS).save(path)
    rows = ({"metric": "accuracy", "min": "1%"}, {"metric": "params", "max": "2k"})
    found = check(*rows, model=model, data=DATA, baseline=path, max_increase="5%")
    assert [row.id for row in found.rows] == ["accuracy", "params", "params-increase"]
    assert found.exit_code == 0
    assert "it is learned" in found.rows[0].change.reason


def test_images_that_do_not_fit() -> None:
    with pytest.raises(InputError, match=r"must have the shape \(3, 8, 8\) .* have \(1, 8, 8\)"):
        load_labelled(DATA, None, (3, 8, 8), ())
    with pytest.raises(InputError, match="data must be one of"):
        check({"metric": "accuracy", "min": "50%"}, data="no-such-data")
    with pytest.raises(InputError, match="one output for each of 3 classes"):
        check({"metric": "accuracy", "min": "50%"}, model=small.SmallNet(classes=2), data=DATA)
    broken = small.SmallNet()
    torch.nn.init.constant_(broken.classifier.bias, float("nan"))
    with pytest.raises(MeasurementError, match="SmallNet: logits must be finite"):
        check({"metric": "accuracy", "min": "50%"}, model=broken, data=DATA)


def test_one_folder_is_one_however_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "photos").mkdir()
    monkeypatch.chdir(tmp_path)
    for other in ("photos", "photos/", "./photos", str(tmp_path / "photos"), "photos/../photos"):
        assert is_same_data("imagefolder:photos", f"imagefolder:{other}")
    assert not is_same_data("imagefolder:photos", "imagefolder:other")
    assert not is_same_data("imagefolder:photos", "photos")
    assert is_same_data("digits", "digits") and not is_same_data(None, "digits")
    teacher = Teacher(
        data="imagefolder:photos",
        metadata={"split_seed": 7, "validation": 9},
        source="a file",
        model=small.SmallNet(),
    )
    request = Request(teacher="t.pt", data="imagefolder:photos/", settings=build_settings())
    assert as_taught(request, teacher, split_seed=None).validation == 9


@pytest.mark.parametrize(
    ("metadata", "split"),
    [
        ({"split_seed": 7, "validation": 0.3}, {"seed": 7, "validation": 0.3}),
        ({"split_seed": 7}, {"seed": 7, "validation": None}),
        ({"validation": 0.3}, {"seed": 0, "validation": None}),
    ],
)
def test_the_split_is_the_teachers(
    metadata: dict[str, Any], split: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict[str, Any]] = []

    def load(name: str, **how: Any) -> Any:
        asked.append({"name": name, **how})
        return DATA

    monkeypatch.setattr("hwn2n.commands.labelled.load_data", load)
    others = {"source": "a file", "model": small.SmallNet()}
    taught = Teacher(data="diagonals", metadata=metadata, **others)
    load_labelled("diagonals", "folder", small.SHAPE, (Teacher(**others), taught))
    assert asked == [{"name": "diagonals", "root": "folder", "image_size": 8, **split}]


def test_a_false_split_is_refused() -> None:
    taught = Teacher(
        data="digits", metadata={"split_seed": "7"}, source="a file", model=small.SmallNet()
    )
    with pytest.raises(InputError, match="a file: its seed must be a number, but is '7'"):
        load_labelled("digits", None, small.SHAPE, (taught,))
