"""Table 2: pruning by the Taylor criterion (Molchanov et al. 2016), five repeats, two rules.

The pruned networks get the student's final training too, by the same teacher, beside the
fine-tuning between cuts that belongs to the method. What of it the choice of channels does, and
what that fine-tuning, a fourth arm tells: the channels that were left at the student's size, with
the teacher's weights as they were.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from benchmarks.paper.contest import contest
from benchmarks.paper.images import TITLES
from benchmarks.paper.lab import Lab, Teacher
from benchmarks.paper.rows import Row, Runs
from benchmarks.paper.table1 import ARCHITECTURES, compressed
from benchmarks.paper.walk import RULES, Greedy, Rule, TaylorPruned, Walk
from benchmarks.rivals.problem import Problem

GREEDY: dict[str, Greedy] = {
    "paper": Greedy(),
    "fast": Greedy(channels=16, updates=40, batch_size=64),
}
"""By recipe. One channel at a time is the method's; 16 is a few hundred steps for a ResNet-18."""

NAMES: dict[Rule, str] = {
    "size": "pruned to the student's size",
    "accuracy": "pruned as far as the student's accuracy",
}

UNTRAINED = "the same channels, not trained between cuts"

CASES = (("mnist", "vgg13"), ("cifar10", "vgg19"), ("cifar10", "resnet18"), ("cifar10", "resnet34"))


@dataclass(frozen=True, kw_only=True)
class PruningRow(Row):
    """One teacher, pruned once for each seed; the student is that of table 1, of the same seed."""

    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    table: ClassVar[str] = "Table 2: pruning"

    def arms(self, lab: Lab, recipe: str, seeds: Sequence[int]) -> tuple[Teacher, dict[str, Runs]]:
        """The student of the first seed sets both limits, so that five repeats repeat one thing."""
        teacher = lab.teacher(self.data, self.arch, recipe)
        _, student = compressed(lab, teacher, recipe, seeds[0])
        names = (NAMES["size"], UNTRAINED, NAMES["accuracy"])
        arms: dict[str, Runs] = {"student": [student], **{name: [] for name in names}}
        if "params" not in student:
            return teacher, arms
        greedy = self.greedy(lab, recipe)
        for seed in seeds:
            for rule in RULES:
                found = pruned(lab, teacher, recipe, seed, rule, greedy, student)
                arms[NAMES[rule]].append(found)
            found = pruned(lab, teacher, recipe, seed, "size", greedy, student, trained=False)
            arms[UNTRAINED].append(found)
        return teacher, arms

    def greedy(self, lab: Lab, recipe: str) -> Greedy:
        """The walk, cut to the lab's size: larger steps of fewer minibatches."""
        how = GREEDY[recipe]
        if lab.size.is_full:
            return how
        few = min(how.criterion_images, lab.size.images or how.criterion_images)
        most = 24 if lab.size.name == "tiny" else 64 // lab.size.narrower
        return replace(how, channels=most, updates=10, criterion_images=few, check=4)


def pruned(
    lab: Lab,
    teacher: Teacher,
    recipe: str,
    seed: int,
    rule: Rule,
    greedy: Greedy,
    student: dict,
    *,
    trained: bool = True,
) -> dict:
    """The network at which the walk of this seed stops by `rule`, trained and tested.

    Without `trained` what the walk trained is forgotten, and its channels alone are taken.
    """
    folder = lab.folder(teacher.images.name, teacher.arch)

    def rival(problem: Problem) -> TaylorPruned:
        walk = Walk(
            problem=problem,
            greedy=greedy,
            params=student["params"],
            accuracy=student["validation_accuracy"],
            checkpoint=folder / f"taylor-walk-{recipe}-{seed}.pt",
            stop=lab.stop,
        )
        return TaylorPruned(walk, rule, trained=trained)

    name = f"taylor {rule}" + ("" if trained else " untrained")
    return contest(lab, teacher, name, recipe, seed, rival, weights="inherit")


ROWS: tuple[Row, ...] = tuple(
    PruningRow(
        name=f"table2-{data}-{arch}",
        title=f"{TITLES[data]}, {ARCHITECTURES[arch]}, Taylor pruning",
        data=data,
        arch=arch,
    )
    for data, arch in CASES
)
