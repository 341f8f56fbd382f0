"""What a row is, what it says when it is finished, and the table that its figures make."""

from __future__ import annotations

import statistics
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from benchmarks.paper.figures import Figure
from benchmarks.paper.images import TITLES
from benchmarks.paper.lab import Lab, Teacher
from benchmarks.paper.search import students
from benchmarks.provenance import made_here

Runs = list[dict[str, Any]]
"""What the seeds of one arm of a row found."""


@dataclass(frozen=True, kw_only=True)
class Row(ABC):
    """One experiment. `paper` are the paper's figures by arm; `needs` the columns it measures.

    `seeds`: those that it takes to be finished, unless the user asks for others.
    """

    name: str
    title: str
    data: str
    arch: str
    paper: Mapping[str, Figure] = field(default_factory=dict)
    needs: tuple[str, ...] = ()
    seeds: tuple[int, ...] = (0,)

    table: ClassVar[str]
    columns: ClassVar[tuple[str, ...]] = (
        "row",
        "recipe",
        "network",
        "runs",
        "test accuracy (mean, min to max)",
        "paper",
        "params",
        "compression",
        "paper",
        "seconds",
    )

    @abstractmethod
    def arms(self, lab: Lab, recipe: str, seeds: Sequence[int]) -> tuple[Teacher, dict[str, Runs]]:
        """Run what is not done yet: the teacher, and the runs of each arm by its name.

        Raises `InterruptedRunError` when stopped, `InputError` and `MeasurementError` for what
        this machine lacks.
        """

    def entry(self, lab: Lab, recipe: str, seeds: Sequence[int]) -> dict[str, Any]:
        """The finished row for one recipe, with all that is needed to judge and repeat it."""
        teacher, arms = self.arms(lab, recipe, seeds)
        settings = {name: settings_of(runs) for name, runs in arms.items()}
        return {
            "recipe": recipe,
            "size": lab.size.name,
            "said": lab.size.describe(),
            "data": teacher.images.title,
            "seeds": list(seeds),
            "device": lab.device,
            "teacher": teacher.to_json(),
            "settings": settings,
            "spread": {name: spread(runs) for name, runs in arms.items()},
            "arms": {name: [_short(run) for run in runs] for name, runs in arms.items()},
            **made_here(),
        }

    def lines(self, entry: Mapping[str, Any]) -> list[list[str]]:
        """The row's cells, one line for the teacher and one for each arm."""
        teacher, label = entry["teacher"], self.label(entry)
        said = recipe_text(entry)
        tested = teacher.get("test_accuracy")
        whole = self.paper.get("teacher", Figure())
        lines = [
            [
                label, said, f"teacher {teacher['arch']}", "1",
                "" if tested is None else f"{tested:.2%}", whole.accuracy_text,
                f"{teacher['params']:,}", "", "", _seconds(teacher.get("seconds")),
            ]
        ]  # fmt: skip
        for name, runs in entry["arms"].items():
            lines.append([label, said, name, *self.measured(name, runs, teacher["params"])])
        return lines

    def measured(self, name: str, runs: Runs, teacher_params: int) -> list[str]:
        """The cells of one arm from the number of its runs on."""
        known, paper = students(runs), self.paper.get(name, Figure())
        if not known:
            reason = next((run["reason"] for run in runs if run.get("reason")), "no student")
            return [str(len(runs)), reason, paper.accuracy_text, "", "", "", ""]
        params = [int(run["params"]) for run in known]
        times = sorted({round(teacher_params / value, 1) for value in params})
        count = f"{len(known)}" + (f" of {len(runs)}" if len(known) < len(runs) else "")
        return [
            count,
            accuracies([run["test_accuracy"] for run in known]),
            paper.accuracy_text,
            _between([f"{value:,}" for value in sorted(set(params))]),
            _between([f"{value:g}x" for value in times]),
            paper.compression_text,
            _seconds(statistics.mean(sum(_clock(run)) for run in known)),
        ]

    def label(self, entry: Mapping[str, Any]) -> str:
        """The row's title with the data that it really had."""
        return self.title.replace(TITLES[self.data], entry["data"])


def spread(runs: Runs) -> dict[str, Any]:
    """Mean, least and most of what the seeds found; fractions and counts."""
    known, found = students(runs), {}
    for name in ("test_accuracy", "validation_accuracy", "params", "flops"):
        values = [run[name] for run in known if run.get(name) is not None]
        if values:
            found[name] = {
                "mean": statistics.mean(values), "min": min(values), "max": max(values),
                "runs": len(values),
            }  # fmt: skip
    return found


def settings_of(runs: Runs) -> dict[str, Any] | None:
    """The settings of an arm, which are the same for all seeds but for the seed."""
    return next((run["settings"] for run in runs if "settings" in run), None)


def accuracies(values: Sequence[float]) -> str:
    """Such as "99.42 % (99.38 to 99.48)", of fractions."""
    mean = f"{100 * statistics.mean(values):.2f} %"
    if len(values) == 1:
        return mean
    return f"{mean} ({100 * min(values):.2f} to {100 * max(values):.2f})"


def recipe_text(entry: Mapping[str, Any]) -> str:
    """The recipe, and the size where it is not all of it; a legend says what is left out."""
    return entry["recipe"] + ("" if entry["size"] == "full" else f", {entry['size']}")


def _short(run: dict[str, Any]) -> dict[str, Any]:
    """Without what stands once for the whole entry."""
    return {k: v for k, v in run.items() if k not in ("settings", "machine", "versions")}


def _between(texts: Sequence[str]) -> str:
    return texts[0] if len(texts) == 1 else f"{texts[0]} to {texts[-1]}"


def _clock(run: Mapping[str, Any]) -> tuple[float, float]:
    return run["seconds"]["search"], run["seconds"]["final_training"]


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}"
