"""A compression of a second: 8x8 images of three classes, a small teacher, a calm target."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import hwn2n
from hwn2n.budget.cost import Cost, Reading
from hwn2n.budget.load import load_budget
from hwn2n.budget.matrix import Budget
from hwn2n.commands.compress import Result
from hwn2n.distil.datasets import Data
from hwn2n.distil.images import ImageSet
from hwn2n.distil.losses import CrossEntropy
from hwn2n.distil.recipes import TrainSettings
from hwn2n.distil.train import train
from hwn2n.hardware.counts import count
from hwn2n.hardware.measurement import FULL, Effort, MeasurementProtocol
from hwn2n.hardware.target import Target
from hwn2n.network.files import Teacher
from hwn2n.run.clock import Clock
from hwn2n.run.folder import RunFolder
from hwn2n.run.progress import Silent
from hwn2n.run.stop import Stop
from hwn2n.search.assemble import Workbench, assemble
from hwn2n.search.loop import Rounds, run_search
from hwn2n.search.recipes import build_settings
from hwn2n.search.settings import Settings

SHAPE = (1, 8, 8)
WIDTHS = {"conv1": 8, "conv2": 8, "conv3": 6}
"""Of the small teacher's channel groups."""
CLASSES = ("left", "right", "cross")

SHORT: dict[str, Any] = {
    "strategy": "policies",
    "removal": {"updates": 2, "rollouts": 2, "prior": 0.5},
    "shrinkage": {"updates": 2, "rollouts": 2, "prior": 0.0},
    "recalibrate_images": 60,
    "train": {
        "epochs": 1,
        "batch_size": 32,
        "max_images": 64,
        "precision": "fp32",
        "fresh": False,
    },
    "runoff": 0,
    "final": {"epochs": 3, "batch_size": 32, "precision": "fp32"},
}
"""A search of nine candidates by the policies, without a run-off, and three epochs of final
training, over either recipe."""


def budget_text(*rows: str) -> str:
    """A budget of these rows, as YAML."""
    lines = ["apiVersion: hwn2n/v1", "name: small", "constraints:", *(f"  - {r}" for r in rows)]
    return "\n".join(lines) + "\n"


def budget(*rows: str) -> Budget:
    """The same, loaded; without rows there is no budget."""
    return load_budget(budget_text(*rows)) if rows else Budget(name="none", rows=())


def settings(recipe: str = "fast", **changes: Any) -> Settings:
    """A short search; `changes` with `__` for the dots of nested settings."""
    return build_settings(build_settings(recipe, SHORT), dotted(changes))


def as_sampled(*recipe: str, **changes: Any) -> Settings:
    """A short search that evaluates all it samples, and shrinks what one removal leaves."""
    plain = {"screen": 1, "shrink_from": 1, "budget_prior": False}
    return settings(*recipe, **{**plain, **changes})


def dotted(changes: dict[str, Any]) -> dict[str, Any]:
    return {name.replace("__", "."): value for name, value in changes.items()}


BUDGET = budget_text("{metric: params, max: 40%}", "{metric: latency, stat: p50, max: 90%}")


class SmallNet(nn.Module):
    """Three convolutions and a classifier: 1,131 parameters."""

    def __init__(self, channels: int = 1, classes: int = 3) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 8, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(8)
        self.conv2 = nn.Conv2d(8, 8, 3, padding=1)
        self.pool = nn.MaxPool2d(2)
        self.conv3 = nn.Conv2d(8, 6, 3, padding=1)
        self.drop = nn.Dropout(0.1)
        self.classifier = nn.Linear(6, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.bn1(self.conv1(x)))
        x = self.pool(torch.relu(self.conv2(x)))
        x = torch.relu(self.conv3(x)).mean((2, 3))
        logits: Tensor = self.classifier(self.drop(x))
        return logits


def images(n: int, seed: int) -> ImageSet:
    """Noise with a bright diagonal, the other one, or both."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % 3
    pixels = torch.randint(0, 120, (n, *SHAPE), generator=generator)
    diagonal = torch.eye(8, dtype=torch.bool)
    for label, mask in enumerate((diagonal, diagonal.flip(1), diagonal | diagonal.flip(1))):
        pixels[(labels == label)[:, None, None, None] & mask] += 100
    return ImageSet(pixels.to(torch.uint8), labels, 3)


def small_data(**changes: Any) -> Data:
    train_images = images(150, seed=1)
    mean, std = train_images.mean_and_std()
    values: dict[str, Any] = {
        "name": "diagonals",
        "train": train_images,
        "validation": images(60, seed=2),
        "classes": CLASSES,
        "mean": mean,
        "std": std,
        "augment": "crop",
        "load_test": lambda: images(90, seed=3),
    }
    return Data(**{**values, **changes})


@cache
def _taught() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        model = SmallNet()
    data = small_data()
    how = TrainSettings(epochs=8, batch_size=16, lr=0.1, momentum=0.9, precision="fp32")
    train(model, data.train, CrossEntropy(), how, mean=data.mean, std=data.std, seed=0)
    return model


def small_teacher(**changes: Any) -> Teacher:
    """A teacher that knows its classes; trained once in a process."""
    values: dict[str, Any] = {
        "model": _taught(),
        "source": "small teacher",
        "classes": CLASSES,
        "input_shape": SHAPE,
    }
    return Teacher(**{**values, **changes})


class CalmTarget(Target):
    """Latency is a function of the architecture, so that two searches measure the same."""

    name = "calm"

    def __init__(self) -> None:
        self.measured = 0

    def fingerprint(self) -> dict[str, Any]:
        return {"device": "calm"}

    def unavailable(self, columns: Iterable[str]) -> dict[str, str]:
        return {c: "it has no sensor" for c in columns if c in ("power_avg", "energy")}

    def measure(
        self,
        model: nn.Module,
        input_shape: tuple[int, ...],
        columns: Iterable[str],
        protocol: MeasurementProtocol = FULL,
    ) -> Cost:
        self.measured += 1
        counts = count(model, torch.zeros(1, *input_shape))
        weights = sum(1 for _ in model.parameters())
        known = {
            "params": Reading(counts.params, "exact"),
            "flops": Reading(counts.flops, "exact"),
            "weight_bytes": Reading(counts.weight_bytes, "exact"),
            "latency_p50": Reading(1e-6 * weights + 1e-9 * counts.flops, "measured"),
        }
        return {name: known[name] for name in columns if name in known}


class OddTarget(CalmTarget):
    """Reads of students, and not of the teacher, what `odd` makes of a calm latency."""

    def odd(self, reading: Reading, effort: Effort) -> Reading:
        """What is read instead in a measurement of this effort."""
        raise NotImplementedError

    def measure(
        self,
        model: nn.Module,
        input_shape: tuple[int, ...],
        columns: Iterable[str],
        protocol: MeasurementProtocol = FULL,
    ) -> Cost:
        cost = dict(super().measure(model, input_shape, columns, protocol))
        if "latency_p50" in cost and model is not small_teacher().model:
            cost["latency_p50"] = self.odd(cost["latency_p50"], protocol.effort)
        return cost


def compress(out: Path, **changes: Any) -> Result:
    values: dict[str, Any] = {
        "model": small_teacher(),
        "budget": BUDGET,
        "data": small_data(),
        "recipe": settings(),
        "target": CalmTarget(),
        "out": out,
    }
    values |= changes
    return hwn2n.compress(values.pop("model"), **values)


def workbench(folder: Path, *rows: str, target: Target | None = None, **changes: Any) -> Workbench:
    """The workbench of a short search under a budget of these rows; its ledger is left open."""
    return assemble(
        teacher=small_teacher(),
        data=small_data(),
        budget=budget(*rows),
        target=target or CalmTarget(),
        settings=settings(**changes),
        folder=RunFolder.create(folder),
    )


def rounds(bench: Workbench, folder: Path | None = None, stop: Stop | None = None) -> Rounds:
    """What the search of a workbench works on; it writes into `folder`, or beside its ledger."""
    return Rounds(
        planner=bench.planner,
        evaluator=bench.evaluator,
        ledger=bench.ledger,
        folder=RunFolder(folder or bench.ledger.path.parent),
        settings=bench.settings,
        reporter=Silent(),
        stop=stop or Stop(),
        clock=Clock(bench.ledger),
    )


def search(bench: Workbench, folder: Path, stop: Stop | None = None) -> None:
    """The search of a workbench, and no more of its run."""
    run_search(rounds(bench, folder, stop))


def mean_share(widths: Mapping[str, int]) -> float:
    """The mean of the groups' shares of the teacher's widths."""
    return sum(widths.get(name, whole) / whole for name, whole in WIDTHS.items()) / len(WIDTHS)


def files(folder: Path) -> set[str]:
    """Names of all that lies in a folder."""
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}
