"""Networks that no search of ours found, given the same final training, measurement and test."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks.paper.lab import Lab, Teacher
from benchmarks.rivals.base import Rival
from benchmarks.rivals.finish import Contest
from benchmarks.rivals.problem import Problem, load_problem
from benchmarks.runs import slug
from hwn2n.hardware.targets import build_target

ANY_SIZE: dict[str, Any] = {
    "apiVersion": "hwn2n/v1",
    "name": "any-size",
    "constraints": [{"metric": "params", "max": "1000%"}],
}
"""A budget that never binds: these networks are compared at the sizes that they have."""


def problem_of(lab: Lab, teacher: Teacher, recipe: str, seed: int, weights: str) -> Problem:
    """Teacher, data and school as `hwn2n compress` would have them for this recipe and seed."""
    settings = lab.settings(recipe, {"seed": seed, "weights": weights})
    return load_problem(
        teacher=teacher.path,
        data=teacher.images.argument,
        budget=ANY_SIZE,
        recipe=settings,
        data_root=teacher.images.root,
        target=build_target(lab.target),
    )


def contest(
    lab: Lab,
    teacher: Teacher,
    name: str,
    recipe: str,
    seed: int,
    rival: Callable[[Problem], Rival],
    *,
    weights: str,
) -> dict[str, Any]:
    """The rival's network trained, measured and tested; read where that was done before.

    Raises `InterruptedRunError` when stopped; the next call goes on.
    """
    problem = problem_of(lab, teacher, recipe, seed, weights)
    folder = lab.folder(teacher.images.name, teacher.arch) / f"{slug(name)}-{recipe}-{seed}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    lab.reporter.message(str(folder))
    row = Contest(
        name=name,
        rival=rival(problem),
        problem=problem,
        path=folder,
        reporter=lab.reporter,
        stop=lab.stop,
    ).run()
    return {k: v for k, v in row.items() if k not in ("strategy", "rows", "cost", "teacher")}
