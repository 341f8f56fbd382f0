"""The appendix's comparisons: one thing changed at a time, on MNIST with Conv4.

Every arm has as many candidates as the recipe's own search, and no anchor, which no arm found.
Rewards of different formulas are not comparable, so each arm shows the student that it ended with,
too.
"""

from __future__ import annotations

import hashlib
import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from benchmarks.paper.images import TITLES
from benchmarks.paper.lab import Lab, Teacher
from benchmarks.paper.rows import Row, Runs, accuracies, recipe_text
from benchmarks.paper.search import Search, search, students
from benchmarks.paper.table1 import ARCHITECTURES
from benchmarks.starts import stages_of
from hwn2n.search.policies.shipped import STAGES
from hwn2n.search.settings import Settings, settings_to_json

Changes = dict[str, Any]

RATES = ((0.0003, 0.001), (0.003, 0.01), (0.003, 0.1), (0.03, 0.1))
"""Of removal and of shrinkage: the paper's text has the second pair, its appendix the third."""

BATCHES = (1, 2, 5, 10)
"""Rollouts of an update; the paper's is 5."""


@dataclass(frozen=True, kw_only=True)
class ComparisonRow(Row):
    """Arms that differ in one thing; `changes` are overrides of the recipe by arm."""

    changes: Mapping[str, Changes]
    seeds: tuple[int, ...] = (0, 1, 2)
    table: ClassVar[str] = "Appendix: comparisons"
    columns: ClassVar[tuple[str, ...]] = (
        "row",
        "recipe",
        "arm",
        "runs",
        "candidates",
        "mean reward, removal",
        "mean reward, shrinkage",
        "student, test accuracy (mean, min to max)",
        "params",
        "compression",
    )

    def arms(self, lab: Lab, recipe: str, seeds: Sequence[int]) -> tuple[Teacher, dict[str, Runs]]:
        """Each arm with each seed."""
        teacher = lab.teacher(self.data, self.arch, recipe)
        settings = lab.settings(recipe)
        arms: dict[str, Runs] = {name: [] for name in self.changes}
        for seed in seeds:
            for name, changes in self.changes.items():
                even = {"anchor": False, **_evenly(settings, changes)}
                what = f"compared-{_digest(lab.settings(recipe, even))}"
                asked = Search(what=what, recipe=recipe, seed=seed, overrides=even)
                row = search(lab, teacher, asked)
                row["stages"] = stages_of(asked.folder(lab, teacher))
                arms[name].append(row)
        return teacher, arms

    def lines(self, entry: Mapping[str, Any]) -> list[list[str]]:
        """One line for each arm."""
        label, said, lines = self.label(entry), recipe_text(entry), []
        for name, runs in entry["arms"].items():
            known = students(runs)
            cells = [label, said, name, str(len(known))]
            if known:
                params = statistics.mean(run["params"] for run in known)
                cells += [
                    f"{statistics.mean(run['candidates']['all'] for run in known):.0f}",
                    *(f"{_reward(known, stage):.3f}" for stage in STAGES),
                    accuracies([run["test_accuracy"] for run in known]),
                    f"{params:,.0f}",
                    f"{entry['teacher']['params'] / params:.1f}x",
                ]
            lines.append(cells + [""] * (len(self.columns) - len(cells)))
        return lines


def _reward(runs: Sequence[Mapping[str, Any]], stage: str) -> float:
    found = [run["stages"][stage]["reward"] for run in runs]
    return statistics.mean(value for value in found if value is not None)


def _digest(settings: Settings) -> str:
    """Arms of several rows that are the same search are run once."""
    text = json.dumps(settings_to_json(settings), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _evenly(settings: Settings, changes: Changes) -> Changes:
    """With as many updates as give the recipe's own number of candidates."""
    found = dict(changes)
    for name in STAGES:
        rollouts = found.get(f"{name}.rollouts")
        if rollouts is not None:
            stage = getattr(settings, name)
            found[f"{name}.updates"] = max(1, stage.updates * stage.rollouts // rollouts)
    return found


def _batch(rollouts: int) -> Changes:
    # leave-one-out needs two rollouts, and arms must differ in one thing only
    changes = {f"{name}.rollouts": rollouts for name in STAGES}
    return {**changes, "advantage": "ema"}


def _row(name: str, said: str, changes: Mapping[str, Changes]) -> ComparisonRow:
    return ComparisonRow(
        name=f"appendix-{name}",
        title=f"{TITLES['mnist']}, {ARCHITECTURES['conv4']}, {said}",
        data="mnist",
        arch="conv4",
        changes=changes,
    )


ROWS: tuple[Row, ...] = (
    _row(
        "learner",
        "actor-critic against REINFORCE",
        {
            "REINFORCE": {"learner": "reinforce"},
            "actor-critic": {"learner": "actor-critic"},
        },
    ),
    _row(
        "learning-rates",
        "learning rates",
        {
            f"{removal:g} and {shrinkage:g}": {"removal.lr": removal, "shrinkage.lr": shrinkage}
            for removal, shrinkage in RATES
        },
    ),
    _row("batch-sizes", "rollouts of an update", {f"{n} rollouts": _batch(n) for n in BATCHES}),
    _row(
        "reward",
        "reward A C against C (2 - C) A",
        {"C (2 - C) A": {"formula": "paper"}, "A C": {"formula": "naive"}},
    ),
)
