"""A run's folder read for a report: finished or not, and whether or not its teacher is at hand."""

from __future__ import annotations

import os
import shlex
from typing import Any

from hwn2n.budget.cost import Cost, cost_from_json
from hwn2n.budget.matrix import Budget
from hwn2n.commands.request import Request, check_same_teacher, read_request, stored_target
from hwn2n.commands.result import read_result
from hwn2n.commands.run_or_model import subject_of
from hwn2n.commands.settled import Settled
from hwn2n.commands.starting import starting_policies
from hwn2n.commands.subject import shape_of, target_of
from hwn2n.errors import Hwn2nError, InputError
from hwn2n.hardware.targets import build_target
from hwn2n.network.architecture import Architecture
from hwn2n.network.capture import capture
from hwn2n.network.planner import Planner
from hwn2n.reporting.facts import STAGES, RunFacts
from hwn2n.reporting.repeat import command, target_name
from hwn2n.run.candidate import Candidate
from hwn2n.run.folder import IN_MEMORY, RunFolder, read_json
from hwn2n.run.ledger import Ledger


def read_run(
    folder: RunFolder,
    *,
    teacher: str | os.PathLike[str] | None = None,
    planner: Planner | None = None,
    note: str | None = None,
    layers: bool = True,
) -> RunFacts:
    """All that the folder knows. Raises `InputError` where what is there is damaged.

    `teacher` is the teacher's file where it is not where the run found it, and must be the run's;
    `planner` stands for both. Without any of them the layers come from the architecture that the
    run wrote down, or from the teacher's file; where there is neither, the report has no layers.
    `note` is that of `RunFacts`, where the run itself knows a newer one than the folder. Without
    `layers` nobody looks for the teacher.
    """
    request, budget, weights = read_request(folder)
    config = read_json(folder.config)
    candidates, updates, seconds = _ledger(folder)
    settled = Settled.read(folder)
    unknown = None
    if planner is None and layers:
        planner, unknown = _planner(folder, request, weights, teacher)
    return RunFacts(
        folder=str(folder.path),
        request={name: value for name, value in vars(request).items() if name != "settings"},
        settings=request.settings,
        versions={str(k): str(v) for k, v in (config.get("versions") or {}).items()},
        created=str(config.get("created", "at an unknown time")),
        teacher_weights=weights,
        data_digest=config.get("data"),
        budget=budget,
        teacher_cost=_teacher_cost(folder),
        candidates=tuple(candidates),
        updates=updates,
        seconds=seconds,
        result=vars(read_result(folder)) if folder.result.exists() else None,
        planner=planner,
        unknown=unknown,
        chosen=settled.candidate,
        chosen_decision=settled.decision,
        note=note or settled.note,
        none_found=settled.none_found,
        again=settled.measured_again(candidates),
    )


def repeat_command(folder: RunFolder) -> str | None:
    """The command that repeats the run, from its own budget and policies."""
    request, budget, _ = read_request(folder)
    path, asked = folder.budget, request.target_given or target_name(request.target)
    return command(
        {name: value for name, value in vars(request).items() if name != "settings"},
        request.settings,
        budget=str(path) if path.exists() else None,
        target=None if _named_by(budget, request.target) else asked,
        policies=[str(path) for _, path in sorted(starting_policies(folder).items())],
    )


def _named_by(budget: Budget, stored: Any) -> bool:
    """Whether the target that a request stored is what its budget names, or the CPU where none."""
    try:
        own, kept = target_of(None, budget=budget), build_target(stored)
    except InputError:  # such as a profile that lies beside the budget's first place
        return budget.target is not None
    return stored_target(own, None) == stored_target(kept, None)


def _ledger(
    folder: RunFolder,
) -> tuple[list[Candidate], dict[str, list[dict[str, Any]]], dict[str, float]]:
    if not folder.ledger.exists():
        return [], {}, {}
    ledger = Ledger(folder.ledger, read_only=True)
    try:
        updates = {stage: ledger.updates(stage) for stage in STAGES}
        return ledger.candidates(), updates, ledger.seconds()
    finally:
        ledger.close()


def _teacher_cost(folder: RunFolder) -> Cost:
    path = folder.path / "teacher.json"
    return cost_from_json(read_json(path)) if path.exists() else {}


def _planner(
    folder: RunFolder,
    request: Request,
    weights: str,
    teacher: str | os.PathLike[str] | None,
) -> tuple[Planner | None, str | None]:
    """What plans students, or why nobody can."""
    path = folder.teacher_architecture
    if teacher is None and path.exists():
        return Planner(Architecture.from_json(read_json(path), source=str(path))), None
    try:
        if teacher is None and request.teacher == IN_MEMORY:
            raise InputError("the run's teacher was given as an object")
        subject = (
            request.load_teacher()
            if teacher is None
            else subject_of(teacher, request.arch, request.input_shape, request.unsafe_pickle)
        )
        check_same_teacher(subject, weights, folder)
        shape = request.input_shape
        if shape is None and folder.architecture.exists():
            own = folder.architecture
            shape = Architecture.from_json(read_json(own), source=str(own)).input_shape
        captured = capture(subject.model, shape_of(subject, shape), subject.program)
        return Planner(captured.architecture), None
    except Hwn2nError as error:
        if teacher is not None:
            raise
        return None, (
            "The layers are not known, because the teacher is not at hand "
            f"({error}); give its file with: hwn2n report {shlex.quote(str(folder.path))} "
            "--teacher FILE"
        )
