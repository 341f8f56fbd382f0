"""What a run was asked to do, as it stands in its folder: enough to go on with it later."""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from hwn2n.atomic import write_atomic
from hwn2n.budget.load import load_budget
from hwn2n.budget.matrix import Budget
from hwn2n.budget.plain import as_yaml
from hwn2n.commands.starting import keep_policies
from hwn2n.distil.data_options import IMAGE_FOLDER, expanded, is_same_data
from hwn2n.distil.datasets import Data, load_data
from hwn2n.errors import InputError, one_line
from hwn2n.hardware.local_target import LocalTarget
from hwn2n.hardware.target import Target
from hwn2n.hardware.targets import build_target
from hwn2n.importing import asked_in
from hwn2n.network.files import Teacher, load_teacher
from hwn2n.run.folder import IN_MEMORY, RunFolder, read_json, write_json
from hwn2n.run.provenance import digest, digest_of_data, provenance
from hwn2n.search.settings import Settings, settings_from_json, settings_to_json

FORMAT_VERSION = 1
UNCONSTRAINED = Budget(name="unconstrained", rows=())


@dataclass(frozen=True, kw_only=True)
class Request:
    """What to compress, on what data, and how.

    `teacher` is a file with what is needed to read it (`network.files.load_teacher`), `data` the
    name of a data set (`distil.datasets.load_data`), `target` the settings of a target; each is
    `IN_MEMORY` where the caller gave an object, which must then be given again to resume.
    `split_seed` chooses the validation images and must be the teacher's. `threads` are the CPU
    threads of torch as the run began, None where a version began it that did not write them.
    `target_given` is the name or path by which the target was asked for, None for the budget's.
    Paths may be relative to `begun_in`, the working directory of who asked.
    """

    teacher: str
    data: str
    settings: Settings
    arch: str | None = None
    input_shape: tuple[int, int, int] | None = None
    unsafe_pickle: bool = False
    data_root: str | None = None
    image_size: int | None = None
    download: bool = False
    validation: int | float | None = None
    split_seed: int = 0
    target: str | dict[str, Any] | None = None
    threads: int | None = None
    target_given: str | None = None
    begun_in: str | None = None

    def from_here(self) -> Request:
        """The same for the working directory of today, which may be another one."""
        there, data = Path(self.begun_in or Path.cwd()), self.data
        if there == Path.cwd():
            return self
        if data.startswith(IMAGE_FOLDER):
            images = expanded(data.removeprefix(IMAGE_FOLDER), "data")
            data = f"{IMAGE_FOLDER}{there / images}"
        teacher = self.teacher if self.teacher == IN_MEMORY else str(there / self.teacher)
        root = there / expanded(self.data_root or "data", "root (--data-root)")
        given = self.target_given
        if given is not None and (there / given).is_file():
            given = str(there / given)
        return replace(self, teacher=teacher, data=data, data_root=str(root), target_given=given)

    def load_teacher(self, given: nn.Module | Teacher | None = None) -> Teacher:
        """The teacher of the request; `given` where it is an object."""
        if isinstance(given, Teacher):
            return given
        if given is not None:
            return Teacher(model=_own_copy(given), source=type(given).__name__)
        if self.teacher == IN_MEMORY:
            raise InputError("the run's teacher was given as an object: give it again to resume")
        with asked_in(self.begun_in):
            return load_teacher(
                self.teacher,
                arch=self.arch,
                input_shape=self.input_shape,
                unsafe_pickle=self.unsafe_pickle,
            )

    def load_target(self, given: Target | None = None) -> Target:
        """The target of the request; `given` where it is an object."""
        if given is not None:
            return given
        if self.target == IN_MEMORY:
            raise InputError("the run's target was given as an object: give it again to resume")
        return build_target(self.target)

    def load_data(self, given: Data | None = None) -> Data:
        """The data of the request; `given` where it is an object."""
        if given is not None:
            given.check_asked(self.image_size, self.validation)
            return given
        if self.data == IN_MEMORY:
            raise InputError("the run's data was given as an object: give it again to resume")
        with asked_in(self.begun_in):
            return load_data(
                self.data,
                root=self.data_root,
                image_size=self.image_size,
                validation=self.validation,
                seed=self.split_seed,
                download=self.download,
            )


def stored_target(chosen: Target, given: object) -> str | dict[str, Any]:
    """What stands in the folder for the target that the search uses.

    Not its name: when the run is resumed, the file of that name may have changed, or be out of
    sight of the working directory.
    """
    if isinstance(given, Target) or not isinstance(chosen, LocalTarget):
        return IN_MEMORY
    return chosen.to_json()


def as_taught(request: Request, teacher: Teacher, *, split_seed: int | None) -> Request:
    """The request with what it leaves open of the data taken from the teacher's file.

    With another split the search would choose by images that the teacher was trained on.
    `split_seed` is what the caller asked for, None to take the teacher's. The number of validation
    images and the size of images are the teacher's only for the data that it was taught on.
    """
    taught = teacher.metadata
    changes: dict[str, Any] = {}
    if split_seed is None:
        changes["split_seed"] = taught.get("split_seed")
    if is_same_data(teacher.data, request.data):
        for name in ("validation", "image_size"):
            if getattr(request, name) is None:
                changes[name] = taught.get(name)
    changes = {name: value for name, value in changes.items() if value is not None}
    for name, value in changes.items():  # from a file that anybody may have written
        numbers = int | float if name == "validation" else int
        if isinstance(value, bool) or not isinstance(value, numbers):
            raise InputError(f"{teacher.source}: its {name} must be a number, but is {value!r:.40}")
    size = changes.get("image_size")
    if size is not None and teacher.input_shape is not None and size not in teacher.input_shape[1:]:
        raise InputError(
            f"{teacher.source}: its image_size must be that of its images, {teacher.input_shape} "
            f"(C, H, W), but is {size}"
        )
    return replace(request, **changes)


def write_request(
    folder: RunFolder,
    request: Request,
    teacher: Teacher,
    data: Data,
    budget: Any,
    policies: Sequence[str | os.PathLike[str]] = (),
) -> None:
    """Write all that was asked for into the folder, so that the run can be resumed from it alone.

    `budget.yaml`, copies of the policies to start from, and `config.json`, which comes last: with
    it the folder is a run. Raises `InputError` for a policy that does not suit the request.
    """
    written: str | bytes | None = None
    if isinstance(budget, Mapping):
        written = as_yaml(budget)
    elif isinstance(budget, str) and "\n" in budget:
        written = budget
    elif budget is not None:  # read now: it may be what a killed process left here
        written = Path(budget).read_bytes()
    folder.begin_anew()
    keep_policies(policies, folder, request.settings)
    if written is not None:
        text = written.encode() if isinstance(written, str) else written
        write_atomic(folder.budget, lambda temporary: temporary.write_bytes(text))
    values = {name: value for name, value in vars(request).items() if name != "settings"}
    write_json(
        folder.config,
        {
            "format": "hwn2n-run",
            "version": FORMAT_VERSION,
            "request": values,
            "settings": settings_to_json(request.settings),
            "teacher_weights": digest(teacher.model.state_dict()),
            "data": digest_of_data(data),
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
        settings = settings_from_json(data["settings"])
        request = Request(**values, settings=settings).from_here()
        weights = str(data["teacher_weights"])
    except (KeyError, TypeError) as error:
        raise InputError(f"{folder.config}: damaged configuration ({error!r})") from error
    path = folder.budget
    return request, load_budget(path) if path.exists() else UNCONSTRAINED, weights


def _own_copy(model: nn.Module) -> nn.Module:
    """The caller's module stays as it is, where it is: training moves and switches this one."""
    try:
        return copy.deepcopy(model).cpu().eval()
    except Exception as error:
        raise InputError(
            f"the teacher must be a module that can be copied, but: {one_line(error)}"
        ) from error


def check_same_data(data: Data, folder: RunFolder) -> None:
    """Raise `InputError` unless the images are those that the run began with: candidates of other
    images do not compare. Runs of versions that wrote none of it down pass."""
    before = read_json(folder.config).get("data")
    if before is not None and digest_of_data(data) != before:
        raise InputError(
            f"{data.name}: the train and validation images must be those that {folder.path} began "
            "with, but they have changed"
        )


def check_same_teacher(teacher: Teacher, weights: str, folder: RunFolder) -> None:
    """Raise `InputError` unless the teacher is the one that the run began with."""
    if digest(teacher.model.state_dict()) != weights:
        raise InputError(
            f"{teacher.source}: the teacher must be the one that {folder.path} began with, "
            "but its weights have changed"
        )
