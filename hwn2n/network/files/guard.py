"""`torch.load` that never builds anything but tensors and plain containers."""

from __future__ import annotations

import io
import os
import re
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch

from hwn2n.errors import InputError, one_line

_FORCE_SAFE = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
_FORCE_UNSAFE = "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"

# The environment belongs to the process: one thread at a time may change it.
_environment_lock = threading.RLock()


@contextmanager
def weights_only() -> Iterator[None]:
    """Within, every `torch.load` of this process refuses code, whatever arguments it is given.

    `torch.export.load` calls `torch.load(..., weights_only=False)` itself; and an environment
    with TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD=1 would overrule even `weights_only=True`.
    """
    with _environment_lock:
        before = {name: os.environ.pop(name, None) for name in (_FORCE_SAFE, _FORCE_UNSAFE)}
        os.environ[_FORCE_SAFE] = "1"
        try:
            yield
        finally:
            os.environ.pop(_FORCE_SAFE, None)
            os.environ.update({name: value for name, value in before.items() if value is not None})


class UnsafePickleError(InputError):
    """The pickle asks for more than tensors, so loading it could run code."""


def load_plain(source: Path | bytes, what: str) -> Any:
    """The content of a `torch.save` file, on the CPU; `what` names it in errors.

    Raises UnsafePickleError where it holds anything but tensors and plain containers, InputError
    where it cannot be read.
    """
    try:
        with weights_only(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pickle protocols, of no use to a user
            return torch.load(_file(source), map_location="cpu", weights_only=True)
    except Exception as error:
        # A pickle that weights_only refuses and a damaged one both raise UnpicklingError.
        if names := unsafe_names(source) or _refused_by(error):
            listed = ", ".join(sorted(names)[:3])
            raise UnsafePickleError(
                f"{what} must hold only tensors and plain containers, but it is a pickle that"
                f" calls {listed}, and loading it could run any code"
            ) from error
        raise InputError(
            f"{what} must be a whole torch.save file of tensors, but it is damaged or of another"
            f" kind ({_cause(error)})"
        ) from error


def unsafe_names(source: Path | bytes) -> list[str]:
    """Functions and classes the pickle would import, beyond those of tensors; nothing is run."""
    with suppress(Exception):  # not a zip, or damaged: then there is nothing to list
        return torch.serialization.get_unsafe_globals_in_checkpoint(_file(source))
    return []


def _refused_by(error: BaseException) -> list[str]:
    return re.findall(r"GLOBAL (\S+) was not an allowed global", str(error)) or re.findall(
        r"whose module (\S+) is blocked", str(error)
    )


def _cause(error: BaseException) -> str:
    """What torch found, without its advice, which includes to load unsafely."""
    found = re.search(r"WeightsUnpickler error:\s*(.+)", str(error))
    return one_line(found[1] if found else error, 160)


def _file(source: Path | bytes) -> Any:
    return io.BytesIO(source) if isinstance(source, bytes) else str(source)
