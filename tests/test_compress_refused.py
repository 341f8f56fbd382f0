"""What `hwn2n.compress` refuses, before any training and in one line, and what it does not find."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small
import torch
from torch.fx import GraphModule

import hwn2n
from hwn2n.budget.cost import Reading
from hwn2n.budget.load import load_budget
from hwn2n.cli.tables import result_lines, result_table
from hwn2n.commands.compress import Result
from hwn2n.distil.feed import DivergedError
from hwn2n.distil.images import ImageSet
from hwn2n.errors import (
    BudgetNotMetError,
    Hwn2nError,
    InconclusiveError,
    InputError,
    MeasurementError,
)
from hwn2n.hardware.measurement import FULL
from hwn2n.run.folder import read_json
from hwn2n.run.ledger import Ledger
from hwn2n.search.policies import (
    Policy,
    RemovalPolicy,
    ShrinkagePolicy,
    UniformPolicy,
    save_policy,
)
from hwn2n.search.school import School


def nan_teacher() -> Any:
    model = small.SmallNet().eval()
    with torch.no_grad():
        model.conv2.weight[0, 0, 0, 0] = float("nan")
    return model


REFUSED: dict[str, tuple[type[Hwn2nError], Mapping[str, Any], str]] = {
    "too small a budget": (
        BudgetNotMetError,
        {"budget": small.budget_text("{metric: params, max: 5}")},
        r"which is proven: params <= 5 \(budget:4\), but every student has at least 6; nothing",
    ),
    "too large a budget": (
        BudgetNotMetError,
        {"budget": small.budget_text("{metric: params, min: 5000}")},
        r"which is proven: params >= 5000 \(budget:4\), but every student has at most 1,137;",
    ),
    "power": (
        MeasurementError,
        {"budget": small.budget_text("{metric: power, max: 7W}")},
        "the budget needs power_avg, which target calm cannot measure: it has no sensor",
    ),
    "classes": (
        InputError,
        {"model": small.SmallNet(classes=4)},
        "one logit for each of the 3 classes of diagonals, but has 4",
    ),
    "other order": (
        InputError,
        {"model": small.small_teacher(classes=("left", "cross", "right"))},
        "in the same order, but it has 'cross' where the data has 'right'",
    ),
    "fewer names": (
        InputError,
        {"model": small.small_teacher(classes=("left", "right"))},
        "in the same order, but it has None where the data has 'cross'",
    ),
    "channels": (
        InputError,
        {"model": small.SmallNet(channels=3)},
        r"the model must accept images of shape \(N, 1, 8, 8\), but it failed",
    ),
    "image size": (
        InputError,
        {"model": small.small_teacher(input_shape=(1, 16, 16))},
        r"images must be those of diagonals, \[1, 8, 8\] .*, but are \[1, 16, 16\]",
    ),
    "normalisation": (
        InputError,
        {"model": small.small_teacher(mean=(0.1, 0.2), std=(1.0, 1.0))},
        "normalisation is for 2 channels, but images of diagonals have 1",
    ),
    "nan": (InputError, {"model": nan_teacher()}, "must give finite logits"),
    "input of the budget": (
        InputError,
        {"budget": small.BUDGET + "input: [1, 3, 32, 32]\n"},
        r"input must be that of the data, \[1, 8, 8\] .*, but is \[3, 32, 32\]",
    ),
    "policies for another strategy": (
        InputError,
        {"policies": ["p.safetensors"], "recipe": small.settings(strategy="evolution")},
        "policies to start from need the strategy policies, but strategy is evolution",
    ),
    "no policy": (InputError, {"policies": ["none.safetensors"]}, "No such file"),
    "no budget file": (InputError, {"budget": "none.yaml"}, "none.yaml"),
    "device": (InputError, {"recipe": small.settings(device="tpu")}, "device must be cpu, cuda"),
    "size of ready data": (InputError, {"image_size": 16}, "image_size must be left out for diag"),
    "split of ready data": (InputError, {"validation": 0.5}, "but got 0.5"),
    "data": (InputError, {"data": "mnst"}, "data must be one of .* but got 'mnst'"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_before_any_training(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind, changes, message = REFUSED[case]
    monkeypatch.setattr(School, "train_briefly", lambda *_, **__: pytest.fail("trained"))
    with pytest.raises(kind, match=message) as caught:
        small.compress(tmp_path / "runs" / "run", **changes)
    assert "\n" not in str(caught.value)
    assert small.files(tmp_path) == set()


def test_a_teacher_that_is_always_wrong_is_refused(tmp_path: Path) -> None:
    data = small.small_data()
    wrong = replace(data.validation, labels=torch.full_like(data.validation.labels, 2))
    model = small.SmallNet()
    with torch.no_grad():
        model.classifier.bias.copy_(torch.tensor([9e9, 0.0, -9e9]))
    with pytest.raises(InputError, match="classifies no validation image correctly"):
        small.compress(tmp_path / "run", model=model, data=replace(data, validation=wrong))
    assert small.files(tmp_path) == set()


def test_a_full_folder_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="the run folder must be new or empty"):
        small.compress(tmp_path)
    assert small.files(tmp_path) == {"notes.txt"}


def test_a_budget_in_the_folder_stays_where_it_is(tmp_path: Path) -> None:
    """A folder with a budget is the user's, unless the lock says that a killed process left it."""
    path = tmp_path / "budget.yaml"
    path.write_text(small.BUDGET)
    with pytest.raises(InputError, match="the run folder must be new or empty"):
        small.compress(tmp_path, budget=path)
    assert path.read_text() == small.BUDGET and small.files(tmp_path) == {"budget.yaml"}
    (tmp_path / ".lock").touch()
    assert small.compress(tmp_path, budget=path).satisfied
    assert path.read_text() == small.BUDGET


def test_test_images_are_read_before_the_search(tmp_path: Path) -> None:
    def damaged() -> ImageSet:
        raise InputError("test/cat/0.png must be a readable image")

    data = replace(small.small_data(), load_test=damaged)
    with pytest.raises(InputError, match=r"test/cat/0\.png must be"):
        small.compress(tmp_path / "run", data=data)
    assert small.files(tmp_path) == set()


def test_numbers_of_numpy_are_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(small, "halves", lambda: (small.images(150, 1), small.images(90, 3)), False)
    rows = [OrderedDict(metric="params", max=np.float64(600))]
    limits = OrderedDict(apiVersion="hwn2n/v1", name="numbers", constraints=rows)
    model = small.small_teacher(classes=None)
    given: dict[str, Any] = {"model": model, "data": "small:halves", "budget": limits}
    result = small.compress(
        tmp_path / "run", validation=np.int64(5), split_seed=np.int32(1), **given
    )
    asked = read_json(Path(result.folder) / "config.json")["request"]
    assert (asked["validation"], asked["split_seed"]) == (5, 1)
    assert load_budget(tmp_path / "run" / "budget.yaml").rows[0].limit.value == 600
    with pytest.raises(InputError, match=r"image_size must be a whole number, but got 8\.5"):
        small.compress(tmp_path / "other", image_size=8.5)


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        (RemovalPolicy(5), "must read 16 features of a layer and have 2 actions, but reads 5 and"),
        (ShrinkagePolicy(16, n_actions=4), "and have 10 actions, but reads 16 and has 4"),
        (UniformPolicy(16, 2), "must hold a removal or shrinkage policy, not uniform"),
    ],
)
def test_a_policy_that_does_not_suit_is_refused(
    tmp_path: Path, policy: Policy, message: str
) -> None:
    path = tmp_path / "p.safetensors"
    save_policy(path, policy, {"features": "normalised"})
    with pytest.raises(InputError, match=message):
        small.compress(tmp_path / "run", policies=[path])
    assert small.files(tmp_path) == {"p.safetensors"}


def test_two_policies_of_one_stage_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "p.safetensors"
    save_policy(path, RemovalPolicy(16), {"features": "normalised"})
    with pytest.raises(InputError, match="there must be one removal policy to start from, not two"):
        small.compress(tmp_path / "run", policies=[path, path])
    assert small.files(tmp_path) == {"p.safetensors"}


def test_none_found_names_the_row_and_the_nearest(tmp_path: Path) -> None:
    budget = small.budget_text("{metric: latency, stat: p50, max: 1us}")
    target = small.CalmTarget()
    with pytest.raises(BudgetNotMetError) as caught:
        small.compress(tmp_path / "run", budget=budget, target=target)
    text = str(caught.value)
    assert text.startswith(
        "none of 12 candidates is inside the budget; binding: latency_p50 <= 1us"
    )
    ledger = Ledger(tmp_path / "run" / "ledger.sqlite")
    costs = {c.id: c.cost["latency_p50"]["value"] for c in ledger.candidates()}
    ledger.close()
    nearest = min(costs, key=lambda i: (costs[i], i))
    assert f"the nearest, candidate {nearest} (" in text and caught.value.result is None
    with pytest.raises(BudgetNotMetError) as again:
        hwn2n.resume(
            tmp_path / "run",
            model=small.small_teacher(),
            data=small.small_data(),
            target=small.CalmTarget(),
        )
    assert str(again.value).split("(")[0] == text.split("(")[0]


def test_a_final_training_that_diverges_names_its_settings(tmp_path: Path) -> None:
    settings = small.settings(final__lr=1e30, final__optimizer="sgd")
    with pytest.raises(
        DivergedError, match=r"run: the final training .* final\.lr below 1e\+30.*=2\.5e\+29"
    ):
        small.compress(tmp_path / "run", recipe=settings, budget=None)
    assert (tmp_path / "run" / "ledger.sqlite").exists()


def test_none_found_because_none_could_be_trained(tmp_path: Path) -> None:
    settings = small.settings(train__lr=1e30, train__optimizer="sgd")
    text = r"of [0-9]+ the reason is: .* must be finite"
    with pytest.raises(BudgetNotMetError, match=rf"inside the budget; {text}"):
        small.compress(tmp_path / "run", recipe=settings)
    with pytest.raises(DivergedError, match=rf"candidates could be trained; {text}"):
        small.compress(tmp_path / "free", recipe=settings, budget=None)
    assert "No candidate could be trained" in (tmp_path / "free" / "report.html").read_text()


class Fickle(small.CalmTarget):
    """From the nth measurement on, everything takes a second.

    The teacher is 1, and again 2, 4 and 6, beside the anchor, the winner and the trained student.
    """

    def __init__(self, nth: int) -> None:
        super().__init__()
        self.nth = nth

    def measure(self, model: Any, input_shape: Any, columns: Any, protocol: Any = FULL) -> Any:
        cost = dict(super().measure(model, input_shape, columns, protocol))
        if self.measured >= self.nth and "latency_p50" in cost:
            cost["latency_p50"] = Reading(1.0, "measured")
        return cost


def test_none_holds_when_it_is_measured_again(tmp_path: Path) -> None:
    settings = small.settings(removal__updates=0, shrinkage__updates=0)
    with pytest.raises(BudgetNotMetError, match=r"latency_p50 <= 90% .* candidate 1 .* has 1\.00s"):
        small.compress(tmp_path / "run", recipe=settings, target=Fickle(5))


def test_a_student_outside_after_all_is_kept_and_not_passed_off(tmp_path: Path) -> None:
    settings = small.settings(removal__updates=0, shrinkage__updates=0, align=False)
    budget = small.budget_text("{metric: params, max: 40%}", "{metric: accuracy, min: 99.9%}")
    with pytest.raises(BudgetNotMetError, match=r"student must meet accuracy >= 99[.]9%") as caught:
        small.compress(tmp_path / "run", recipe=settings, budget=budget)
    result = caught.value.result
    assert isinstance(result, Result) and not result.satisfied
    assert (tmp_path / "run" / "student.pt2").exists()
    with pytest.raises(BudgetNotMetError) as again:
        hwn2n.resume(tmp_path / "run")
    assert str(again.value) == str(caught.value) and again.value.result == result
    with pytest.raises(BudgetNotMetError, match=r"must meet latency_p50 <= 90%.*, but has 1\.00s"):
        small.compress(tmp_path / "other", recipe=settings, target=Fickle(7))


class Unsure(small.CalmTarget):
    """Every latency may as well be a second; knows how sure a student's was to be."""

    def __init__(self) -> None:
        super().__init__()
        self.looks: list[float] = []

    def measure(self, model: Any, input_shape: Any, columns: Any, protocol: Any = FULL) -> Any:
        if protocol.effort == "full" and isinstance(model, GraphModule):
            self.looks.append(pytest.approx(protocol.confidence_of("latency_p50")))
        cost = dict(super().measure(model, input_shape, columns, protocol))
        if "latency_p50" in cost:
            value = cost["latency_p50"].value
            cost["latency_p50"] = Reading(value, "measured", low=0.0, high=1.0)
        return cost


def test_a_student_that_is_not_surely_inside_is_kept_and_said_to_be_so(tmp_path: Path) -> None:
    settings = small.settings(removal__updates=0, shrinkage__updates=0)
    target = Unsure()
    with pytest.raises(InconclusiveError, match=r"must surely meet latency_p50 <= 90%") as caught:
        small.compress(tmp_path / "run", recipe=settings, target=target)
    assert caught.value.exit_code == 4
    result = caught.value.result
    assert (result.verdict, result.satisfied) == ("inconclusive", False)
    assert target.looks == [1 - 0.05 / 30, *[1 - 0.05 / 3] * 3]
    row = next(row for row in result.rows if row["column"] == "latency_p50")
    assert row["satisfied"] and (row["low"], row["high"]) == (0.0, 1.0)
    assert row["verdict"] == "inconclusive" and "1.00s]" in row["interval"]
    assert (tmp_path / "run" / "student.pt2").exists()
    with pytest.raises(InconclusiveError):
        hwn2n.resume(tmp_path / "run")
    cells = [str(cell) for cell in result_table(result, plain=True).columns[-1].cells]
    assert "inconclusive" in cells
    assert "interval" in "\n".join(result_lines(result))
