"""safetensors files: tensors by name behind a JSON header, no code by design."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor

from hwn2n.errors import InputError, one_line


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors of a safetensors file, on the CPU, and the texts of its `__metadata__`."""
    try:
        with safe_open(str(path), framework="pt", device="cpu") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return tensors, dict(file.metadata() or {})
    except (SafetensorError, OSError, ValueError, RuntimeError, MemoryError) as error:
        raise InputError(
            f"{path}: a safetensors file must be whole, but this one is truncated or damaged"
            f" ({one_line(error)})"
        ) from error
