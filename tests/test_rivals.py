"""The opponents of the strategy table: inside the budget, as large as can be, and treated alike."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import small
import torch
from torch import nn

import hwn2n
from benchmarks.rivals import run as rivals_run
from benchmarks.rivals.base import Found, Rival
from benchmarks.rivals.fastnas import FastNas
from benchmarks.rivals.problem import Problem, load_problem
from benchmarks.rivals.run import collect, run_rivals
from benchmarks.rivals.scan import Family, largest_inside
from benchmarks.rivals.scratch import UniformWidth
from benchmarks.rivals.torch_pruning import VARIANTS, TorchPruning
from benchmarks.runs import table
from hwn2n.budget.cost import Cost, Reading
from hwn2n.distil.datasets import Data
from hwn2n.errors import BudgetNotMetError, InputError, InterruptedRunError
from hwn2n.network.files import load_teacher
from hwn2n.run.stop import Stop
from hwn2n.search import school

PARAMS = small.budget_text("{metric: params, max: 40%}")
SHORT = {"final.epochs": 2, "recalibrate_images": 100}


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("teachers") / "teacher.pt"
    hwn2n.teach("digits-cnn", data="digits", out=out, epochs=3)
    return out


@cache
def small_problem(text: str = PARAMS) -> Problem:
    return load_problem(
        teacher=small.small_teacher(),
        data=small.small_data(),
        budget=text,
        recipe="fast",
        overrides=small.SHORT,
        target=small.CalmTarget(),
    )


def run_small(runs: Path, names: list[str], **changes: Any) -> list[dict[str, Any]]:
    values: dict[str, Any] = {
        "teacher": small.small_teacher(),
        "data": small.small_data(),
        "budget": PARAMS,
        "rivals": names,
        "seeds": [0],
        "runs": runs,
        "overrides": small.SHORT,
        "target": small.CalmTarget(),
    }
    return run_rivals(**{**values, **changes})


class Sizes(Family):
    """Networks of which only the parameters are known."""

    def __init__(self, params: list[int]) -> None:
        self.params = params

    def __len__(self) -> int:
        return len(self.params)

    def label(self, index: int) -> float:
        return float(index)

    def member(self, index: int) -> nn.Module:
        return nn.Linear(1, 1)

    def counted(self, index: int) -> Cost:
        return {
            name: Reading(self.params[index], "exact")
            for name in ("params", "flops", "weight_bytes")
        }


def test_a_scan_takes_the_first_network_inside_although_later_ones_grow_again() -> None:
    # 40 % of 1,131 parameters are 452.4
    sizes = [1131 - 10 * i for i in range(100)] + [452] * 50 + [1131] * 50
    scan = largest_inside(Sizes(sizes), small_problem())
    assert sizes[scan.index] == 451
    assert sizes[scan.index - 1] > 452.4


def test_a_scan_without_a_network_inside_names_the_row_and_the_nearest() -> None:
    with pytest.raises(BudgetNotMetError, match=r"params <= 40% .*nearest has 500") as error:
        largest_inside(Sizes([1131, 800, 500, 900]), small_problem())
    assert "none of 4 networks" in str(error.value)


@pytest.mark.parametrize("name", ["torch-pruning isomorphic", "uniform from scratch"])
def test_measured_rows_are_met_beside_the_teacher(name: str) -> None:
    pytest.importorskip("torch_pruning")
    problem = small_problem(small.budget_text("{metric: latency, stat: p50, max: 60%}"))
    found = rivals_run.RIVALS[name].find(problem, 0)
    beside = problem.measure(found.model, "full")
    cost, teacher = beside.cost, beside.teacher
    assert set(teacher) == {"latency_p50"}
    limit = 0.6 * teacher["latency_p50"].value
    assert 0.8 * limit < cost["latency_p50"].value <= limit
    assert found.details["networks_measured"] > 0


@cache
def digits_problem(teacher: Path, row: str) -> Problem:
    return load_problem(
        teacher=teacher, data="digits", budget=small.budget_text(row), overrides=SHORT
    )


@pytest.mark.parametrize(
    ("name", "row"),
    [
        ("torch-pruning uniform", "{metric: params, max: 10%}"),
        ("torch-pruning global", "{metric: flops, max: 30%}"),
        ("torch-pruning isomorphic", "{metric: params, max: 10%}"),
    ],
)
def test_pruned_networks_are_the_largest_of_the_scan_inside(
    digits: Path, name: str, row: str
) -> None:
    pytest.importorskip("torch_pruning")
    problem = digits_problem(digits, row)
    found = VARIANTS[name].find(problem, 0)
    [limit] = problem.countable.rows
    column = "params" if "params" in row else "flops"
    size = problem.counted(found.model)[column].value
    assert size <= limit.upper
    if column == "params":
        assert size == sum(parameter.numel() for parameter in found.model.parameters())
    # One ratio less, and it is outside.
    larger = problem.fresh_teacher()
    VARIANTS[name].pruner(larger, found.details["ratio"] - 1 / 4096, problem).step()
    assert problem.counted(larger)[column].value > limit.upper
    assert found.model(torch.zeros(1, 1, 8, 8)).shape == (1, 10)  # the classifier is left alone


def test_one_ratio_for_all_layers_is_hwn2ns_uniform_width(digits: Path) -> None:
    pytest.importorskip("torch_pruning")
    problem = digits_problem(digits, "{metric: params, max: 10%}")
    shapes = [
        [tuple(p.shape) for p in rival.find(problem, 0).model.parameters()]
        for rival in (TorchPruning(), UniformWidth())
    ]
    assert shapes[0] == shapes[1]


def test_in_steps_torch_pruning_reaches_what_one_shot_cannot(digits: Path) -> None:
    pytest.importorskip("torch_pruning")
    problem = digits_problem(digits, "{metric: params, max: 200}")
    with pytest.raises(BudgetNotMetError, match="networks of the scan"):
        TorchPruning(global_pruning=True).find(problem, 0)
    found = TorchPruning(global_pruning=True, steps=40).find(problem, 0)
    assert 100 < sum(parameter.numel() for parameter in found.model.parameters()) <= 200


def test_isomorphic_needs_global() -> None:
    with pytest.raises(InputError, match="must be global"):
        TorchPruning(isomorphic=True)


@pytest.fixture
def trainings(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The arguments of every training that a school does, in order."""
    seen: list[dict[str, Any]] = []
    real: Callable[..., Any] = school.train

    def spied(model: nn.Module, images: Any, loss: Any, settings: Any, **others: Any) -> Any:
        seen.append({"images": images, "loss": loss, "settings": settings, **others})
        return real(model, images, loss, settings, **others)

    monkeypatch.setattr(school, "train", spied)
    return seen


class Spied:
    """Data that notes which images were tested."""

    def __init__(self) -> None:
        self.asked: list[torch.Tensor] = []

    def data(self) -> Data:
        whole = small.small_data()

        def load_test() -> Any:
            images = whole.load_test()
            self.asked.append(images.images)
            return images

        return replace(whole, load_test=load_test)


def test_rivals_are_trained_and_tested_as_hwn2ns_own_students(
    tmp_path: Path, trainings: list[dict[str, Any]]
) -> None:
    pytest.importorskip("torch_pruning")
    tested = Spied()
    own = small.compress(
        tmp_path / "own", budget=PARAMS, data=tested.data(), recipe=small.settings(anchor=True)
    )
    theirs = trainings.pop()
    trainings.clear()
    [row] = run_small(tmp_path / "runs", ["torch-pruning isomorphic"], data=tested.data())
    [ours] = trainings
    assert ours["settings"] == theirs["settings"]
    assert ours["settings"].augment == "crop"  # that of the data
    assert ours["loss"] == theirs["loss"]
    assert ours["teacher"] is theirs["teacher"]
    assert torch.equal(ours["images"].images, theirs["images"].images)
    assert torch.equal(ours["validation"].images, theirs["validation"].images)
    assert (ours["mean"], ours["std"]) == (theirs["mean"], theirs["std"])
    # read once to see that they can be, and once to test
    assert len(tested.asked) == 3
    assert all(torch.equal(tested.asked[0], images) for images in tested.asked)
    assert row["test_images"] == own.student["test_images"] == 90
    assert row["inside"] and row["params"] <= 0.4 * 1131


@pytest.mark.parametrize("weights", ["fresh", "inherit"])
def test_uniform_width_is_to_the_last_bit_what_hwn2n_compress_makes(
    tmp_path: Path, weights: str
) -> None:
    own = small.compress(
        tmp_path / "own",
        budget=PARAMS,
        recipe=small.settings(weights=weights, removal__updates=0, shrinkage__updates=0),
    )
    name = {"fresh": "uniform from scratch", "inherit": "uniform inherited"}[weights]
    [row] = run_small(tmp_path / "runs", [name])
    assert row["key"] == own.student["key"]
    mine = load_teacher(tmp_path / "own" / "student.safetensors").model.state_dict()
    theirs = load_teacher(tmp_path / "runs" / f"{name.replace(' ', '-')}-0" / "student.safetensors")
    assert all(torch.equal(mine[k], v) for k, v in theirs.model.state_dict().items())
    assert row["test_accuracy"] == own.student["test_accuracy"]


def test_an_interrupted_training_goes_on_to_the_same_result(tmp_path: Path) -> None:
    [whole] = run_small(tmp_path / "whole", ["uniform inherited"])

    class AfterTwo(Stop):
        def check(self) -> None:
            self.checks = getattr(self, "checks", 0) + 1
            if self.checks == 2:
                raise InterruptedRunError("stopped as asked")

    with pytest.raises(InterruptedRunError):
        run_small(tmp_path / "torn", ["uniform inherited"], stop=AfterTwo())
    assert collect(["uniform inherited"], [0], tmp_path / "torn") == []
    [gone_on] = run_small(tmp_path / "torn", ["uniform inherited"])
    for key in ("test_accuracy", "validation_accuracy", "key", "params", "search_accuracy"):
        assert gone_on[key] == whole[key]
    assert run_small(tmp_path / "torn", ["uniform inherited"]) == [gone_on]  # not done again
    assert collect(["uniform inherited"], [0], tmp_path / "torn") == [gone_on]
    assert "| uniform inherited | 1 of 1 | 0 |" in table([gone_on])


def test_a_run_of_something_else_is_refused(tmp_path: Path) -> None:
    run_small(tmp_path, ["uniform inherited"])
    with pytest.raises(InputError, match="differs in budget"):
        run_small(
            tmp_path,
            ["uniform inherited"],
            budget=small.budget_text("{metric: params, max: 50%}"),
        )
    with pytest.raises(InputError, match="a rival must be one of"):
        run_small(tmp_path, ["nobody"])


class Beaten(Rival):
    """Finds nothing, and counts how often it tried."""

    tries = 0

    def find(self, problem: Problem, seed: int) -> Found:
        Beaten.tries += 1
        raise BudgetNotMetError("it is too tight")


def test_a_rival_without_a_network_has_a_result_that_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(rivals_run.RIVALS, "beaten", Beaten())
    for _ in range(2):
        [row] = run_small(tmp_path, ["beaten"])
        assert (row["inside"], row["reason"]) == (False, "it is too tight")
    assert Beaten.tries == 1


def test_fastnas_is_inside_by_our_counts_and_takes_one_limit() -> None:
    pytest.importorskip("modelopt.torch.prune")
    problem = small_problem(small.budget_text("{metric: params, max: 60%}"))
    found = FastNas(evaluations=40).find(problem, 0)
    params = sum(parameter.numel() for parameter in found.model.parameters())
    sizes = [said["returned"] for said in found.details["limits_told"] if "returned" in said]
    assert params == max(size for size in sizes if size <= 0.6 * 1131)
    assert found.details["limits_told"][0]["told"] == pytest.approx(0.6 * 1131)
    assert problem.counted(found.model)["params"].value == params
    assert 0 < found.evaluations <= 41  # the teacher's own score is one more
    both = small.budget_text("{metric: params, max: 60%}", "{metric: flops, max: 60%}")
    with pytest.raises(InputError, match="one upper limit"):
        FastNas().find(small_problem(both), 0)
    with pytest.raises(BudgetNotMetError, match="FastNAS found no network"):
        FastNas(evaluations=40).find(
            small_problem(small.budget_text("{metric: params, max: 30}")), 0
        )
