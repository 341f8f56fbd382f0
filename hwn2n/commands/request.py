"""What a run was asked to do, as it stands in its folder: enough to go on with it later."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml
from torch import nn

from hwn2n.budget.load import load_budget
from hwn2n.budget.matrix import Budget
from hwn2n.distil.datasets import Data, load_data
from hwn2n.errors import InputError
from hwn2n.network.files import Teacher, load_teacher
from hwn2n.run.folder import RunFolder, read_json, write_atomic, write_json
from hwn2n.run.provenance import digest, provenance
from hwn2n.search.settings import Settings, settings_from_json, settings_to_json

FORMAT_VERSION = 1
UNCONSTRAINED = Budget(name="unconstrained", rows=())
IN_MEMORY = "(given as an object)"


@dataclass(frozen=True, kw_only=True)
class Request:
    """What to compress, on what data, and how.

    `teacher` is a file with what is needed to read it (`network.files.load_teacher`), `data` the
    name of a data set (`distil.datasets.load_data`); both are `IN_MEMORY` where the caller gave
    an object, which must then be given again to resume. `split_seed` chooses the validation
    images and must be the teacher's.
    """

    teacher: str
    data: str
    settings: Settings
    arch: str | None = None
    input_shape: tuple[int, int, int] | None = None
    unsafe_pickle: bool = False
    data_root: str | None = None
    image_size: int | None = None
    validation: int | float | None = None
    split_seed: int = 0
    target: str | None = None

    def load_teacher(self, given: nn.Module | Teacher | None = None) -> Teacher:
        """The teacher of the request; `given` where it is an object."""
        if isinstance(given, Teacher):
            return given
        if given is not None:
            return Teacher(model=given.eval(), source=type(given).__name__)
        if self.teacher == IN_MEMORY:
            raise InputError("the run's teacher was given as an object: give it again to resume")
        return load_teacher(
            self.teacher,
            arch=self.arch,
            input_shape=self.input_shape,
            unsafe_pickle=self.unsafe_pickle,
        )

    def load_data(self, given: Data | None = None) -> Data:
        """The data of the request; `given` where it is an object."""
        if given is not None:
            return given
        if self.data == IN_MEMORY:
            raise InputError("the run's data was given as an object: give it again to resume")
        return load_data(
            self.data,
            root=self.data_root,
            image_size=self.image_size,
            validation=self.validation,
            seed=self.split_seed,
        )


def write_request(folder: RunFolder, request: Request, teacher: Teacher, budget: Any) -> None:
    """Write `budget.yaml` and `config.json`, the latter last: with it the run can be resumed."""
    path = folder.path / "budget.yaml"
    if isinstance(budget, Mapping):
        text = yaml.safe_dump(dict(budget), sort_keys=False)
        write_atomic(path, lambda temporary: temporary.write_text(text))
    elif isinstance(budget, str) and "\n" in budget:
        write_atomic(path, lambda temporary: temporary.write_text(budget))
    elif budget is not None:
        write_atomic(path, lambda temporary: shutil.copyfile(budget, temporary))
    values = {name: value for name, value in vars(request).items() if name != "settings"}
    write_json(
        folder.config,
        {
            "format": "hwn2n-run",
            "version": FORMAT_VERSION,
            "request": values,
            "settings": settings_to_json(request.settings),
            "teacher_weights": digest(teacher.model.state_dict()),
            **provenance(),
        },
    )


def read_request(folder: RunFolder) -> tuple[Request, Budget, str]:
    """The request, the budget, and the digest of the teacher's weights of an existing run."""
    data = read_json(folder.config)
    if not isinstance(data, dict) or data.get("format") != "hwn2n-run":
        raise InputError(f"{folder.config}: must be the configuration of an hwn2n run")
    if data.get("version") != FORMAT_VERSION:
        raise InputError(
            f"{folder.config}: version must be {FORMAT_VERSION}, but got {data.get('version')!r}"
        )
    try:
        values = dict(data["request"])
        if values["input_shape"] is not None:
            values["input_shape"] = tuple(values["input_shape"])
        request = Request(**values, settings=settings_from_json(data["settings"]))
        weights = str(data["teacher_weights"])
    except (KeyError, TypeError) as error:
        raise InputError(f"{folder.config}: damaged configuration ({error!r})") from error
    path = folder.path / "budget.yaml"
    return request, load_budget(path) if path.exists() else UNCONSTRAINED, weights


def check_same_teacher(teacher: Teacher, weights: str, folder: RunFolder) -> None:
    """Raise `InputError` unless the teacher is the one that the run began with."""
    if digest(teacher.model.state_dict()) != weights:
        raise InputError(
            f"{teacher.source}: the teacher must be the one that {folder.path} began with, "
            "but its weights have changed"
        )
