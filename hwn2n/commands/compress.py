"""`hwn2n compress`: the most accurate student inside a budget that the search finds, with proof."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from hwn2n.budget.load import load_budget
from hwn2n.commands.request import (
    UNCONSTRAINED,
    Request,
    as_taught,
    stored_target,
    write_request,
)
from hwn2n.commands.result import Result
from hwn2n.commands.site import site_of, workers_of
from hwn2n.commands.subject import target_of
from hwn2n.commands.work import work
from hwn2n.distil.data_options import plain_options, whole_number
from hwn2n.distil.datasets import Data
from hwn2n.hardware.device import check_device
from hwn2n.hardware.target import Target
from hwn2n.network.files import Teacher
from hwn2n.run.folder import IN_MEMORY, RunFolder, default_folder
from hwn2n.run.lock import working_on
from hwn2n.run.progress import Reporter, Silent
from hwn2n.run.stop import Stop
from hwn2n.search.assemble import assemble
from hwn2n.search.executors import RayOptions
from hwn2n.search.policies.shipped import shipped_policies
from hwn2n.search.recipes import build_settings, suited_to
from hwn2n.search.settings import Settings

__all__ = ["Result", "compress"]


def compress(
    model: str | os.PathLike[str] | nn.Module | Teacher,
    *,
    budget: str | os.PathLike[str] | Mapping[str, Any] | None,
    data: str | Data,
    out: str | os.PathLike[str] | None = None,
    recipe: str | Settings = "fast",
    overrides: Mapping[str, Any] | None = None,
    policies: Sequence[str | os.PathLike[str]] | Literal["auto"] = (),
    arch: str | None = None,
    input_shape: tuple[int, int, int] | None = None,
    unsafe_pickle: bool = False,
    data_root: str | os.PathLike[str] | None = None,
    download: bool = False,
    image_size: int | None = None,
    validation: int | float | None = None,
    split_seed: int | None = None,
    target: Target | str | None = None,
    ray: str | RayOptions | None = None,
    reporter: Reporter | None = None,
    stop: Stop | None = None,
) -> Result:
    """Search for the most accurate student of `model` inside `budget`, train it, and prove it.

    `model`: a teacher file, or a module that maps images to logits. `budget`: a YAML file or its
    content; None searches without constraints. `data`: a name (see `load_data`) or a `Data`.
    `download`: fetch the data if it is missing. `out`: the run's folder, which must be new or
    empty. `recipe` and `overrides`: see `search.recipes`; a target's `round_to` and `min_width`
    count where they say nothing. `policies`: saved policies to start from, where `strategy` is
    policies, or "auto" for those that come with hwn2n for such a budget (`policies.shipped`).
    `validation` (a number of images or a share) and `split_seed` choose the validation images;
    they and `image_size` default to those that the teacher's file names. `target`: what measures,
    by default what the budget names, or the CPU. `ray`: train candidates side by side on a Ray
    cluster, "local" or its address (`search.executors.options`); that changes no candidate.

    Raises `InputError` (exit code 2), `MeasurementError` (3), `BudgetNotMetError` (1), all before
    any training where that can be known, and `InterruptedRunError` (130) when `stop` was asked
    for: `resume` goes on.
    """
    workers = workers_of(ray)
    image_size, validation = plain_options(image_size, validation)
    split_seed = None if split_seed is None else whole_number(split_seed, "split_seed")
    loaded_budget = UNCONSTRAINED if budget is None else load_budget(_as_source(budget))
    chosen = target_of(target, budget=loaded_budget)
    preferences = chosen.preferences if isinstance(recipe, str) else {}
    settings = build_settings(recipe, {**preferences, **(overrides or {})})
    starts = shipped_policies(loaded_budget, settings) if policies == "auto" else policies
    check_device(settings.device)
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
        download=download,
        validation=validation,
        split_seed=split_seed or 0,
        target=stored_target(chosen, target),
        target_given=target if isinstance(target, str) else None,
        threads=torch.get_num_threads(),
        begun_in=str(Path.cwd()),
    )
    teacher = request.load_teacher(model if in_memory else None)  # type: ignore[arg-type]
    request = as_taught(request, teacher, split_seed=split_seed)
    loaded_data = request.load_data(data if isinstance(data, Data) else None)
    loaded_data.test()  # now: an image that cannot be read must not cost the search
    request = replace(request, settings=suited_to(settings, loaded_data.augment))
    name = Path(request.teacher).stem if not in_memory else type(teacher.model).__name__
    path = Path(out) if out is not None else default_folder(name, loaded_budget.name)
    folder = RunFolder.create(path)
    reporter = reporter or Silent()
    with working_on(folder), ExitStack() as stack:
        try:
            source = None if budget is None else _as_source(budget)
            write_request(folder, request, teacher, loaded_data, source, starts)
            site = stack.enter_context(site_of(workers, reporter))
            bench = assemble(
                teacher=teacher,
                data=loaded_data,
                budget=loaded_budget,
                target=chosen,
                settings=request.settings,
                folder=folder,
                site=site,
            )
        except BaseException:
            folder.discard()  # refused before any training: the same --out can be used again
            raise
        return work(bench, folder, reporter, stop or Stop())


def _as_source(budget: str | os.PathLike[str] | Mapping[str, Any]) -> Any:
    return budget if isinstance(budget, str | Mapping) else Path(budget)
