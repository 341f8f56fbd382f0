"""Before the search: everything is checked and put together, and nothing is trained yet."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import zip_longest

from hwn2n.budget.columns import COLUMNS
from hwn2n.budget.consistency import contradiction_error, contradictions
from hwn2n.budget.cost import Cost, cost_from_json, cost_to_json
from hwn2n.budget.matrix import Budget, Constraints
from hwn2n.distil.datasets import Data
from hwn2n.distil.feed import DivergedError
from hwn2n.errors import BudgetNotMetError, InputError, MeasurementError
from hwn2n.hardware.target import Target
from hwn2n.network.capture import Captured, capture
from hwn2n.network.files import Teacher
from hwn2n.network.inherit import Inheritance
from hwn2n.network.planner import Planner
from hwn2n.run.folder import RunFolder, read_json, write_json
from hwn2n.run.ledger import Ledger
from hwn2n.search.alignment import aligned
from hwn2n.search.evaluate import Evaluator, countable_columns
from hwn2n.search.executors import Here, Site
from hwn2n.search.finish import full_cost
from hwn2n.search.fitting.projection import counted_cost
from hwn2n.search.limits import Limits
from hwn2n.search.reach import check_reachable
from hwn2n.search.school import School
from hwn2n.search.settings import Settings

SHOWN_COLUMNS = ("params", "flops", "weight_bytes", "latency_p50", "accuracy")
"""Columns that a result shows where they can be had, whatever the budget asks for."""


@dataclass(frozen=True, kw_only=True)
class Workbench:
    """The parts of a search, ready to run; `warnings` are for the person who waits for it."""

    teacher: Teacher
    captured: Captured
    planner: Planner
    data: Data
    settings: Settings
    target: Target
    columns: tuple[str, ...]
    teacher_cost: Cost
    limits: Limits
    school: School
    evaluator: Evaluator
    ledger: Ledger
    warnings: tuple[str, ...] = ()


def assemble(
    *,
    teacher: Teacher,
    data: Data,
    budget: Budget,
    target: Target,
    settings: Settings,
    folder: RunFolder,
    site: Site | None = None,
) -> Workbench:
    """Check that teacher, data, budget and target go together, and build what the search needs.

    Raises `InputError` for what does not fit, `MeasurementError` for a column that the budget
    needs and the target cannot measure, `BudgetNotMetError` for a budget that no student meets.
    Costs of the teacher are measured and kept in the folder, so that what is counted stays what
    it was when the run is resumed. `site` is where candidates are measured and trained, by default
    this process.
    """
    site = site or Here()
    target = site.target(target, budget.columns)
    data = _in_the_teachers_units(teacher, data)
    _check_shape(teacher, budget, data)
    if missing := target.unavailable(budget.columns):
        name, reason = next(iter(missing.items()))
        raise MeasurementError(
            f"the budget needs {name}, which target {target.name} cannot measure: {reason}"
        )
    captured = capture(teacher.model, data.image_shape, teacher.program)
    _check_classes(teacher, captured, data)
    planner = Planner(captured.architecture)
    school = School(
        teacher=teacher.model,
        inheritance=Inheritance(captured, planner),
        data=data,
        settings=settings,
    )
    columns = tuple(dict.fromkeys([*budget.columns, *budget.warning_columns, *SHOWN_COLUMNS]))
    teacher_cost = _teacher_cost(teacher, data, target, columns, school, folder)
    _check_counts(budget, captured, planner, teacher_cost)
    limits = Limits(budget, teacher_cost, settings.teacher_beside)
    constraints = limits.at_first
    if rows := contradictions(constraints):
        raise BudgetNotMetError(str(contradiction_error(rows)))
    settings = aligned(
        settings, planner=planner, school=school, target=target, limits=limits, folder=folder
    )
    warning = check_reachable(planner, settings, constraints.only(countable_columns(target)))
    ledger = Ledger(folder.ledger)
    try:
        evaluator = Evaluator(
            planner=planner,
            school=school,
            target=target,
            limits=limits,
            teacher_accuracy=teacher_cost["accuracy"].value,
            settings=settings,
            ledger=ledger,
            executor=site.executor,
        )
    except BaseException:
        ledger.close()
        raise
    return Workbench(
        teacher=teacher,
        captured=captured,
        planner=planner,
        data=data,
        settings=settings,
        target=target,
        columns=columns,
        teacher_cost=teacher_cost,
        limits=limits,
        school=school,
        evaluator=evaluator,
        ledger=ledger,
        warnings=() if warning is None else (warning,),
    )


def _in_the_teachers_units(teacher: Teacher, data: Data) -> Data:
    """The data with the normalisation that the teacher was trained with, where it is known."""
    if teacher.mean is None or teacher.std is None:
        return data
    if len(teacher.mean) != data.in_channels:
        raise InputError(
            f"{teacher.source}: the teacher's normalisation is for {len(teacher.mean)} channels, "
            f"but images of {data.name} have {data.in_channels}"
        )
    return replace(data, mean=tuple(teacher.mean), std=tuple(teacher.std))


def _check_shape(teacher: Teacher, budget: Budget, data: Data) -> None:
    if teacher.input_shape is not None and tuple(teacher.input_shape) != data.image_shape:
        raise InputError(
            f"{teacher.source}: the teacher's images must be those of {data.name}, "
            f"{list(data.image_shape)} (channels, height, width), but are "
            f"{list(teacher.input_shape)}"
        )
    if budget.input is not None and tuple(budget.input[1:]) != data.image_shape:
        raise InputError(
            f"{budget.where('input')}: input must be that of the data, "
            f"{list(data.image_shape)} (channels, height, width), but is {list(budget.input[1:])}"
        )


def _check_counts(budget: Budget, captured: Captured, planner: Planner, teacher_cost: Cost) -> None:
    """A budget on FLOPs steers by the planner's count, so that must be fvcore's on the teacher.

    It is not where the teacher has operators whose work only fvcore knows, such as attention. Nor
    can shares of the teacher's parameters mean anything where no logit depends on some of them.
    """
    if "params" in budget.columns and captured.said_unused is not None:
        raise InputError(
            f"the budget needs params, all of which must make the teacher's logits, but "
            f"{captured.said_unused}: take them out of the model"
        )
    planned = counted_cost(planner.teacher)
    for name in ("params", "flops"):
        if name in budget.columns and planned[name].value != teacher_cost[name].value:
            raise MeasurementError(
                f"the budget needs {name}, of which hwn2n's own operators must account for all of "
                f"the teacher's {teacher_cost[name].value:,.0f}, but they do for "
                f"{planned[name].value:,.0f}"
            )


def _check_classes(teacher: Teacher, captured: Captured, data: Data) -> None:
    output = captured.architecture.by_name()[captured.architecture.output]
    outputs = (output.shape or (0, 0))[1]
    if outputs != data.num_classes:
        raise InputError(
            f"{teacher.source}: the teacher must have one logit for each of the "
            f"{data.num_classes} classes of {data.name}, but has {outputs}"
        )
    if teacher.classes is not None and tuple(teacher.classes) != tuple(data.classes):
        pairs = zip_longest(teacher.classes, data.classes)
        mine, theirs = next((a, b) for a, b in pairs if a != b)
        raise InputError(
            f"{teacher.source}: the teacher's classes must be those of {data.name} in the same "
            f"order, but it has {mine!r} where the data has {theirs!r}"
        )


def _teacher_cost(
    teacher: Teacher,
    data: Data,
    target: Target,
    columns: tuple[str, ...],
    school: School,
    folder: RunFolder,
) -> Cost:
    path = folder.path / "teacher.json"
    if path.exists():
        return cost_from_json(read_json(path))
    wanted = [name for name in columns if name not in target.unavailable(columns)]
    wanted += [name for name in columns if COLUMNS[name].learned and name not in wanted]
    try:
        cost = full_cost(
            teacher.model,
            data.image_shape,
            target=target,
            columns=wanted,
            school=school,
            protocol=school.protocol("full", Constraints(rows=())),
        )
    except DivergedError as error:
        raise InputError(
            f"{teacher.source}: the teacher must give finite logits: {error}"
        ) from error
    if not cost["accuracy"].value:
        raise InputError(f"{teacher.source}: the teacher classifies no validation image correctly")
    write_json(path, cost_to_json(cost))
    return cost
