"""Students of one teacher that no search has chosen, for benchmarks of how students are trained."""

from __future__ import annotations

import argparse
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.provenance import made_here
from hwn2n.budget.load import load_budget
from hwn2n.distil.datasets import load_data
from hwn2n.network.architecture import IllegalArchitectureError
from hwn2n.network.capture import capture
from hwn2n.network.decision import Decision
from hwn2n.network.files import Teacher, load_teacher
from hwn2n.network.inherit import Inheritance
from hwn2n.network.layers import find_layers
from hwn2n.network.planner import Planner
from hwn2n.run.folder import read_json, write_json
from hwn2n.search.choices.actions import SHRINK_VALUES
from hwn2n.search.fitting.projection import counted_cost, project
from hwn2n.search.fitting.widths import Widths
from hwn2n.search.recipes import build_settings, suited_to
from hwn2n.search.school import School
from hwn2n.search.settings import Settings


@dataclass(frozen=True)
class Study:
    """One teacher and its data; `full` are overrides for all of its schools."""

    teacher: Teacher
    data: Any
    planner: Planner
    inheritance: Inheritance
    full: Mapping[str, Any]

    def school(self, overrides: Mapping[str, Any], *, recipe: str | Settings = "fast") -> School:
        """A school of the recipe, or of the settings of a run, with these overrides."""
        settings: Settings = suited_to(
            build_settings(recipe, {**self.full, **overrides}), self.data.augment
        )
        return School(
            teacher=self.teacher.model,
            inheritance=self.inheritance,
            data=self.data,
            settings=settings,
        )


def study_parser(
    description: str, *, sizes: list[float] | None = None, repeated: bool = False
) -> argparse.ArgumentParser:
    """The options of a study.

    `sizes` are the usual ones of students that are drawn; a study of others has none. One that is
    `repeated` takes seeds, and so much time that it may be given in slices.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--teacher", type=Path, required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--data-root", default="data")
    parser.add_argument("--name", required=True, help="of the results' file")
    if sizes is not None:
        parser.add_argument("--sizes", type=float, nargs="*", default=sizes)
    if repeated:
        parser.add_argument("--seeds", type=int, nargs="*", default=[0])
        parser.add_argument("--minutes", type=float, default=1e9, help="begin none after so many")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    return parser


def open_study(options: argparse.Namespace, full: Mapping[str, Any]) -> Study:
    """The teacher and data of a command; `full` are overrides for all of its schools."""
    teacher = load_teacher(options.teacher)
    data = load_data(
        options.data,
        root=options.data_root,
        validation=teacher.metadata.get("validation"),
        seed=teacher.metadata.get("split_seed") or 0,
    )
    captured = capture(teacher.model, data.image_shape, teacher.program)
    planner = Planner(captured.architecture)
    return Study(teacher, data, planner, Inheritance(captured, planner), full)


def candidates(
    planner: Planner, sizes: list[float], each: int, column: str = "params"
) -> Iterator[tuple[int, float, Decision]]:
    """(number, size, decision), the same for every session: uniform width, then random ones.

    Sizes are shares of the teacher's parameters, or of its FLOPs, as `column` says.

    A random one removes each layer, or whole residual branch, as a search with `recipe: fast`
    could, with a probability drawn for the candidate, and draws each width's share; one is taken
    only if it lies within 10 % of its size.
    """
    whole = counted_cost(planner.teacher)[column].value
    granularity = build_settings("fast").granularity
    removable = [layer for layer in find_layers(planner, granularity) if layer.removable]
    number = 0
    for size in sizes:
        limit = size * whole
        row = {"metric": column, "max": int(limit)}
        budget = {"apiVersion": "hwn2n/v1", "name": "size", "constraints": [row]}
        countable = load_budget(budget).resolve({})
        generator = random.Random(f"proxies {size}" if column == "params" else f"{column} {size}")
        found: list[Decision] = [project(planner, Decision(), countable)]
        while len(found) < each:
            odds = generator.choice((0.0, 0.0, 0.1, 0.2, 0.3))
            removed = {
                name
                for layer in removable
                if generator.random() < odds
                for name in layer.operations
            }
            try:
                _, channels = planner.left(frozenset(removed))
                widths = {
                    group.name: Widths().nearest(group, generator.choice(SHRINK_VALUES))
                    for group in channels.groups.values()
                    if not group.frozen
                }
                decision = project(planner, Decision(frozenset(removed), widths), countable)
                used = counted_cost(planner.plan(decision))[column].value
            except IllegalArchitectureError:
                continue
            if used >= 0.9 * limit and decision not in found:
                found.append(decision)
        for decision in found:
            yield number, size, decision
            number += 1


def known_rows(path: Path) -> list[dict[str, Any]]:
    """The rows that a results file has; none where there is no file."""
    return list(read_json(path)["rows"]) if path.exists() else []


def write_study(
    path: Path,
    rows: list[dict[str, Any]],
    study: Study,
    *,
    command: str,
    table: str,
    **more: Any,
) -> None:
    """The rows so far, with all that is needed to judge and repeat them."""
    write_json(
        path,
        {
            "command": command,
            **more,
            "teacher": dict(study.teacher.metadata),
            **made_here(),
            "rows": rows,
            "table": table,
        },
    )
