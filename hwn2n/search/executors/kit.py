"""All that a worker in another process needs to measure and train, and the worker's part of it.

A kit travels once to each node, and each process makes its school and its workshop from it once.
Images and logits are numpy arrays, which the processes of a node then read from shared memory; of
the images only those that search training, its scores and measurements use.

A worker trains as the driver would, to the last bit on the same kind of processor: with the
driver's number of threads, the precision that was settled there, and the logits computed there.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import nn

from hwn2n.budget.target_schema import TargetModel
from hwn2n.distil.datasets import Data
from hwn2n.distil.feed import choose_precision
from hwn2n.distil.images import ImageSet
from hwn2n.errors import InputError
from hwn2n.hardware.local_target import LocalTarget
from hwn2n.hardware.target import Target
from hwn2n.network.capture import Captured
from hwn2n.network.inherit import Inheritance
from hwn2n.network.planner import Planner
from hwn2n.run.provenance import versions
from hwn2n.search.limits import Limits
from hwn2n.search.school import MEASURED_IMAGES, School
from hwn2n.search.settings import Settings
from hwn2n.search.workshop import Workshop

TRAINING = ("hwn2n", "python", "torch")
MEASURING = ("hwn2n", "python")
"""Packages of which driver and workers must have the same version. A board has its own torch."""


@dataclass(frozen=True)
class PackedImages:
    """An `ImageSet` as arrays: uint8 (N, C, H, W) and int64 (N,)."""

    images: np.ndarray
    labels: np.ndarray
    num_classes: int | None

    @staticmethod
    def of(images: ImageSet) -> PackedImages:
        """Packed, from whatever device."""
        return PackedImages(
            images.images.cpu().numpy(), images.labels.cpu().numpy(), images.num_classes
        )

    def unpacked(self) -> ImageSet:
        """The images, in the same memory."""
        return ImageSet(_tensor(self.images), _tensor(self.labels), self.num_classes)


def _tensor(array: np.ndarray) -> torch.Tensor:
    with warnings.catch_warnings():
        # Shared memory is read-only, which torch cannot express. Nothing writes into images.
        warnings.filterwarnings("ignore", message=".*not writable.*")
        return torch.from_numpy(array)


@dataclass(frozen=True, kw_only=True)
class Kit:
    """The parts of a `School`, with no more images than its work asks for."""

    teacher: nn.Module
    captured: Captured
    settings: Settings
    train: PackedImages
    validation: PackedImages
    logits: np.ndarray | None
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    limits: Limits
    measured: tuple[str, ...]
    threads: int

    @staticmethod
    def of(workshop: Workshop) -> Kit:
        """What trains as the driver's workshop would, on the CPU."""
        school = workshop.school
        settings, data = school.settings, school.data
        logits = school.search_logits()
        how = settings.train
        if how.precision == "auto":
            how = replace(how, precision=choose_precision(school.device))
        # Ray shows a worker its own GPUs only, and they are numbered anew.
        changes = {"train": how, "device": school.device.type}
        return Kit(
            teacher=on_cpu(school.teacher),
            captured=school.inheritance.teacher,
            settings=settings.model_copy(update=changes),
            train=PackedImages.of(school.search_images),
            validation=PackedImages.of(
                # a run-off is scored on all of them
                school.validation if settings.runoff > 1 else school.search_validation
            ),
            logits=None if logits is None else logits.cpu().numpy(),
            classes=data.classes,
            mean=data.mean,
            std=data.std,
            limits=workshop.limits,
            measured=workshop.measured,
            threads=torch.get_num_threads(),
        )

    @staticmethod
    def to_measure(workshop: Workshop) -> Kit:
        """What measures as the driver's workshop would: a board gets no images to train on."""
        school = workshop.school
        data = school.data
        shown = PackedImages.of(
            ImageSet(
                data.validation.images[:MEASURED_IMAGES],
                data.validation.labels[:MEASURED_IMAGES],
                data.validation.num_classes,
            )
        )
        return Kit(
            teacher=on_cpu(school.teacher),
            captured=school.inheritance.teacher,
            settings=school.settings.model_copy(update={"device": "cpu"}),
            train=shown,
            validation=shown,
            logits=None,
            classes=data.classes,
            mean=data.mean,
            std=data.std,
            limits=workshop.limits,
            measured=workshop.measured,
            threads=torch.get_num_threads(),
        )

    def school(self) -> School:
        """The school of a worker."""
        torch.set_num_threads(self.threads)
        return School(
            teacher=self.teacher,
            inheritance=Inheritance(self.captured, Planner(self.captured.architecture)),
            data=Data(
                name="search",
                train=self.train.unpacked(),
                validation=self.validation.unpacked(),
                classes=self.classes,
                mean=self.mean,
                std=self.std,
                load_test=_no_test,
            ),
            settings=self.settings,
            search_logits=None if self.logits is None else _tensor(self.logits),
        )

    def workshop(self, target: Target) -> Workshop:
        """The workshop of a worker that measures on `target`."""
        return Workshop(
            school=self.school(), target=target, limits=self.limits, measured=self.measured
        )


def _no_test() -> ImageSet:
    raise InputError("a worker has no test images")


@dataclass(frozen=True)
class PackedTarget:
    """A target on its way to the node that it is measured on.

    This machine's sensors and clocks are of no use there, so of a `LocalTarget` only the settings
    travel; another target must be an object that can be pickled.
    """

    target: Target | None
    settings: dict[str, Any] | None
    durations: Any = None

    @staticmethod
    def of(target: Target) -> PackedTarget:
        """Packed."""
        if type(target) is LocalTarget:
            return PackedTarget(None, target.to_json(), target.durations)
        return PackedTarget(target, None)

    def unpacked(self) -> Target:
        """The target, on the machine that this process is on."""
        if self.target is not None:
            return self.target
        settings = dict(self.settings or {})
        name = settings.pop("name", None)
        return LocalTarget(
            TargetModel.model_validate(settings), name=name, durations=self.durations
        )


def on_cpu(model: nn.Module) -> nn.Module:
    """The model where every node can read it: itself, or a copy of one that lies on a GPU."""
    if all(tensor.device.type == "cpu" for tensor in model.state_dict().values()):
        return model
    return copy.deepcopy(model).cpu()


def check_versions(driver: dict[str, str], packages: Sequence[str], where: str) -> None:
    """Raise `InputError` unless this process, on the machine `where`, has what the driver has."""
    found = versions()
    for name in packages:
        if found[name] != driver[name]:
            raise InputError(
                f"each node of the Ray cluster must have {name} {driver[name]}, as the driver has, "
                f"but {where} has {found[name]}"
            )
