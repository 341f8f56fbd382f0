"""The student of a run as files: an exported program, plain weights, the architecture as data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from hwn2n.atomic import write_atomic
from hwn2n.errors import InputError
from hwn2n.exporting.check import compare, random_images
from hwn2n.exporting.formats import TorchExport
from hwn2n.exporting.student import in_precision
from hwn2n.network.architecture import Architecture
from hwn2n.network.files import load_teacher
from hwn2n.network.files.stored import Stored, read_stored, write_stored
from hwn2n.run.folder import RunFolder, write_json


def export_student(
    folder: RunFolder, architecture: Architecture, student: nn.Module, description: dict[str, Any]
) -> float:
    """Write `student.pt2`, `student.safetensors` and `architecture.json`.

    `description`: classes, mean, std, data and metadata, which the files carry along. Returns
    the largest difference between the logits of the student and of the file read back, on random
    images; raises `Hwn2nError` if it is more than rounding.
    """
    student = student.cpu().eval()
    state = student.state_dict()
    write_json(folder.architecture, architecture.to_json())
    write_stored(folder.weights, architecture, state, description)
    stored = Stored(
        architecture=architecture,
        weights=state,
        description=description,
        source=str(folder.student),
    )
    ready = in_precision(stored, "fp32")

    def write(path: Path) -> None:
        TorchExport().write(ready, path)

    write_atomic(folder.student, write)
    again = load_teacher(folder.student).model
    return compare(ready, again, random_images(ready), "random images").largest


def read_student(folder: RunFolder) -> Stored:
    """The student of a complete run. Raises `InputError` if the run has none yet."""
    if not (folder.result.is_file() and folder.weights.is_file()):
        raise InputError(
            f"{folder.path}: the run must have a student, but it has none yet; go on with: "
            f"{folder.resume_command}"
        )
    return read_stored(folder.weights)
