"""Table 4: the search within limits, those of the paper and those that it promised.

The paper's are parameters alone. Latency and power are of the device that trains (`--device`), as
shares of the teacher's, which is measured again beside each candidate; where there is no power
meter, the row says so and is not run. Beside each student stands one uniformly narrowed network
with its final training: at the student's size, or, where more is limited than parameters, the
widest inside the limits.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from benchmarks.paper.figures import CIFAR10_1M, MNIST_20K, Figure
from benchmarks.paper.lab import Lab, Teacher
from benchmarks.paper.rows import Row, Runs
from benchmarks.paper.search import SAME, Search, search, students, uniform
from hwn2n.budget.columns import Column, find_column
from hwn2n.network.teachers import build_teacher

Limit = Mapping[str, Any]

WITHIN = "uniform width, within the limits"
"""The baseline where a network of the student's size may be outside."""


@dataclass(frozen=True, kw_only=True)
class LimitedRow(Row):
    """One teacher within `limits`, which are rows of a budget."""

    limits: tuple[Limit, ...]
    table: ClassVar[str] = "Table 4: within limits"
    columns: ClassVar[tuple[str, ...]] = (*Row.columns, "limits, and the first run's values")

    def arms(self, lab: Lab, recipe: str, seeds: Sequence[int]) -> tuple[Teacher, dict[str, Runs]]:
        """The search, uniform random actions at equal evaluations, and one narrowed network."""
        teacher = lab.teacher(self.data, self.arch, recipe)
        arms: dict[str, Runs] = {
            "student": [],
            "random actions": [],
            self.baseline: [],
        }
        slug = self.name.removeprefix("table4-")
        limits = self.limits_of(lab, teacher)
        for seed in seeds:
            asked = Search(what=slug, recipe=recipe, seed=seed, limits=limits)
            student = search(lab, teacher, asked)
            arms["student"].append(student)
            other = Search(
                what=f"{slug}-random",
                recipe=recipe,
                seed=seed,
                limits=limits,
                overrides={"strategy": "random"},
            )
            arms["random actions"].append(search(lab, teacher, other))
            if self.baseline == WITHIN:
                arms[WITHIN].append(uniform(lab, teacher, asked, None))
            elif "params" in student:
                arms[SAME].append(uniform(lab, teacher, asked, student["params"]))
        return teacher, arms

    @property
    def baseline(self) -> str:
        """What the uniformly narrowed network is called, which says how wide it is."""
        columns = _columns(self.limits)
        costs = {column.name for column in columns if column.known != "learned"}
        return SAME if costs <= {"params"} else WITHIN

    def limits_of(self, lab: Lab, teacher: Teacher) -> tuple[Limit, ...]:
        """The row's limits; of a teacher that the lab has narrower, parameters in proportion."""
        if lab.size.arch(self.arch) == self.arch:
            return self.limits
        channels, pixels, _ = teacher.input_shape
        with torch.device("meta"):
            whole = build_teacher(self.arch, channels, teacher.classes, pixels)
        share = teacher.params / sum(p.numel() for p in whole.parameters())
        return tuple(
            {**limit, "max": round(share * limit["max"])} if limit["metric"] == "params" else limit
            for limit in self.limits
        )

    def lines(self, entry: Mapping[str, Any]) -> list[list[str]]:
        """As of every row, and what each limit came to."""
        lines = super().lines(entry)
        lines[0].append("")
        for line, (name, runs) in zip(lines[1:], entry["arms"].items(), strict=True):
            known = students(runs)
            said = known[0].get("rows", []) if known and name != SAME else []
            line.append("; ".join(f"{row['text']}: {row['value_text']}" for row in said))
        return lines


def _limited(
    name: str, title: str, data: str, arch: str, *limits: Limit, paper: Figure | None = None
) -> LimitedRow:
    return LimitedRow(
        name=f"table4-{name}",
        title=title,
        data=data,
        arch=arch,
        limits=limits,
        paper={} if paper is None else {"student": paper},
        needs=tuple(column.name for column in _columns(limits) if column.known == "measured"),
    )


def _columns(limits: Iterable[Limit]) -> list[Column]:
    return [find_column(row["metric"], row.get("stat"), row.get("scope")) for row in limits]


_LATENCY: Limit = {"metric": "latency", "stat": "p50", "max": "50%"}

ROWS: tuple[Row, ...] = (
    _limited(
        "mnist-vgg13-20k",
        "MNIST, VGG-13, 20,000 parameters",
        "mnist",
        "vgg13",
        {"metric": "params", "max": 20_000},
        paper=MNIST_20K,
    ),
    _limited(
        "cifar10-vgg19-1m",
        "CIFAR-10, VGG-19, a million parameters",
        "cifar10",
        "vgg19",
        {"metric": "params", "max": 1_000_000},
        paper=CIFAR10_1M,
    ),
    _limited(
        "cifar10-resnet18-latency", "CIFAR-10, ResNet-18, latency", "cifar10", "resnet18", _LATENCY
    ),
    _limited(
        "cifar10-resnet18-power",
        "CIFAR-10, ResNet-18, power",
        "cifar10",
        "resnet18",
        {"metric": "power", "stat": "avg", "max": "80%"},
    ),
    _limited(
        "cifar10-resnet18-several",
        "CIFAR-10, ResNet-18, several limits at once",
        "cifar10",
        "resnet18",
        {"metric": "params", "max": 1_000_000},
        {"metric": "flops", "max": "25%"},
        _LATENCY,
    ),
    _limited(
        "mnist-vgg13-worst-class",
        "MNIST, VGG-13, the worst class",
        "mnist",
        "vgg13",
        {"metric": "params", "max": 20_000},
        {"metric": "worst_class_accuracy", "min": "97%"},
    ),
)
