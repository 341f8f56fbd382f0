"""Table 3: students that people designed, distilled by the same teacher to convergence.

Beside each stand, at its size and with its training: the uniformly narrowed teacher with fresh
weights, as the designed student has them, and what the search finds within its parameters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from benchmarks.paper.contest import contest
from benchmarks.paper.images import TITLES
from benchmarks.paper.lab import Lab, Teacher
from benchmarks.paper.rows import Row, Runs
from benchmarks.paper.search import SAME, Search, search, uniform
from benchmarks.paper.students import build_student
from benchmarks.paper.table1 import ARCHITECTURES
from benchmarks.rivals.base import FINAL, Found, Rival
from benchmarks.rivals.problem import Problem
from hwn2n.search.seeds import derive_seed

NAMES: dict[str, str] = {
    "fitnet4": "FitNet-4",
    "squeezenet": "SqueezeNet 1.1 at 32x32",
    "vgg-small": "VGG-small",
}

SEARCHED = "searched, same size"

TEACHERS = (("cifar10", "vgg19"), ("cifar10", "resnet18"))


class Designed(Rival):
    """A network of `students.py`, `narrower` times narrower, with fresh weights."""

    weights = "fresh"

    def __init__(self, student: str, narrower: int = 1) -> None:
        self.student = student
        self.narrower = narrower

    def options(self) -> dict[str, Any]:
        """Which one."""
        return {"student": self.student, "narrower": self.narrower}

    def find(self, problem: Problem, seed: int) -> Found:
        """The network; the seed is that of its weights."""
        data = problem.data
        own = derive_seed(seed, FINAL, self.student)
        shape = data.in_channels, data.num_classes
        model = build_student(self.student, *shape, seed=own, narrower=self.narrower)
        return Found(model=model.eval())


@dataclass(frozen=True, kw_only=True)
class DesignedRow(Row):
    """One designed student of one teacher."""

    student: str
    table: ClassVar[str] = "Table 3: designed by hand"

    def arms(self, lab: Lab, recipe: str, seeds: Sequence[int]) -> tuple[Teacher, dict[str, Runs]]:
        """The designed student, then its equals in size."""
        teacher = lab.teacher(self.data, self.arch, recipe)
        name = NAMES[self.student]
        arms: dict[str, Runs] = {
            name: [],
            SAME: [],
            SEARCHED: [],
        }
        for seed in seeds:
            designed = contest(
                lab, teacher, self.student, recipe, seed,
                lambda _: Designed(self.student, lab.size.narrower), weights="fresh",
            )  # fmt: skip
            arms[name].append(designed)
            asked = Search(
                what=f"within-{self.student}",
                recipe=recipe,
                seed=seed,
                limits=({"metric": "params", "max": int(designed["params"])},),
            )
            narrowed = uniform(lab, teacher, asked, designed["params"], weights="fresh")
            arms[SAME].append(narrowed)
            arms[SEARCHED].append(search(lab, teacher, asked))
        return teacher, arms


ROWS: tuple[Row, ...] = tuple(
    DesignedRow(
        name=f"table3-{data}-{arch}-{student}",
        title=f"{TITLES[data]}, {ARCHITECTURES[arch]}, {NAMES[student]}",
        data=data,
        arch=arch,
        student=student,
    )
    for data, arch in TEACHERS
    for student in NAMES
)
