"""torch.compile: one fused program for each network.

Every student of a search is another program, and torch keeps what it compiled for a class of
modules: after `recompile_limit` (8) students of one class it would stop compiling, and run the
rest eagerly without a word. So the network must become one whole graph (which makes reaching the
limit an error and not a fall-back), and torch's caches in memory are emptied before each one.
They are not emptied while another compiled network is in use, as when two are compared: it would
be compiled anew in the middle of its samples.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from hwn2n.hardware.runtimes.base import Executable
from hwn2n.hardware.runtimes.eager import TorchExecutable, TorchRuntime, torch_missing

_in_use: weakref.WeakSet[TorchExecutable] = weakref.WeakSet()


class CompiledExecutable(TorchExecutable):
    """A compiled network, which counts as in use until it is closed."""

    def close(self) -> None:
        """Let go of the network, so that the next one may empty torch's caches."""
        super().close()
        _in_use.discard(self)


class Compiled(TorchRuntime):
    """torch.compile with its usual backend, inductor.

    `mode` is that of torch.compile; "default" is what people get. `backend`, a name or a function,
    is for tests, which would wait for a C++ compiler otherwise. The shapes are constants: nothing
    else is run.
    """

    name = "compile"

    def __init__(
        self, *, mode: str = "default", backend: str | Callable[..., Any] = "inductor"
    ) -> None:
        self.mode = mode
        self.backend = backend

    def missing(self, device: torch.device, dtype: torch.dtype = torch.float32) -> str | None:
        """Inductor needs a C++ compiler for a CPU, and triton for a GPU."""
        if reason := torch_missing(device):
            return reason
        if self.backend != "inductor":
            return None
        if device.type == "cuda" and importlib.util.find_spec("triton") is None:
            return "torch.compile needs the package triton on a GPU, and it is not installed"
        compiler = os.environ.get("CXX") or ("clang++" if sys.platform == "darwin" else "g++")
        if device.type == "cpu" and shutil.which(compiler.split()[0]) is None:
            return f"torch.compile needs a C++ compiler on a CPU, and there is no {compiler}"
        return None

    def _prepare(self, model: nn.Module, images: Tensor, device: torch.device) -> Executable:
        if not _in_use:
            torch._dynamo.reset()
        compiled: Callable[[Tensor], Any] = torch.compile(
            model,
            fullgraph=True,
            dynamic=False,
            backend=self.backend,
            mode=self.mode if self.backend == "inductor" else None,
        )
        executable = CompiledExecutable(self.name, compiled, images, device)
        executable.run()  # compiles
        _in_use.add(executable)
        return executable
