"""Table 1: compression without constraints, after the first stage and after both.

The student of each search stands beside one uniformly narrowed network of its size with the same
final training, which no search has found.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from benchmarks.paper.figures import TABLE_1, Figure
from benchmarks.paper.images import TITLES
from benchmarks.paper.lab import Lab, Teacher
from benchmarks.paper.rows import Row, Runs
from benchmarks.paper.search import SAME, Search, search, uniform

FIRST_STAGE: dict[str, Any] = {"anchor": False, "shrinkage.updates": 0}
"""Removal alone: no anchor, which is shrunk."""

ARCHITECTURES: dict[str, str] = {
    "conv4": "Conv4",
    "vgg11": "VGG-11",
    "vgg13": "VGG-13",
    "vgg19": "VGG-19",
    "resnet18": "ResNet-18",
    "resnet34": "ResNet-34",
}

CASES: tuple[tuple[str, str], ...] = (
    ("mnist", "vgg13"),
    ("mnist", "conv4"),
    ("cifar10", "vgg19"),
    ("cifar10", "resnet18"),
    ("cifar10", "resnet34"),
    ("svhn", "resnet18"),
    ("cifar100", "resnet18"),
    ("cifar100", "resnet34"),
    ("caltech256", "resnet18"),
    ("imagenet32", "resnet34"),
)


@dataclass(frozen=True, kw_only=True)
class CompressionRow(Row):
    """One teacher; `stages` 1 is layer removal alone, 2 is shrinkage of what that left too."""

    stages: int = 2
    table: ClassVar[str] = "Table 1: compression"

    def arms(self, lab: Lab, recipe: str, seeds: Sequence[int]) -> tuple[Teacher, dict[str, Runs]]:
        """The search of each seed, and a network as large as its student."""
        teacher = lab.teacher(self.data, self.arch, recipe)
        arms: dict[str, Runs] = {"student": [], SAME: []}
        for seed in seeds:
            asked, student = compressed(lab, teacher, recipe, seed, stages=self.stages)
            arms["student"].append(student)
            if "params" in student:
                narrowed = uniform(lab, teacher, asked, student["params"])
                arms[SAME].append(narrowed)
        return teacher, arms


def compressed(
    lab: Lab, teacher: Teacher, recipe: str, seed: int, *, stages: int = 2
) -> tuple[Search, dict[str, Any]]:
    """The search of table 1, which other tables compare with, and what it found.

    Without an anchor both rows share the candidates of the first stage.
    """
    first = Search(what="stage1", recipe=recipe, seed=seed, overrides=FIRST_STAGE)
    if stages == 1:
        return first, search(lab, teacher, first)
    both = Search(what="stages12", recipe=recipe, seed=seed)
    if lab.settings(recipe).anchor:
        return both, search(lab, teacher, both)
    search(lab, teacher, first)
    return both, search(lab, teacher, both, on=first.folder(lab, teacher))


def _rows() -> list[Row]:
    rows: list[Row] = []
    for data, arch in CASES:
        known = TABLE_1.get(f"{data}-{arch}")
        for stages, suffix, said in ((1, "-stage1", "stage 1"), (2, "", "stages 1 + 2")):
            paper: dict[str, Figure] = {}
            if known is not None:
                student = known.stage1 if stages == 1 else known.both
                paper = {"teacher": known.teacher, "student": student or Figure()}
            rows.append(
                CompressionRow(
                    name=f"table1-{data}-{arch}{suffix}",
                    title=f"{TITLES[data]}, {ARCHITECTURES[arch]}, {said}",
                    data=data,
                    arch=arch,
                    paper=paper,
                    stages=stages,
                )
            )
    return rows


ROWS: tuple[Row, ...] = tuple(_rows())
