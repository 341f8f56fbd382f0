"""Runs a generated program as its user would: by its own `load`."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hwn2n.errors import Hwn2nError


def run_python(path: Path) -> Callable[[Tensor], Tensor]:
    """The network of the program at `path`, which hwn2n has written itself, just now."""
    spec = importlib.util.spec_from_file_location("hwn2n_exported_student", path)
    if spec is None or spec.loader is None:
        raise Hwn2nError(f"{path}: cannot be imported")
    module: Any = importlib.util.module_from_spec(spec)
    written, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        spec.loader.exec_module(module)
    finally:
        sys.dont_write_bytecode = written
    # the caller's random numbers must not depend on whether a network was built in between
    with torch.random.fork_rng(devices=[]):
        network = module.load()
    return lambda images: network(images)
