"""What every rival is given: one teacher, its data, a budget in numbers, and the school."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import nn

from hwn2n.budget.cost import Reading
from hwn2n.budget.judgement import Verdict
from hwn2n.budget.load import load_budget
from hwn2n.budget.matrix import Budget, Constraints
from hwn2n.commands.request import Request, as_taught
from hwn2n.commands.subject import target_of
from hwn2n.distil.datasets import Data
from hwn2n.errors import InputError, MeasurementError
from hwn2n.hardware.counts import count
from hwn2n.hardware.device import check_device
from hwn2n.hardware.measurement import Beside, Effort
from hwn2n.hardware.target import Target
from hwn2n.network.capture import Captured, capture
from hwn2n.network.files import Teacher
from hwn2n.network.inherit import Inheritance
from hwn2n.network.planner import Planner
from hwn2n.search.choose import CARE
from hwn2n.search.finish import beside_teacher, full_cost
from hwn2n.search.limits import Limits
from hwn2n.search.recipes import build_settings, suited_to
from hwn2n.search.school import School
from hwn2n.search.settings import Settings

COUNTED = ("params", "flops", "weight_bytes")
"""Columns that need no clock."""


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One teacher under one budget with one seed.

    `limits` hold the teacher's cost, of which measured columns are read again beside a candidate
    where the budget makes them drift. `school` trains exactly as it does for `hwn2n compress`.
    """

    teacher: Teacher
    captured: Captured
    planner: Planner
    data: Data
    budget: Budget
    target: Target
    settings: Settings
    school: School
    limits: Limits

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of an image."""
        return self.data.image_shape

    @cached_property
    def searched(self) -> Limits:
        """The limits without those over accuracies, which nothing before training tells."""
        return self.limits.learned_left_out()

    @cached_property
    def countable(self) -> Constraints:
        """The rows that need no clock."""
        return self.searched.at_first.only(COUNTED)

    @cached_property
    def measured(self) -> tuple[str, ...]:
        """The columns of the budget that need one."""
        return tuple(name for name in self.searched.at_first.columns if name not in COUNTED)

    def fresh_teacher(self) -> nn.Module:
        """A copy of the teacher to be pruned: ordinary modules, whatever file it came from."""
        return self.captured.module().eval()

    def classifier(self) -> str:
        """The name of the layer that makes the logits.

        Raises `InputError` where they come out of no single layer with weights.
        """
        operations = self.captured.architecture.by_name()
        name = self.captured.architecture.output
        while operations[name].kind not in ("linear", "conv2d"):
            if len(operations[name].inputs) != 1 or operations[name].inputs[0] not in operations:
                raise InputError(
                    f"{self.teacher.source}: the logits must come out of one layer with weights, "
                    f"but come out of {name} ({operations[name].kind})"
                )
            name = operations[name].inputs[0]
        return name

    def counted(self, model: nn.Module) -> dict[str, Reading]:
        """Parameters by numel, FLOPs by fvcore, and bytes, of any module on the CPU."""
        counts = count(model, torch.zeros(1, *self.input_shape))
        return {name: Reading(getattr(counts, name), "exact") for name in COUNTED}

    def measure(self, model: nn.Module, effort: Effort) -> Beside:
        """The measured columns of `model` and of the teacher beside it, as in a search.

        Empty where the budget has no such rows. Raises `MeasurementError` where one is missing.
        """
        if not self.measured:
            return Beside({}, {})
        looks = CARE if effort == "full" else 1
        protocol = self.school.protocol(effort, self.searched.at_first, looks=looks)
        drifting = self.searched.drifting
        found = self.target.measure_beside(
            model, self.teacher.model, self.input_shape, self.measured, drifting, protocol
        )
        for cost, columns in ((found.cost, self.measured), (found.teacher, drifting)):
            if missing := [name for name in columns if name not in cost]:
                raise MeasurementError(f"target {self.target.name} gave no {missing[0]}")
        return found

    def proved(self, student: nn.Module) -> tuple[Beside, Verdict]:
        """A trained network beside the teacher: all columns of the budget, and the counts."""
        wanted = (*self.budget.columns, *self.budget.warning_columns, *COUNTED, "accuracy")
        return beside_teacher(
            student,
            self.teacher.model,
            self.input_shape,
            target=self.target,
            school=self.school,
            limits=self.limits,
            columns=list(dict.fromkeys(wanted)),
        )


def load_problem(
    *,
    teacher: str | Path | Teacher,
    data: str | Data,
    budget: str | Path | Mapping[str, Any],
    recipe: str | Settings = "fast",
    overrides: Mapping[str, Any] | None = None,
    data_root: str | Path | None = None,
    target: Target | None = None,
) -> Problem:
    """Everything as `hwn2n compress` would take it: split, normalisation, augmentation, target.

    Raises `InputError` for what does not fit, `MeasurementError` for a column that the budget
    needs and the target cannot measure.
    """
    loaded = load_budget(budget)
    settings = build_settings(recipe, overrides)
    check_device(settings.device)
    request = Request(
        teacher=teacher.source if isinstance(teacher, Teacher) else str(teacher),
        data=data.name if isinstance(data, Data) else data,
        settings=settings,
        data_root=None if data_root is None else str(data_root),
    )
    found = request.load_teacher(teacher if isinstance(teacher, Teacher) else None)
    request = as_taught(request, found, split_seed=None)
    images = request.load_data(data if isinstance(data, Data) else None)
    if found.mean is not None and found.std is not None:
        images = replace(images, mean=tuple(found.mean), std=tuple(found.std))
    settings = suited_to(settings, images.augment)
    chosen = target_of(target, budget=loaded)
    if missing := chosen.unavailable(loaded.columns):
        name, reason = next(iter(missing.items()))
        raise MeasurementError(
            f"the budget needs {name}, which target {chosen.name} cannot measure: {reason}"
        )
    captured = capture(found.model, images.image_shape, found.program)
    planner = Planner(captured.architecture)
    school = School(
        teacher=found.model,
        inheritance=Inheritance(captured, planner),
        data=images,
        settings=settings,
    )
    wanted = (*loaded.columns, *loaded.relative_columns, *COUNTED, "accuracy")
    cost = full_cost(
        found.model,
        images.image_shape,
        target=chosen,
        columns=list(dict.fromkeys(wanted)),
        school=school,
        protocol=school.protocol("full", Constraints(rows=())),
    )
    return Problem(
        teacher=found,
        captured=captured,
        planner=planner,
        data=images,
        budget=loaded,
        target=chosen,
        settings=settings,
        school=school,
        limits=Limits(loaded, cost, settings.teacher_beside),
    )
