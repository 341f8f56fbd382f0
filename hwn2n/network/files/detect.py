"""Which format a teacher file has, from its content and never from its suffix."""

from __future__ import annotations

import enum
from pathlib import Path

from hwn2n.errors import InputError
from hwn2n.network.files.archive import member_names

# A safetensors file begins with its header's length, 8 bytes, little-endian, and then comes the
# header, a JSON object.
_ZIP = b"PK"
_PICKLE = b"\x80"  # the PROTO opcode, with which every pickle of protocol 2 and later begins


class FileFormat(enum.Enum):
    """The formats that a file can be told to have."""

    CHECKPOINT = "torch.save"
    """Written by `torch.save`: hwn2n's own file, a state dict, or a whole pickled module."""
    EXPORTED = "torch.export.save"
    TORCHSCRIPT = "TorchScript"
    SAFETENSORS = "safetensors"


def detect_format(path: Path) -> FileFormat:
    """The format of the file at `path`.

    Raises InputError where there is no file, it is empty or damaged, or the format is none of
    those that hwn2n reads.
    """
    head = _head(path)
    looks_safe = len(head) > 8 and head[8:9] == b"{"
    # before the others, for one length in 32 begins as a pickle does
    if looks_safe and int.from_bytes(head[:8], "little") <= path.stat().st_size - 8:
        return FileFormat.SAFETENSORS
    if head.startswith(_ZIP):
        return _zip_format(member_names(path))
    if head.startswith(_PICKLE):
        return FileFormat.CHECKPOINT
    if looks_safe:  # and cut off: who reads it says so
        return FileFormat.SAFETENSORS
    raise InputError(
        f"{path}: a teacher file must be written by hwn2n teach, torch.save, safetensors or"
        f" torch.export.save, but this one begins with {head[:8]!r}"
    )


def _head(path: Path) -> bytes:
    if not path.exists():
        raise InputError(f"{path}: the file of the network must exist, but there is nothing there")
    if not path.is_file():
        student = path / "student.pt2"
        known = f"the folder of a run, whose student is {student}" if student.exists() else None
        raise InputError(
            f"{path}: the network must be a file, but this is {known or 'a directory or device'}"
        )
    try:
        with path.open("rb") as file:
            head = file.read(16)
    except OSError as error:
        reason = error.strerror
        raise InputError(
            f"{path}: the file of the network must be readable, but: {reason}"
        ) from error
    if not head:
        raise InputError(f"{path}: the file of the network must not be empty, but it has 0 bytes")
    return head


def _zip_format(names: tuple[str, ...]) -> FileFormat:
    # torch.save and torch.export.save put all records under one folder, whatever its name.
    inside = {name.partition("/")[2] for name in names}
    if "serialized_exported_program.json" in names:  # torch.export.save until torch 2.7
        return FileFormat.EXPORTED
    if "archive_format" in inside or any(name.startswith("models/") for name in inside):
        return FileFormat.EXPORTED
    if "constants.pkl" in inside or any(name.startswith("code/") for name in inside):
        return FileFormat.TORCHSCRIPT
    return FileFormat.CHECKPOINT
