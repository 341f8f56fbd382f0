"""Searches of `hwn2n compress`, shared by the rows and resumable, and what they found."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import hwn2n
from benchmarks.paper.lab import Lab, Teacher
from benchmarks.runs import row_of
from hwn2n.errors import BudgetNotMetError, InconclusiveError, InputError
from hwn2n.run.folder import RunFolder, read_json, write_json
from hwn2n.run.provenance import versions
from hwn2n.search.finish import FINAL, FINAL_TRAINING
from hwn2n.search.recipes import RECIPES
from hwn2n.search.runoff import STAGE as RUNOFF
from hwn2n.search.settings import settings_to_json

SAME = "uniform width, same size"
"""What the equal-size baseline is called in every table."""

UNIFORM: dict[str, Any] = {
    "strategy": "policies",
    "removal.updates": 0,
    "shrinkage.updates": 0,
    "project": True,
    "anchor": True,
    **{name: getattr(RECIPES["fast"], name) for name in ("forecast", "refits")},
}
"""No search: the teacher shrunk by one factor to the budget, and trained as every student is.

To what is measured too, by either recipe: `paper` alone knows only what it counts."""


@dataclass(frozen=True, kw_only=True)
class Search:
    """One run. `what` names it among the runs of its teacher; `limits` are rows of a budget."""

    what: str
    recipe: str
    seed: int
    limits: tuple[Mapping[str, Any], ...] = ()
    overrides: Mapping[str, Any] = field(default_factory=dict)
    policies: tuple[Path, ...] = ()

    def folder(self, lab: Lab, teacher: Teacher) -> Path:
        """Where it lies."""
        base = lab.folder(teacher.images.name, teacher.arch)
        return base / f"{self.what}-{self.recipe}-{self.seed}"


def search(lab: Lab, teacher: Teacher, asked: Search, *, on: Path | None = None) -> dict[str, Any]:
    """Run it, or go on, or read what it found; the row of `benchmarks.runs`, and more.

    `on` is a complete run of the same search's first stage alone, whose candidates are taken over.
    A search that found no student says so under `reason`. Raises `InterruptedRunError` when
    stopped, and `InputError` where the folder is of another search.
    """
    path = asked.folder(lab, teacher)
    told = path.with_suffix(".json")
    settings = lab.settings(asked.recipe, {**asked.overrides, "seed": asked.seed})
    _settle(told, asked, settings_to_json(settings))
    run = RunFolder(path)
    if on is not None and not run.config.exists():
        take_over(on, path, settings_to_json(settings))
    lab.reporter.message(f"{path}")
    try:
        if run.config.exists():
            hwn2n.resume(path, reporter=lab.reporter, stop=lab.stop)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            images = teacher.images
            hwn2n.compress(
                teacher.path,
                budget=_budget(asked, lab) if asked.limits else None,
                data=images.argument,
                data_root=images.root,
                out=path,
                recipe=settings,
                policies=asked.policies,
                target=None if asked.limits else lab.target,
                reporter=lab.reporter,
                stop=lab.stop,
            )
    except (BudgetNotMetError, InconclusiveError) as error:
        lab.reporter.message(f"{asked.what}, seed {asked.seed}: {error}")
        if not run.result.exists():
            write_json(told, {**read_json(told), "reason": str(error)})
    return found(asked, path, told)


def found(asked: Search, path: Path, told: Path) -> dict[str, Any]:
    """What a run that has ended says."""
    if not (path / "result.json").exists():
        reason = read_json(told).get("reason")
        return {"seed": asked.seed, "inside": False, "reason": reason, "folder": path.name}
    row = row_of(asked.what, asked.seed, path)
    result = read_json(path / "result.json")
    row["cost"] = {k: v["value"] for k, v in result["student"]["cost"].items()}
    row["teacher_cost"] = {k: v["value"] for k, v in result["teacher"]["cost"].items()}
    row["rows"] = [{k: r[k] for k in ("text", "value_text", "verdict")} for r in result["rows"]]
    row["verdict"] = result["verdict"]
    row["machine"], row["versions"] = result["machine"], result["versions"]
    del row["strategy"]
    return row


def uniform(
    lab: Lab, teacher: Teacher, asked: Search, params: float | None, *, weights: str | None = None
) -> dict[str, Any]:
    """The baseline of a search: one uniformly narrowed network, trained alike.

    It is the widest of at most `params` parameters, or inside the search's own limits (None).
    """
    changes = {**asked.overrides, **UNIFORM} | ({"weights": weights} if weights else {})
    within = "" if params is not None else "-within"
    name = f"{asked.what}{within}-uniform" + (f"-{weights}" if weights else "")
    baseline = Search(
        what=name,
        recipe=asked.recipe,
        seed=asked.seed,
        limits=asked.limits if params is None else ({"metric": "params", "max": int(params)},),
        overrides=changes,
    )
    return search(lab, teacher, baseline)


def take_over(first: Path, path: Path, settings: dict[str, Any]) -> None:
    """Make `path` the run that `first`, of the removal stage alone, would have become.

    Candidates, policy and clock of the removal stage are the same, for they depend on the seed and
    nothing that comes later; run-off, choice and final training of `first` are left out. Raises
    `InputError` where the two differ in anything but how long the second stage is.
    """
    config = read_json(first / "config.json")
    ours, theirs = dict(settings), dict(config["settings"])
    ours.pop("shrinkage"), theirs.pop("shrinkage")
    # the data's own augmentation is settled when a run begins
    ours["final"] = {**ours["final"], "augment": theirs["final"]["augment"]}
    if ours != theirs:
        names = ", ".join(sorted(name for name in ours if ours[name] != theirs.get(name)))
        raise InputError(f"{first}: must have the settings of {path}, but differs in {names}")
    copy = path.with_name(f".{path.name}.part")
    shutil.rmtree(copy, ignore_errors=True)
    RunFolder.create(copy)
    run, source = RunFolder(copy), RunFolder(first)
    shutil.copyfile(source.checkpoint("removal"), run.checkpoint("removal"))
    shutil.copyfile(first / "teacher.json", copy / "teacher.json")
    shutil.copyfile(source.policy("removal"), run.policy("removal"))
    with (
        closing(sqlite3.connect(source.ledger)) as old,
        closing(sqlite3.connect(run.ledger)) as new,
    ):
        old.backup(new)
        new.execute("DELETE FROM clock WHERE phase = ?", (FINAL_TRAINING,))
        new.execute("DELETE FROM candidates WHERE stage = ?", (RUNOFF,))
        new.commit()
    if (first / "budget.yaml").exists():
        shutil.copyfile(first / "budget.yaml", copy / "budget.yaml")
    settled = {**config["settings"], "shrinkage": settings["shrinkage"]}
    write_json(run.config, {**config, "settings": settled})
    assert not run.checkpoint(FINAL).exists()
    copy.rename(path)


def _settle(told: Path, asked: Search, settings: dict[str, Any]) -> None:
    """Write what is asked for beside the run, or check that it is what was asked for before."""
    now = {
        "recipe": asked.recipe,
        "limits": [dict(limit) for limit in asked.limits],
        "settings": settings,
        "policies": len(asked.policies),
    }
    if not told.exists():
        told.parent.mkdir(parents=True, exist_ok=True)
        write_json(told, {**now, "versions": versions()})
        return
    before = read_json(told)
    if differing := sorted(name for name in now if before.get(name) != now[name]):
        raise InputError(
            f"{told}: must be of what is asked for now, but differs in {', '.join(differing)}; "
            "move the run away to begin anew"
        )


def _budget(asked: Search, lab: Lab) -> dict[str, Any]:
    return {
        "apiVersion": "hwn2n/v1",
        "name": asked.what,
        "target": lab.target,
        "constraints": [dict(limit) for limit in asked.limits],
    }


def students(runs: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The runs that have a student."""
    return [run for run in runs if "test_accuracy" in run]
