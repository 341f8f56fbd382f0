"""Labelled images for a check: what accuracies are of, and real inputs for what is measured."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hwn2n.budget.cost import Reading
from hwn2n.distil.accuracy import accuracy
from hwn2n.distil.augment import normalise
from hwn2n.distil.data_options import is_same_data
from hwn2n.distil.datasets import Data, load_data
from hwn2n.distil.feed import DivergedError
from hwn2n.errors import InputError, MeasurementError
from hwn2n.network.files import Teacher

INPUTS = 256
"""At most so many validation images are what measured networks run on."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Labelled:
    """The validation images of a data set, which accuracies are defined on."""

    data: Data

    def inputs(self, subject: Teacher) -> Tensor:
        """Some of the images as `subject` wants them, float32 (n, C, H, W)."""
        images = self.data.validation.images[:INPUTS]
        return normalise(images, subject.mean or self.data.mean, subject.std or self.data.std)

    def accuracies(self, subject: Teacher) -> dict[str, Reading]:
        """Both accuracies of `subject`, which stays where it is.

        They are those of these images, and so without an interval. Raises InputError where it has
        another number of outputs than the data has classes, MeasurementError where its logits are
        not finite.
        """
        device = next(subject.model.parameters(), torch.empty(0)).device
        mean, std = subject.mean or self.data.mean, subject.std or self.data.std
        try:
            found = accuracy(subject.model, self.data.validation, mean, std, device, 250)
        except DivergedError as error:
            raise MeasurementError(f"{subject.source}: {error}") from error
        return {
            "accuracy": Reading(found.top1, "measured"),
            "worst_class_accuracy": Reading(found.worst_class, "measured"),
        }


def load_labelled(
    data: str | Data,
    root: str | os.PathLike[str] | None,
    shape: tuple[int, int, int],
    subjects: Sequence[Teacher],
) -> Labelled:
    """The validation images of `data` (see `distil.datasets.load_data`), of `shape` (C, H, W).

    They are split off as the file of one of `subjects` says that it was taught, the first that
    says so: with another split, some of them could be images that it learned from.
    """
    if isinstance(data, str):
        taught = [s for s in subjects if is_same_data(s.data, data) and "split_seed" in s.metadata]
        split = {"seed": 0, "validation": None}
        if taught:
            said = taught[0].metadata
            split = {"seed": said["split_seed"], "validation": said.get("validation")}
            for name, value in split.items():
                if isinstance(value, bool) or not isinstance(value, int | float | None):
                    raise InputError(
                        f"{taught[0].source}: its {name} must be a number, but is {value!r:.40}"
                    )
        data = load_data(
            data,
            root=None if root is None else os.fspath(root),
            image_size=shape[1] if shape[1] == shape[2] else None,
            **split,  # type: ignore[arg-type]
        )
    if data.image_shape != shape:
        raise InputError(
            f"images of {data.name} must have the shape {shape} (C, H, W), but have "
            f"{data.image_shape}"
        )
    return Labelled(data=data)
