"""`hwn2n compress`: the most accurate student inside a budget that the search finds, with proof."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from hwn2n.budget.cost import Cost, cost_to_json
from hwn2n.budget.load import load_budget
from hwn2n.commands.request import (
    IN_MEMORY,
    UNCONSTRAINED,
    Request,
    check_same_teacher,
    read_request,
    write_request,
)
from hwn2n.distil.datasets import Data
from hwn2n.errors import BudgetNotMetError, Hwn2nError, InputError
from hwn2n.hardware.target import Target, build_target
from hwn2n.network.files import Teacher
from hwn2n.run.export import export_student
from hwn2n.run.folder import RunFolder, default_folder, read_json, write_json
from hwn2n.run.ledger import State
from hwn2n.run.progress import Reporter, Silent
from hwn2n.run.provenance import versions
from hwn2n.run.stop import Stop
from hwn2n.search.assemble import Workbench, assemble
from hwn2n.search.finish import Choice, choose, full_cost, nearest, train_student
from hwn2n.search.loop import Search
from hwn2n.search.policies import load_policy, save_policy
from hwn2n.search.settings import Settings, build_settings


@dataclass(frozen=True, kw_only=True)
class Result:
    """The outcome of a run, as in its `result.json`.

    `teacher` and `student`: costs (column to reading) and the accuracies on the validation and
    the test split as fractions; the test split was used once, at the end. `rows`: the budget's
    rows for the student (`Constraints.describe`). `candidates`: counts by state. `seconds`: by
    phase, of all processes that worked on the run.
    """

    folder: str
    satisfied: bool
    teacher: dict[str, Any]
    student: dict[str, Any]
    rows: list[dict[str, Any]]
    candidates: dict[str, int]
    seconds: dict[str, float]
    machine: dict[str, Any]
    versions: dict[str, str]


def compress(
    model: str | os.PathLike[str] | nn.Module | Teacher,
    *,
    budget: str | os.PathLike[str] | Mapping[str, Any] | None,
    data: str | Data,
    out: str | os.PathLike[str] | None = None,
    recipe: str | Settings = "fast",
    overrides: Mapping[str, Any] | None = None,
    policies: Sequence[str | os.PathLike[str]] = (),
    arch: str | None = None,
    input_shape: tuple[int, int, int] | None = None,
    unsafe_pickle: bool = False,
    data_root: str | os.PathLike[str] | None = None,
    image_size: int | None = None,
    validation: int | float | None = None,
    split_seed: int | None = None,
    target: Target | str | None = None,
    reporter: Reporter | None = None,
    stop: Stop | None = None,
) -> Result:
    """Search for the most accurate student of `model` inside `budget`, train it, and prove it.

    `model`: a teacher file, or a module that maps images to logits. `budget`: a YAML file or its
    content; None searches without constraints. `data`: a name (see `load_data`) or a `Data`.
    `out`: the run's folder, which must be new or empty. `recipe` and `overrides`: see
    `search.settings`. `policies`: saved policies to start from. `split_seed` chooses the
    validation images and defaults to the one that the teacher's file names. `target`: what
    measures, by default what the budget names, or the CPU.

    Raises `InputError` (exit code 2), `MeasurementError` (3), `BudgetNotMetError` (1), all before
    any training where that can be known, and `InterruptedRunError` (130) when `stop` was asked
    for: `resume` goes on.
    """
    loaded_budget = UNCONSTRAINED if budget is None else load_budget(_as_source(budget))
    settings = build_settings(recipe, overrides)
    chosen = build_target(loaded_budget.target) if target is None else target
    chosen = build_target(chosen) if isinstance(chosen, str) else chosen
    in_memory = isinstance(model, nn.Module | Teacher)
    request = Request(
        teacher=IN_MEMORY if in_memory else os.fspath(model),  # type: ignore[arg-type]
        data=IN_MEMORY if isinstance(data, Data) else data,
        settings=settings,
        arch=arch,
        input_shape=input_shape,
        unsafe_pickle=unsafe_pickle,
        data_root=None if data_root is None else os.fspath(data_root),
        image_size=image_size,
        validation=validation,
        split_seed=split_seed or 0,
        target=target if isinstance(target, str) else None,
    )
    teacher = request.load_teacher(model if in_memory else None)  # type: ignore[arg-type]
    if split_seed is None and "split_seed" in teacher.metadata:
        request = _with_split(request, int(teacher.metadata["split_seed"]))
    loaded_data = request.load_data(data if isinstance(data, Data) else None)
    name = Path(request.teacher).stem if not in_memory else type(teacher.model).__name__
    path = Path(out) if out is not None else default_folder(name, loaded_budget.name)
    folder = RunFolder.create(path)
    try:
        _copy_policies(policies, folder, settings)
        write_request(folder, request, teacher, None if budget is None else _as_source(budget))
        bench = assemble(
            teacher=teacher,
            data=loaded_data,
            budget=loaded_budget,
            target=chosen,
            settings=settings,
            folder=folder,
        )
    except Hwn2nError:
        folder.discard()  # refused before any training: the same --out can be used again
        raise
    return _run(bench, folder, reporter or Silent(), stop or Stop())


def resume(
    folder: str | os.PathLike[str],
    *,
    model: nn.Module | Teacher | None = None,
    data: Data | None = None,
    target: Target | None = None,
    reporter: Reporter | None = None,
    stop: Stop | None = None,
) -> Result:
    """Go on with a run that was interrupted, however it was; a complete one gives its result.

    `model`, `data` and `target` are needed only where the run was given objects.
    """
    opened = RunFolder.open(Path(folder))
    request, budget, weights = read_request(opened)
    if opened.result.exists():
        result = Result(**read_json(opened.result))
        if not result.satisfied:
            raise BudgetNotMetError(f"{opened.path}: no student inside the budget was found")
        return result
    teacher = request.load_teacher(model)
    check_same_teacher(teacher, weights, opened)
    bench = assemble(
        teacher=teacher,
        data=request.load_data(data),
        budget=budget,
        target=target or build_target(request.target or budget.target),
        settings=request.settings,
        folder=opened,
    )
    return _run(bench, opened, reporter or Silent(), stop or Stop())


def _run(bench: Workbench, folder: RunFolder, reporter: Reporter, stop: Stop) -> Result:
    start = time.perf_counter()
    try:
        reporter.message(
            f"compressing {bench.teacher.source} with recipe {bench.settings.recipe}, "
            f"seed {bench.settings.seed}, into {folder.path}"
        )
        Search(
            planner=bench.planner,
            evaluator=bench.evaluator,
            ledger=bench.ledger,
            folder=folder,
            settings=bench.settings,
            reporter=reporter,
            stop=stop,
            start_from={
                p.stem.removeprefix("start-"): p for p in folder.path.glob("policies/start-*")
            },
        ).run()
        searched = time.perf_counter() - start
        choice = choose(bench.ledger, bench.planner, bench.evaluator)
        if choice is None:
            raise _none_found(bench)
        return _finish(bench, choice, folder, reporter, stop, searched)
    finally:
        bench.ledger.close()


def _finish(
    bench: Workbench,
    choice: Choice,
    folder: RunFolder,
    reporter: Reporter,
    stop: Stop,
    searched: float,
) -> Result:
    start = time.perf_counter()
    student = train_student(choice, bench.school, folder, reporter, stop)
    trained = time.perf_counter() - start
    available = [c for c in bench.columns if c not in bench.target.available(bench.columns)]
    cost = full_cost(
        student,
        bench.data.image_shape,
        target=bench.target,
        columns=available,
        school=bench.school,
    )
    satisfied = bench.constraints.satisfied(cost)
    description = {
        "classes": list(bench.data.classes),
        "mean": list(bench.data.mean),
        "std": list(bench.data.std),
        "data": bench.data.name,
    }
    difference = export_student(folder, choice.architecture, student, description)
    test = bench.data.test().to(bench.school.device)
    states = [candidate.state for candidate in bench.ledger.candidates()]
    phases = [candidate.seconds for candidate in bench.ledger.candidates()]
    result = Result(
        folder=str(folder.path),
        satisfied=satisfied,
        teacher=_described(bench, bench.teacher.model, bench.teacher_cost, test),
        student={
            **_described(bench, student, cost, test),
            "decision": choice.decision.to_json(),
            "key": choice.candidate.key,
            "stage": choice.candidate.stage,
            "search_accuracy": choice.candidate.accuracy,
            "export_difference": difference,
        },
        rows=bench.constraints.describe(cost),
        candidates={state.value: states.count(state) for state in State} | {"all": len(states)},
        seconds={
            "search": searched,
            "final_training": trained,
            **{
                f"candidates_{name}": sum(phase.get(name, 0.0) for phase in phases)
                for name in ("plan", "measure", "build", "train")
            },
        },
        machine=bench.target.fingerprint(),
        versions=versions(),
    )
    write_json(folder.result, vars(result))
    if not satisfied:
        row = bench.constraints.binding(cost)
        raise BudgetNotMetError(
            f"the trained student must meet {row.source}, but has "
            f"{row.describe(cost)['value_text']}; it lies in {folder.path}"
        )
    return result


def _described(bench: Workbench, model: nn.Module, cost: Cost, test: Any) -> dict[str, Any]:
    tested = bench.school.score(model, test)
    return {
        "cost": cost_to_json(cost),
        "validation_accuracy": cost["accuracy"].value,
        "test_accuracy": tested.top1,
        "test_images": tested.n,
    }


def _none_found(bench: Workbench) -> BudgetNotMetError:
    """Which row binds, and the candidate that came nearest."""
    total = len(bench.ledger.candidates())
    closest = nearest(bench.ledger, bench.evaluator.constraints)
    if closest is None:
        return BudgetNotMetError(f"none of {total} candidates could be built inside the budget")
    candidate, cost = closest
    known = bench.evaluator.constraints.only(cost)
    row = known.binding(cost)
    return BudgetNotMetError(
        f"none of {total} candidates is inside the budget; binding: {row.source}; the nearest, "
        f"candidate {candidate.id} ({candidate.stage}), has {row.describe(cost)['value_text']}"
    )


def _as_source(budget: str | os.PathLike[str] | Mapping[str, Any]) -> Any:
    return budget if isinstance(budget, str | Mapping) else Path(budget)


def _with_split(request: Request, split_seed: int) -> Request:
    return Request(**{**vars(request), "split_seed": split_seed})


def _copy_policies(
    policies: Sequence[str | os.PathLike[str]], folder: RunFolder, settings: Settings
) -> None:
    """Copy the policies to start from into the run, so that it can be resumed without them."""
    for path in policies:
        policy, meta = load_policy(path, features=settings.features)
        if policy.kind not in ("removal", "shrinkage"):
            raise InputError(f"{path}: must hold a removal or shrinkage policy, not {policy.kind}")
        save_policy(folder.path / "policies" / f"start-{policy.kind}.safetensors", policy, meta)
