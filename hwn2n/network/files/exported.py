"""`.pt2` files of `torch.export.save`, loaded without running anything that is in them.

`torch.export.load` is not safe by itself (see `program`, `expressions`, `operators`, and the
pickles of weights, constants and sample inputs). So the archive is read into memory by Python's
zip reader, each of its members is checked or refused, and a new archive is written from the
checked parts. Only that one reaches `torch.export.load`, in weights-only mode.
"""

from __future__ import annotations

import io
import json
import logging
import re
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.export import ExportedProgram

from hwn2n.errors import InputError, one_line
from hwn2n.network.files.archive import read_members
from hwn2n.network.files.description import read_description
from hwn2n.network.files.guard import load_plain, weights_only
from hwn2n.network.files.interface import read_interface
from hwn2n.network.files.payloads import clean_pickled_tensors, clean_raw_tensors
from hwn2n.network.files.program import clean_program
from hwn2n.network.files.teacher import Teacher, check_classifier, check_weights

EXTRA_FILE = "hwn2n.json"
"""Name under which hwn2n's own `.pt2` files carry classes, mean, std, data and metadata, as
`torch.export.save(..., extra_files={EXTRA_FILE: ...})`."""

_PROGRAM = "models/model.json"
_SAMPLES = "data/sample_inputs/model.pt"
_OLD_PROGRAM = "serialized_exported_program.json"
_OLD_SAMPLES = "serialized_example_inputs.pt"
_OLD_TENSORS = {
    "data/weights/model.pt": "serialized_state_dict.pt",
    "data/constants/model.pt": "serialized_constants.pt",
}
_RAW_TENSORS = {
    "data/weights/model.pt": "data/weights/model_weights_config.json",
    "data/constants/model.pt": "data/constants/model_constants_config.json",
}

_KNOWN = re.compile(
    r"archive_format|archive_version|byteorder|version|\.data/version|\.data/serialization_id"
    r"|\.format_version|\.storage_alignment|models/model\.json|data/sample_inputs/model\.pt"
    r"|data/(weights|constants)/model(_weights_config\.json|_constants_config\.json|\.pt)"
    r"|data/weights/weight_[0-9]+|data/constants/tensor_[0-9]+|extra/.+"
)
_KNOWN_OLD = re.compile(
    r"version|serialized_exported_program\.json|extra_files/.+"
    r"|serialized_(state_dict|constants|example_inputs)\.pt"
)
_COMPILED = re.compile(
    r"(.*/)?data/aotinductor/.*|.*\.(so|dll|dylib|o|a|cubin|fatbin|ptx|hsaco|cpp|cu|c|h|py|pyc)"
)


@dataclass(frozen=True, kw_only=True)
class _Parts:
    """What is kept of a file: the program, and the members of the archive that is loaded."""

    program: dict[str, Any]
    members: dict[str, bytes] = field(default_factory=dict)
    extra: bytes | None = None


def load_exported(path: Path, *, input_shape: tuple[int, int, int] | None = None) -> Teacher:
    """The teacher in the `.pt2` file at `path`, of the present format or of that until torch 2.7.

    `input_shape` (C, H, W) is needed where the program leaves those dimensions dynamic, and must
    agree with it elsewhere. Raises InputError, with the reason, for every file that could run
    code, that is damaged, or that is not an image classifier with a dynamic batch.
    """
    members = read_members(path)
    for name in members:
        if _COMPILED.fullmatch(name):
            raise InputError(
                f"{path}: a teacher must be an exported program, but {name!r} is compiled code,"
                " which hwn2n does not run; save it by torch.export.save"
            )
    old = _OLD_PROGRAM in members
    parts = _old_parts(members, path) if old else _present_parts(members, path)
    interface = read_interface(parts.program, input_shape, str(path))
    program, model = _load(parts, path)
    # torch puts methods there that raise, but the callers of a teacher set the mode of any model.
    del model.train, model.eval
    model.eval()
    check_weights(model, str(path))
    said = _read_extra(parts.extra, path)
    classes = said.pop("classes", None)
    if classes is not None and len(classes) != interface.classes:
        raise InputError(
            f"{path}: the teacher must have one output per class, but it has {interface.classes}"
            f" outputs and the file names {len(classes)} classes"
        )
    check_classifier(model, interface.input_shape, None, str(path))
    return Teacher(
        model=model,
        program=program,
        input_shape=interface.input_shape,
        classes=classes,
        source=str(path),
        **said,
    )


def _present_parts(members: dict[str, bytes], path: Path) -> _Parts:
    """The parts of the format that torch has written since 2.8: all under one folder."""
    roots = {name.partition("/")[0] for name in members}
    if len(roots) != 1:
        raise InputError(
            f"{path}: the members of a .pt2 must lie in one folder, but they lie in {sorted(roots)}"
        )
    inside = {name.partition("/")[2]: data for name, data in members.items()}
    _refuse_unknown(inside, _KNOWN, path)
    if _PROGRAM not in inside:
        raise InputError(f"{path}: a .pt2 must hold a program called 'model', but it has none")
    if inside.get("byteorder", b"little") != b"little":
        raise InputError(f"{path}: the byte order of a .pt2 must be little, but it is not")
    _check_samples(inside.get(_SAMPLES, b""), path)
    kept: dict[str, bytes] = {}
    for pickled, config in _RAW_TENSORS.items():
        if pickled in inside:
            what = f"{path}: {pickled}"
            kept[pickled] = clean_pickled_tensors(inside[pickled], what)
        elif config in inside:
            kept |= clean_raw_tensors(inside, config, str(path))
        else:
            raise InputError(f"{path}: a .pt2 must hold {config}, but it has none")
    program = clean_program(inside[_PROGRAM], f"{path}: {_PROGRAM}")
    return _Parts(program=program, members=kept, extra=inside.get(f"extra/{EXTRA_FILE}"))


def _old_parts(members: dict[str, bytes], path: Path) -> _Parts:
    """The parts of the format until torch 2.7, moved to where the present one has them."""
    _refuse_unknown(members, _KNOWN_OLD, path)
    _check_samples(members.get(_OLD_SAMPLES, b""), path)
    kept = {
        name: clean_pickled_tensors(members.get(old, b""), f"{path}: {old}")
        for name, old in _OLD_TENSORS.items()
    }
    program = clean_program(members[_OLD_PROGRAM], f"{path}: {_OLD_PROGRAM}")
    return _Parts(program=program, members=kept, extra=members.get(f"extra_files/{EXTRA_FILE}"))


def _refuse_unknown(members: dict[str, bytes], known: re.Pattern[str], path: Path) -> None:
    for name in members:
        if name.startswith(("data/constants/custom_obj_", "data/constants/opaque_obj_")):
            raise InputError(
                f"{path}: the constants of a teacher must be tensors, but {name!r} is a pickled"
                " object, and loading it could run any code"
            )
        if name.startswith("models/") and name != _PROGRAM:
            raise InputError(
                f"{path}: a .pt2 must hold one program called 'model', but it also has {name!r}"
            )
        if not known.fullmatch(name):
            raise InputError(
                f"{path}: a .pt2 must hold only what torch.export.save writes, but it also has"
                f" {name!r}"
            )


def _check_samples(data: bytes, path: Path) -> None:
    """Refuse sample inputs that are more than tensors. They are not used, so they are not kept."""
    if data:
        load_plain(data, f"{path}: the sample inputs of a .pt2")


def _load(parts: _Parts, path: Path) -> tuple[ExportedProgram, nn.Module]:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in {
            "archive_format": b"pt2",
            "archive_version": b"0",
            ".data/version": b"6\n",
            "byteorder": b"little",
            _PROGRAM: json.dumps(parts.program).encode(),
            _SAMPLES: b"",
            **parts.members,
        }.items():
            archive.writestr(f"teacher/{name}", data)
    buffer.seek(0)
    with _captured_log() as causes:
        try:
            with weights_only():
                program = torch.export.load(buffer)
            # The guards are code of the file and were left out; read_interface replaces them.
            return program, program.module(check_guards=False)
        except Exception as error:
            cause = one_line(causes[0] if causes else error)
            raise InputError(
                f"{path}: the program must load with torch {torch.__version__}, but: {cause}"
            ) from error


@contextmanager
def _captured_log() -> Iterator[list[BaseException]]:
    """Collect the exceptions that `torch.export.load` logs and then hides behind another one."""
    causes: list[BaseException] = []

    class Collector(logging.Filter):
        def filter(self, record: logging.LogRecord) -> bool:
            if record.exc_info and record.exc_info[1]:
                causes.append(record.exc_info[1])
            return False

    logger, collector = logging.getLogger("torch.export"), Collector()
    logger.addFilter(collector)
    try:
        yield causes
    finally:
        logger.removeFilter(collector)


def _read_extra(data: bytes | None, path: Path) -> dict[str, Any]:
    if data is None:
        return {}
    try:
        said = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"{path}: {EXTRA_FILE} must be JSON, but it is not ({one_line(error)})"
        ) from error
    return read_description(said, f"{path}: {EXTRA_FILE}")
