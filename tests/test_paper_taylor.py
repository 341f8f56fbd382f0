"""Pruning by the Taylor criterion, against gradients by hand, and the rules that stop it."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import small
import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.paper.contest import ANY_SIZE
from benchmarks.paper.students import STUDENTS, build_student
from benchmarks.paper.table3 import NAMES
from benchmarks.rivals.problem import Problem, load_problem
from hwn2n.distil.images import ImageSet
from hwn2n.errors import BudgetNotMetError, InputError, InterruptedRunError
from hwn2n.run.stop import Stop

pytest.importorskip("torch_pruning")

from benchmarks.paper.taylor import Normal, Pruner
from benchmarks.paper.walk import Greedy, TaylorPruned, Walk

NORMAL = Normal(mean=(0.0,), std=(1.0,))
GREEDY = Greedy(channels=3, updates=1, batch_size=16, criterion_images=60, check=2)


class Two(nn.Module):
    """Two convolutions, the first with batch norm."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(3)
            self.conv1, self.bn1 = nn.Conv2d(1, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)
            self.conv2, self.last = nn.Conv2d(4, 5, 3, padding=1), nn.Linear(5, 3)
            nn.init.uniform_(self.bn1.bias, 0.5, 1.5)  # no map is dead

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.bn1(self.conv1(x)))
        return self.last(torch.relu(self.conv2(x)).mean((2, 3)))


@cache
def problem() -> Problem:
    return load_problem(
        teacher=small.small_teacher(),
        data=small.small_data(),
        budget=ANY_SIZE,
        recipe="fast",
        overrides=small.SHORT,
        target=small.CalmTarget(),
    )


def walk(folder: Path, **changes: Any) -> Walk:
    values: dict[str, Any] = {
        "problem": problem(),
        "greedy": GREEDY,
        "params": 500,
        "accuracy": 0.0,
        "checkpoint": folder / "walk.pt",
        "stop": Stop(),
    }
    return Walk(**{**values, **changes})


def test_the_criterion_is_the_change_of_the_loss_behind_the_relu() -> None:
    images, model = small.images(12, seed=0), Two().eval()
    maps = [torch.relu(model.bn1(model.conv1(images.images / 255)))]
    maps.append(torch.relu(model.conv2(maps[0])))
    loss = F.cross_entropy(model.last(maps[1].mean((2, 3))), images.labels, reduction="sum")
    expected = []
    for z, gradient in zip(maps, torch.autograd.grad(loss, maps), strict=True):
        value = (z * gradient).mean((2, 3)).abs().sum(0)
        expected.append(value / value.norm())
    pruner = Pruner(Two().eval(), small.SHAPE, "last")
    found = pruner._criteria(images, NORMAL)
    assert torch.allclose(found[pruner.model.bn1].float(), expected[0], atol=1e-5)
    assert torch.allclose(found[pruner.model.conv2].float(), expected[1], atol=1e-5)
    # and the least of them all is the one that goes
    least = min((v.item(), layer, i) for layer, vs in enumerate(expected) for i, v in enumerate(vs))
    assert pruner.least(images, NORMAL, 1) == [(("conv1", "conv2")[least[1]], (least[2],))]


def test_what_is_cut_is_cut_everywhere_and_a_channel_is_always_left() -> None:
    images = small.images(12, seed=0)
    model = Two()
    with torch.no_grad():
        model.conv2.weight[3], model.conv2.bias[3] = 0, -1  # type: ignore[index]
    pruner = Pruner(model.eval(), small.SHAPE, "last")
    assert pruner.least(images, NORMAL, 1) == [("conv2", (3,))]
    cuts = pruner.least(images, NORMAL, 100)
    assert {name: len(channels) for name, channels in cuts} == {"conv1": 3, "conv2": 4}
    pruner.cut(cuts)
    assert model.bn1.num_features == model.conv2.in_channels == model.last.in_features == 1
    assert model(torch.zeros(2, 1, 8, 8)).shape == (2, 3)
    with pytest.raises(InputError, match="at least one channel must be left"):
        pruner.cut([("conv2", (0,))])


def test_a_walk_meets_its_rules(tmp_path: Path) -> None:
    state = walk(tmp_path, accuracy=1.01).run()
    trace = state["trace"]
    assert trace[0]["params"] == 1131 and trace[-1]["params"] <= 500 < trace[-2]["params"]
    assert state["kept"]["size"]["params"] == trace[-1]["params"]
    # no network is that accurate: the rule keeps the whole teacher
    assert state["kept"]["accuracy"]["cuts"] == 0
    again = walk(tmp_path, accuracy=1.01)
    found = TaylorPruned(again, "size").find(problem(), 0)
    params = sum(p.numel() for p in found.model.parameters())
    assert params == trace[-1]["params"] and found.details["trace"] == trace


def test_the_channels_alone_keep_the_teachers_weights(tmp_path: Path) -> None:
    state = walk(tmp_path, accuracy=1.01).run()
    trained, alone = (
        TaylorPruned(walk(tmp_path, accuracy=1.01), "size", trained=trained)
        .find(problem(), 0)
        .model.state_dict()
        for trained in (True, False)
    )
    assert {k: v.shape for k, v in trained.items()} == {k: v.shape for k, v in alone.items()}
    expected = problem().fresh_teacher()
    Pruner(expected, small.SHAPE, problem().classifier()).cut(state["cuts"])
    assert all(torch.equal(alone[name], v) for name, v in expected.state_dict().items())
    assert any(not torch.equal(trained[name], v) for name, v in alone.items())


def test_the_accuracy_rule_goes_on_as_long_as_it_holds(tmp_path: Path) -> None:
    far = walk(tmp_path, greedy=Greedy(channels=6, updates=0, criterion_images=60, check=1))
    state = far.run()
    kept, trace = state["kept"], state["trace"]
    assert kept["accuracy"]["params"] == trace[-1]["params"] < kept["size"]["params"] <= 500
    unreachable = walk(tmp_path / "small", params=5, greedy=far.greedy)
    with pytest.raises(BudgetNotMetError, match="must reach 5 parameters"):
        TaylorPruned(unreachable, "size").find(problem(), 0)


def test_a_stopped_walk_goes_on_to_the_same_network(tmp_path: Path) -> None:
    whole = walk(tmp_path / "whole", accuracy=1.01).run()
    stop = Stop()
    stop.request()
    with pytest.raises(InterruptedRunError):
        walk(tmp_path / "parts", accuracy=1.01, stop=stop).run()
    parts = walk(tmp_path / "parts", accuracy=1.01).run()
    assert parts["cuts"] == whole["cuts"] and parts["trace"] == whole["trace"]
    for name, value in whole["kept"]["size"]["weights"].items():
        assert torch.equal(parts["kept"]["size"]["weights"][name], value)


@pytest.mark.parametrize(
    ("name", "params"),
    [
        # the convolutions of the docstring twice, batch norms, five pieces of 128 to 500, 500 to 10
        ("fitnet4", 2 * 1_205_856 + 2 * 1_440 + 5 * 128 * 500 + 5 * 500 + 500 * 10 + 10),
        ("squeezenet", 727_626),
        # 3-128-128-256-256-512-512, batch norms, 512 to 10
        ("vgg-small", 9 * (3 * 128 + 128**2 + 3 * 128 * 256 + 3 * 256 * 512) + 2 * 1792 + 5130),
    ],
)
def test_designed_students(name: str, params: int) -> None:
    model = build_student(name, 3, 10, seed=1)
    assert sum(p.numel() for p in model.parameters()) == params
    with torch.no_grad():
        assert model.eval()(torch.zeros(2, 3, 32, 32)).shape == (2, 10)
    again = build_student(name, 3, 10, seed=1)
    assert all(
        torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True)
    )


def test_designed_students_are_known_by_name() -> None:
    assert set(STUDENTS) == set(NAMES)
    with pytest.raises(InputError, match="found 'mobilenet'"):
        build_student("mobilenet", 3, 10, seed=0)


def test_images_for_the_criterion_may_be_of_any_number() -> None:
    images = small.images(70, seed=0)  # a batch and a bit
    parts = [ImageSet(images.images[i], images.labels[i]) for i in (slice(0, 64), slice(64, 70))]
    pruner = Pruner(Two().eval(), small.SHAPE, "last")
    whole = pruner._criteria(images, NORMAL)[pruner.model.conv2]
    assert whole.norm() == pytest.approx(1)
    assert not torch.allclose(whole, pruner._criteria(parts[1], NORMAL)[pruner.model.conv2])
