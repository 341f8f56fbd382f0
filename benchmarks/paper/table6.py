"""Table 6: where the time of table 1 goes, on the machine that it was run on.

Read from the runs of table 1, which are made first where there are none.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from benchmarks.paper.images import TITLES
from benchmarks.paper.lab import Lab, Teacher
from benchmarks.paper.rows import Row, Runs, recipe_text
from benchmarks.paper.search import students
from benchmarks.paper.table1 import ARCHITECTURES, compressed

CASES = (("mnist", "vgg13"), ("cifar10", "vgg19"), ("cifar10", "resnet18"), ("cifar10", "resnet34"))


@dataclass(frozen=True, kw_only=True)
class TimeRow(Row):
    """The seconds of one teacher's compression."""

    table: ClassVar[str] = "Table 6: time"
    columns: ClassVar[tuple[str, ...]] = (
        "row",
        "recipe",
        "machine",
        "runs",
        "teacher, s",
        "candidates",
        "of them trained",
        "s / trained candidate",
        "search, h",
        "final training, s",
        "all, h",
    )

    def arms(self, lab: Lab, recipe: str, seeds: Sequence[int]) -> tuple[Teacher, dict[str, Runs]]:
        """The students of table 1, with the seconds that they took."""
        teacher = lab.teacher(self.data, self.arch, recipe)
        return teacher, {"student": [compressed(lab, teacher, recipe, s)[1] for s in seeds]}

    def lines(self, entry: Mapping[str, Any]) -> list[list[str]]:
        """Means over the seeds."""
        runs = students(entry["arms"]["student"])
        machine = entry["machine"]
        device = ", ".join(machine["gpu"]) if entry["device"] != "cpu" else ""
        head = [
            self.label(entry),
            recipe_text(entry),
            device or f"{machine['cpu']}, {machine['usable_threads']} threads",
            str(len(runs)),
        ]
        taught = entry["teacher"].get("seconds")
        if not runs:
            return [[*head, *[""] * (len(self.columns) - len(head))]]

        def mean(values: Sequence[float]) -> float:
            return statistics.mean(values)

        searched = mean([run["seconds"]["search"] for run in runs])
        final = mean([run["seconds"]["final_training"] for run in runs])
        return [
            [
                *head,
                "" if taught is None else f"{taught:,.0f}",
                f"{mean([run['candidates']['all'] for run in runs]):.0f}",
                f"{mean([run['candidates']['trained'] for run in runs]):.0f}",
                f"{mean([run['seconds_per_trained_candidate'] for run in runs]):.1f}",
                f"{searched / 3600:.2f}",
                f"{final:,.0f}",
                f"{((taught or 0) + searched + final) / 3600:.2f}",
            ]
        ]


ROWS: tuple[Row, ...] = tuple(
    TimeRow(
        name=f"table6-{data}-{arch}",
        title=f"{TITLES[data]}, {ARCHITECTURES[arch]}, time",
        data=data,
        arch=arch,
    )
    for data, arch in CASES
)
