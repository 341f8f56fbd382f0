"""Table 5: policies learned on one teacher start the search on another; its first ten updates.

Three arms for each seed: the whole policies, new ones, and the control: new ones that take over
the output bias alone, which says no more than how much to remove and to keep. What a policy has
learned of layers is what the first arm has over the third.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from benchmarks.paper.images import TITLES
from benchmarks.paper.lab import Lab, Teacher
from benchmarks.paper.rows import Row, Runs, recipe_text
from benchmarks.paper.search import Search, search
from benchmarks.paper.table1 import ARCHITECTURES, compressed
from benchmarks.starts import ARMS, BIAS, SCRATCH, bias_alone, stages_of
from hwn2n.search.policies.shipped import STAGES

UPDATES = 10
TRANSFERS = (("resnet18", "resnet34"), ("resnet34", "resnet18"), ("vgg11", "vgg19"))


@dataclass(frozen=True, kw_only=True)
class TransferRow(Row):
    """From the policies of `source` to the teacher `arch`, on the same data."""

    source: str
    seeds: tuple[int, ...] = (0, 1, 2)
    table: ClassVar[str] = "Table 5: transfer"
    columns: ClassVar[tuple[str, ...]] = (
        "row",
        "recipe",
        "policies",
        "runs",
        *(
            f"{stage}: {what}"
            for stage in STAGES
            for what in ("reward", "accuracy", "compression", "best reward")
        ),
    )

    def arms(self, lab: Lab, recipe: str, seeds: Sequence[int]) -> tuple[Teacher, dict[str, Runs]]:
        """The source is searched in full first, or read where table 1 has done that."""
        source = lab.teacher(self.data, self.source, recipe)
        teacher = lab.teacher(self.data, self.arch, recipe)
        arms: dict[str, Runs] = {name: [] for name in ARMS}
        for seed in seeds:
            asked, _ = compressed(lab, source, recipe, seed)
            learned = asked.folder(lab, source) / "policies"
            for name in ARMS:
                arms[name].append(self._started(lab, teacher, recipe, seed, name, learned))
        return teacher, arms

    def _started(
        self, lab: Lab, teacher: Teacher, recipe: str, seed: int, arm: str, learned: Path
    ) -> dict[str, Any]:
        settings = lab.settings(recipe)
        policies = tuple(learned / f"{stage}.safetensors" for stage in STAGES)
        what = f"from-{self.source}-{arm.replace(' ', '-')}"
        if arm == SCRATCH:
            policies, what = (), "first-updates"
        elif arm == BIAS:
            folder = lab.folder(self.data, teacher.arch)
            policies = tuple(
                bias_alone(path, folder / f"{what}-{recipe}-{seed}-{path.name}", seed)
                for path in policies
            )
        asked = Search(
            what=what,
            recipe=recipe,
            seed=seed,
            policies=policies,
            overrides={
                "removal.updates": min(UPDATES, settings.removal.updates),
                "shrinkage.updates": min(UPDATES, settings.shrinkage.updates),
                "runoff": 0,
                "final.epochs": 1,  # only the two stages are compared
            },
        )
        row = search(lab, teacher, asked)
        return {**row, "stages": stages_of(asked.folder(lab, teacher))}

    def lines(self, entry: Mapping[str, Any]) -> list[list[str]]:
        """Means over all candidates of the first updates, then over the seeds."""
        label, said = self.label(entry), recipe_text(entry)
        return [
            [label, said, name, str(len(runs)), *_cells(runs)]
            for name, runs in entry["arms"].items()
        ]


def _cells(runs: Runs) -> list[str]:
    cells = []
    for stage in STAGES:
        for name in ("reward", "accuracy", "compression", "best"):
            values = [run["stages"][stage][name] for run in runs]
            known = [value for value in values if value is not None]
            share = name in ("accuracy", "compression")
            cells.append(_range(known, "{:.1%}" if share else "{:.3f}"))
    return cells


def _range(values: Sequence[float], form: str) -> str:
    if not values:
        return ""
    mean = form.format(statistics.mean(values))
    if len(values) == 1:
        return mean
    return f"{mean} ({form.format(min(values))} to {form.format(max(values))})"


ROWS: tuple[Row, ...] = tuple(
    TransferRow(
        name=f"table5-{source}-{arch}",
        title=f"{TITLES['cifar10']}, {ARCHITECTURES[source]} to {ARCHITECTURES[arch]}",
        data="cifar10",
        arch=arch,
        source=source,
    )
    for source, arch in TRANSFERS
)
