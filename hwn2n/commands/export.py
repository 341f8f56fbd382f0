"""`hwn2n export`: a network in a format that needs neither hwn2n nor its own code, checked."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hwn2n.commands.request import read_request
from hwn2n.commands.run_or_model import run_of
from hwn2n.commands.subject import load_subject, shape_of
from hwn2n.distil.augment import normalise
from hwn2n.distil.datasets import Data, load_data
from hwn2n.errors import InputError
from hwn2n.exporting.check import Difference, compare, random_images
from hwn2n.exporting.formats import FORMATS, Run
from hwn2n.exporting.staging import write_together
from hwn2n.exporting.student import in_precision
from hwn2n.network.capture import capture
from hwn2n.network.files import Teacher
from hwn2n.network.files.stored import Stored
from hwn2n.run.export import read_student
from hwn2n.run.folder import RunFolder

FORMAT_VERSION = 1
REAL_IMAGES = 32
"""Of the validation split, evenly spaced."""

NO_DATA = "none"


@dataclass(frozen=True, kw_only=True)
class Exported:
    """What was written, and how far it is from the float32 student.

    `random` compares on random images, `real` on validation images of the data set `data`; both
    are None where there were no such images, and `note` says why.
    """

    model: str
    format: str
    precision: str
    files: tuple[str, ...]
    random: Difference
    real: Difference | None
    data: str | None
    note: str | None

    def to_json(self) -> dict[str, Any]:
        """JSON-able form."""
        return {
            "format": "hwn2n-export",
            "version": FORMAT_VERSION,
            "model": self.model,
            "to": self.format,
            "precision": self.precision,
            "files": list(self.files),
            "random": vars(self.random),
            "real": None if self.real is None else {**vars(self.real), "data": self.data},
            "note": self.note,
        }


def export(
    model: str | os.PathLike[str] | nn.Module | Teacher,
    *,
    to: str,
    out: str | os.PathLike[str],
    precision: str = "fp32",
    data: str | Data | None = None,
    data_root: str | os.PathLike[str] | None = None,
    image_size: int | None = None,
    arch: str | None = None,
    input_shape: tuple[int, int, int] | None = None,
    unsafe_pickle: bool = False,
) -> Exported:
    """Write `model` to the file `out` in the format `to`, a name in `FORMATS`, and check it.

    `model`: the folder of a complete run, whose student it is; a file as
    `network.files.load_teacher` reads it; or a module. `precision` (fp32 or fp16) is that of
    weights, images and logits; the batch can be of any size. The written file is read back and
    compared with the float32 network on random images, and on those of `data` (`load_data`) where
    that is given; for a run, by default on its own data. "none" leaves the real images out.

    Raises InputError for what cannot be used, written or, in this precision, computed; Hwn2nError
    where the file computes something else. Nothing is left behind then.
    """
    if to not in FORMATS:
        raise InputError(f"the format must be one of {', '.join(FORMATS)}, but got {to!r}")
    form, path = FORMATS[to], Path(out)
    if path.suffix != form.suffix:
        raise InputError(f"{path}: a file of format {to} must end in {form.suffix}, but does not")
    form.check_installed()
    folder = run_of(model)
    if data is None and not (data_root is None and image_size is None):
        raise InputError("--data-root and --image-size are for --data, which is missing")
    if folder is not None:
        if arch is not None or input_shape is not None or unsafe_pickle:
            raise InputError(
                f"{folder.path}: a run knows its student; leave --arch, --input-shape and "
                "--unsafe-pickle out"
            )
        stored = read_student(folder)
    else:
        subject = load_subject(
            model, arch=arch, input_shape=input_shape, unsafe_pickle=unsafe_pickle
        )
        stored = _captured(subject, input_shape)
    student = in_precision(stored, precision)
    images, name, note = _real_images(stored, folder, data, data_root, image_size)
    found: dict[str, Difference] = {}

    def write(staged: Path) -> None:
        form.write(student, staged)
        run: Run = form.run(staged)
        found["random"] = compare(student, run, random_images(student), "random images")
        if images is not None:
            found["real"] = compare(student, run, [images], f"images of {name}")

    beside = form.beside(path)
    write_together(path, beside, write)
    return Exported(
        model=stored.source,
        format=to,
        precision=precision,
        files=tuple(str(file) for file in (path, *beside)),
        random=found["random"],
        real=found.get("real"),
        data=name,
        note=note,
    )


def _captured(subject: Teacher, input_shape: tuple[int, int, int] | None) -> Stored:
    found = capture(subject.model, shape_of(subject, input_shape), subject.program)
    said = {name: getattr(subject, name) for name in ("classes", "mean", "std", "data")}
    return Stored(
        architecture=found.architecture,
        weights=found.weights,
        description={name: value for name, value in said.items() if value is not None},
        source=subject.source,
    )


def _real_images(
    stored: Stored,
    folder: RunFolder | None,
    data: str | Data | None,
    data_root: str | os.PathLike[str] | None,
    image_size: int | None,
) -> tuple[Tensor | None, str | None, str | None]:
    """Normalised float32 images (N, C, H, W) with the name of their data set, or why there are
    none. Data that was asked for must be there; a run's own may be gone by now.
    """
    if data == NO_DATA:
        return None, None, "not compared on real images, as asked"
    if data is None and folder is None:
        return None, None, "not compared on real images: no data was named"
    try:
        if isinstance(data, Data):
            loaded = data
        elif data is not None:
            loaded = load_data(
                data,
                root=None if data_root is None else os.fspath(data_root),
                image_size=image_size or _square(stored),
            )
        else:
            assert folder is not None
            loaded = read_request(folder)[0].load_data()
        return _normalised(stored, loaded), loaded.name, None
    except InputError as error:
        if data is not None:
            raise
        return None, None, f"not compared on real images: {error}"


def _square(stored: Stored) -> int | None:
    """Height and width of the network's images, where they are the same."""
    _, height, width = stored.architecture.input_shape
    return height if height == width else None


def _normalised(stored: Stored, data: Data) -> Tensor:
    if data.image_shape != stored.architecture.input_shape:
        raise InputError(
            f"{stored.source}: the network takes images of shape "
            f"{stored.architecture.input_shape} (channels, height, width), but those of "
            f"{data.name} are {data.image_shape}"
        )
    said = stored.description
    mean, std = (said.get("mean") or data.mean), (said.get("std") or data.std)
    chosen = torch.linspace(0, len(data.validation) - 1, min(REAL_IMAGES, len(data.validation)))
    return normalise(data.validation.subset(chosen.long()).images, mean, std)
