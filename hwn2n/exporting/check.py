"""Does a file compute what the student computes? On random images and on real ones."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hwn2n.errors import Hwn2nError, InputError, one_line
from hwn2n.exporting.formats import Run
from hwn2n.exporting.student import Student

RANDOM_BATCHES = (1, 2, 5)
"""A batch of one is what exporters like to make a constant."""

TOLERANCES = {"fp32": 1e-4, "fp16": 2e-2}
"""Allowed difference of logits from the float32 network, as a share of the largest logit.

Ten bits of mantissa round by 5e-4, in each of some fifty layers."""

_FLOORS = {"fp32": 1e-6, "fp16": 1e-3}
"""Allowed whatever the logits: below it, float16 has few digits left or none."""


@dataclass(frozen=True, kw_only=True)
class Difference:
    """How far a file's logits are from those of the float32 student, at most.

    `scale` is the largest logit of the student, `agreement` the share of images for which both
    name the same class.
    """

    images: int
    largest: float
    scale: float
    agreement: float


def random_images(student: Student) -> list[Tensor]:
    """Batches of normally distributed float32 images, the same ones each time."""
    generator = torch.Generator().manual_seed(0)
    shape = student.architecture.input_shape
    return [torch.randn((n, *shape), generator=generator) for n in RANDOM_BATCHES]


def compare(student: Student, run: Run, batches: list[Tensor], what: str) -> Difference:
    """Compare on float32 batches (N, C, H, W).

    Raises `InputError` where the student itself gives no finite logits in its precision, and
    `Hwn2nError` where the file computes something else; `what` names the images.
    """
    largest = scale = 0.0
    images = agreed = 0
    for batch in batches:
        given = batch.to(student.dtype)
        with torch.no_grad():
            wanted = student.reference(batch)
            own = student.network(given)
            if not bool(torch.isfinite(own).all()):
                raise InputError(
                    f"{student.stored.source}: the network must give finite logits in "
                    f"{student.precision}, but does not on {what}"
                    + ("; export it with precision fp32" if student.precision == "fp16" else "")
                )
            try:
                found = run(given).float()
            except Exception as error:  # whatever the runtime raises
                raise Hwn2nError(
                    f"the written file must run on {what} in a batch of {len(batch)}, but: "
                    f"{one_line(error)}"
                ) from error
        if found.shape != wanted.shape:
            raise Hwn2nError(
                f"the written file must give logits of shape {tuple(wanted.shape)}, but gives "
                f"{tuple(found.shape)}"
            )
        largest = max(largest, _distance(found, wanted))
        scale = max(scale, float(wanted.abs().max()))
        images += len(batch)
        agreed += int((found.argmax(1) == wanted.argmax(1)).sum())
    allowed = TOLERANCES[student.precision] * scale + _FLOORS[student.precision]
    if not largest <= allowed:
        raise Hwn2nError(
            f"the written file must compute what the student does, to {allowed:.3g}, but its "
            f"logits differ by {largest:.3g} on {what}"
        )
    return Difference(images=images, largest=largest, scale=scale, agreement=agreed / images)


def _distance(found: Tensor, wanted: Tensor) -> float:
    """The largest difference; infinite where something is not finite."""
    difference = (found - wanted).abs()
    return float(difference.max()) if bool(torch.isfinite(difference).all()) else float("inf")
