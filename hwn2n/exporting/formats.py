"""The formats: what each writes, and how a program that has never heard of hwn2n runs it."""

from __future__ import annotations

import json
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import save as tensors_as_bytes
from torch import Tensor
from torch.export import Dim, ExportedProgram, export, save

from hwn2n.exporting.code.source import student_source
from hwn2n.exporting.onnx_file import check_installed, run_onnx, write_onnx
from hwn2n.exporting.python_file import run_python
from hwn2n.exporting.student import Student
from hwn2n.hardware.runtimes.pt2 import make_lean
from hwn2n.network.files.exported import EXTRA_FILE
from hwn2n.network.files.stored import read_stored, write_stored

Run = Callable[[Tensor], Tensor]
"""From images (N, C, H, W) to logits (N, classes), both in the student's precision."""


class Format(ABC):
    """One way to write a student: `out` with this suffix, and files of the same stem beside it."""

    suffix: str

    def check_installed(self) -> None:  # noqa: B027  most formats need nothing more
        """Raise InputError where a package is missing."""

    def beside(self, out: Path) -> tuple[Path, ...]:
        """The further files that are written with `out`."""
        return ()

    @abstractmethod
    def write(self, student: Student, out: Path) -> None:
        """Write `out` and those beside it."""

    @abstractmethod
    def run(self, out: Path) -> Run:
        """The network read back from the files, without what wrote them."""


class TorchExport(Format):
    """A `.pt2` of `torch.export.save`, for torch and for what compiles it ahead of time."""

    suffix = ".pt2"

    def write(self, student: Student, out: Path) -> None:
        extra = {EXTRA_FILE: json.dumps(dict(student.description))}
        exported = program(student)
        make_lean(exported)  # as file_bytes has it, to which only the description comes
        with out.open("wb") as file:
            save(exported, file, extra_files=extra)

    def run(self, out: Path) -> Run:
        module = torch.export.load(out).module()
        return lambda images: module(images)


class Onnx(Format):
    """A `.onnx` of opset 18, for ONNX Runtime, TensorRT and others."""

    suffix = ".onnx"

    def check_installed(self) -> None:
        check_installed()

    def write(self, student: Student, out: Path) -> None:
        write_onnx(program(student), student.example(), student.description, out)

    def run(self, out: Path) -> Run:
        return run_onnx(out)


class Safetensors(Format):
    """Weights that anybody reads, with the architecture, from which hwn2n rebuilds the network."""

    suffix = ".safetensors"

    def beside(self, out: Path) -> tuple[Path, ...]:
        return (out.with_suffix(".architecture.json"),)

    def write(self, student: Student, out: Path) -> None:
        write_stored(out, student.architecture, student.network.state_dict(), student.description)
        text = json.dumps(student.architecture.to_json(), indent=2) + "\n"
        self.beside(out)[0].write_text(text, encoding="utf-8")

    def run(self, out: Path) -> Run:
        stored = read_stored(out)
        dtype = next((t.dtype for t in stored.weights.values() if t.is_floating_point()), None)
        module = stored.module(dtype or torch.float32)
        return lambda images: module(images)


class Python(Format):
    """A `.py` with a plain torch.nn.Module, and its weights."""

    suffix = ".py"

    def beside(self, out: Path) -> tuple[Path, ...]:
        # not the name of a run's own weights: those have the names of the teacher's modules
        return (out.with_name(f"{out.stem}_weights.safetensors"),)

    def write(self, student: Student, out: Path) -> None:
        state = student.network.state_dict()
        (weights,) = self.beside(out)
        source = student_source(
            student.architecture,
            list(state),
            weights_file=weights.name,
            description=student.description,
            half=student.dtype is torch.float16,
        )
        texts = {name: json.dumps(value) for name, value in student.description.items()}
        renamed = {source.keys[key]: value.contiguous() for key, value in state.items()}
        weights.write_bytes(tensors_as_bytes(renamed, metadata=texts))
        out.write_text(source.text, encoding="utf-8")

    def run(self, out: Path) -> Run:
        return run_python(out)


FORMATS: dict[str, Format] = {
    "torch-export": TorchExport(),
    "onnx": Onnx(),
    "safetensors": Safetensors(),
    "python": Python(),
}


def program(student: Student) -> ExportedProgram:
    """The student as exported by torch, with a batch of any size."""
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        return export(
            student.network,
            (student.example(),),
            dynamic_shapes=({0: Dim("batch")},),
            strict=False,
        )
