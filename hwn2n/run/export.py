"""The student as files: an exported program, plain weights, and the architecture as data."""

from __future__ import annotations

import json
import warnings
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn
from torch.export import Dim, export, save

from hwn2n.atomic import write_atomic
from hwn2n.errors import Hwn2nError
from hwn2n.hardware.runtimes.pt2 import make_lean
from hwn2n.network.architecture import Architecture
from hwn2n.network.files import load_teacher
from hwn2n.network.files.exported import EXTRA_FILE
from hwn2n.run.folder import RunFolder, write_json

_TOLERANCE = 1e-4


def export_student(
    folder: RunFolder, architecture: Architecture, student: nn.Module, description: dict[str, Any]
) -> float:
    """Write `student.pt2`, `student.safetensors` and `architecture.json`.

    `description`: classes, mean, std, data and metadata, which the `.pt2` carries along. Returns
    the largest difference between the logits of the student and of the file read back, on random
    images; raises `Hwn2nError` if it is more than rounding.
    """
    student = student.cpu().eval()
    state = {key: value.contiguous() for key, value in student.state_dict().items()}
    metadata = {"architecture": json.dumps(architecture.to_json())}
    write_json(folder.architecture, architecture.to_json())
    write_atomic(folder.weights, lambda path: save_file(state, path, metadata=metadata))
    generator = torch.Generator().manual_seed(0)
    images = torch.randn((4, *architecture.input_shape), generator=generator)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        program = export(student, (images,), dynamic_shapes=({0: Dim("batch")},), strict=False)
        make_lean(program)  # else it is larger than the file_bytes that it was budgeted by
        extra = {EXTRA_FILE: json.dumps(description)}

        def write(path: Any) -> None:
            with path.open("wb") as file:
                save(program, file, extra_files=extra)

        write_atomic(folder.student, write)
        again = load_teacher(folder.student).model
        difference = (again(images) - student(images)).abs().max().item()
    if not difference <= _TOLERANCE:
        raise Hwn2nError(
            f"{folder.student}: must compute what the student does, but differs by {difference:.3g}"
        )
    return difference
