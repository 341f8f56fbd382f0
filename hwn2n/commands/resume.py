"""Going on with a run that was interrupted, or whose final training came to nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from hwn2n.commands.request import Request, check_same_data, check_same_teacher, read_request
from hwn2n.commands.result import Result, judged, read_result
from hwn2n.commands.site import site_of, workers_of
from hwn2n.commands.work import work
from hwn2n.distil.datasets import Data
from hwn2n.errors import InputError
from hwn2n.hardware.device import check_device
from hwn2n.hardware.matching import most_threads
from hwn2n.hardware.target import Target
from hwn2n.network.files import Teacher
from hwn2n.run.folder import RunFolder, read_json, write_json
from hwn2n.run.lock import working_on
from hwn2n.run.progress import Reporter, Silent
from hwn2n.run.stop import Stop
from hwn2n.search.assemble import assemble
from hwn2n.search.executors import RayOptions
from hwn2n.search.finish import FINAL
from hwn2n.search.recipes import build_settings
from hwn2n.search.settings import settings_to_json


def resume(
    folder: str | os.PathLike[str],
    *,
    overrides: Mapping[str, Any] | None = None,
    threads: int | None = None,
    model: nn.Module | Teacher | None = None,
    data: Data | None = None,
    target: Target | None = None,
    ray: str | RayOptions | None = None,
    reporter: Reporter | None = None,
    stop: Stop | None = None,
) -> Result:
    """Go on with a run that was interrupted, however it was; a complete one gives its result.

    `overrides` may change how the student is trained in the end, `final` and `final_lambda`, as
    long as the run is not complete: that training then begins anew, and what was searched stays.
    `threads` are the CPU threads of torch, by default as many as the run was begun with: what is
    measured must stay what it was. `model`, `data` and `target` are needed only where the run was
    given objects. `ray` is as for `compress`, and need not be what the run was begun with.
    """
    workers = workers_of(ray)
    opened = RunFolder.open(Path(folder))
    request, budget, weights = read_request(opened)
    changed = _changed(request, overrides or {})
    if opened.result.exists():
        return _complete(opened, changed, request)
    check_device(request.settings.device)
    chosen = request.load_target(target)
    teacher = request.load_teacher(model)
    check_same_teacher(teacher, weights, opened)
    loaded_data = request.load_data(data)
    check_same_data(loaded_data, opened)
    loaded_data.test()
    reporter = reporter or Silent()
    with working_on(opened), _threads(threads or request.threads), ExitStack() as stack:
        if opened.result.exists():  # another process ended the run while the data was read
            return _complete(opened, changed, request)
        if changed != request:
            _keep_changed(opened, changed)
        site = stack.enter_context(site_of(workers, reporter))
        bench = assemble(
            teacher=teacher,
            data=loaded_data,
            budget=budget,
            target=chosen,
            settings=changed.settings,
            folder=opened,
            site=site,
        )
        return work(bench, opened, reporter, stop or Stop())


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    """Torch with so many CPU threads, or as many as this machine can start; None leaves them."""
    before = torch.get_num_threads()
    torch.set_num_threads(min(count or before, most_threads()))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _changed(request: Request, overrides: Mapping[str, Any]) -> Request:
    """The request with other settings of the final training; all else stays as it was begun."""
    for name in overrides:
        if name != "final_lambda" and name.partition(".")[0] != "final":
            raise InputError(
                f"setting {name}: a run goes on as it was begun; only those of its final training "
                "(final.*, final_lambda) may be changed"
            )
    return replace(request, settings=build_settings(request.settings, overrides))


def _complete(folder: RunFolder, changed: Request, request: Request) -> Result:
    if changed != request:
        raise InputError(
            f"{folder.path}: the run is complete, so its final training cannot be changed; begin a "
            "new one"
        )
    return judged(read_result(folder))


def _keep_changed(folder: RunFolder, changed: Request) -> None:
    """The final training begins anew: first what is there of the old one goes."""
    for path in (folder.checkpoint(FINAL), folder.weights, folder.student, folder.architecture):
        path.unlink(missing_ok=True)
    config = read_json(folder.config)
    write_json(folder.config, {**config, "settings": settings_to_json(changed.settings)})
