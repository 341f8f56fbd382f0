"""ONNX Runtime: the network as an ONNX file, on its CPU or CUDA provider.

ONNX Runtime goes on with its CPU provider where the one that was asked for cannot be loaded, or
knows an operator not, and says so in a log only. Here that is an error.

The CUDA provider has been checked against the documentation, not yet run on a GPU.
"""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hwn2n.errors import MeasurementError
from hwn2n.hardware.runtimes.base import Executable, Runtime
from hwn2n.hardware.runtimes.eager import torch_missing
from hwn2n.hardware.runtimes.in_process import InProcess
from hwn2n.hardware.runtimes.onnx_file import (
    onnx_bytes,
    onnx_file_bytes,
    onnx_missing,
)
from hwn2n.network.onnx_model import INPUT, OUTPUT

_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
_NUMPY: dict[torch.dtype, type[np.generic]] = {
    torch.float32: np.float32,
    torch.float16: np.float16,
}
_ERRORS_ONLY = 3


class OnnxExecutable(InProcess):
    """A session whose input and output lie where torch put them: nothing is copied to run it."""

    def __init__(self, name: str, content: bytes, images: Tensor, device: torch.device) -> None:
        # its own stream, because the provider takes torch's usual one (0) for "none given"
        stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        super().__init__(name, images, device, stream)
        onnxruntime = importlib.import_module("onnxruntime")
        self._session: Any = _session(onnxruntime, content, device, stream)
        self._options = onnxruntime.RunOptions()
        # the clocks synchronise, and the end of the work on the device is an event of theirs
        self._options.add_run_config_entry("disable_synchronize_execution_providers", "1")
        shape = self._session.get_outputs()[0].shape
        self._logits = torch.empty(shape, dtype=images.dtype, device=device)
        self._binding: Any = self._session.io_binding()
        for bind, label, tensor in (
            (self._binding.bind_input, INPUT, self.images),
            (self._binding.bind_output, OUTPUT, self._logits),
        ):
            bind(
                label,
                device.type,
                device.index or 0,
                _NUMPY[images.dtype],
                tuple(tensor.shape),
                tensor.data_ptr(),
            )

    def _compute(self) -> None:
        self._session.run_with_iobinding(self._binding, self._options)

    def _output(self) -> Tensor:
        return self._logits.to("cpu", copy=True)

    def close(self) -> None:
        """Free the session, its threads and its memory."""
        self._session = self._binding = None


class OnnxRuntime(Runtime):
    """ONNX Runtime with as many threads as torch has, in order, all its optimisations on."""

    name = "onnxruntime"

    def missing(self, device: torch.device, dtype: torch.dtype = torch.float32) -> str | None:
        """It needs its package for the device, the exporter's packages, and fp32 or fp16."""
        if importlib.util.find_spec("onnxruntime") is None:
            return "the package onnxruntime is not installed"
        if reason := torch_missing(device) or self.file_missing(device, dtype):
            return reason
        onnxruntime = importlib.import_module("onnxruntime")
        provider, known = _PROVIDERS[device.type], onnxruntime.get_available_providers()
        if provider not in known:
            return (
                f"the installed onnxruntime has no {provider}, only {', '.join(known)}; "
                "for a GPU install onnxruntime-gpu"
            )
        return None

    def file_missing(self, device: torch.device, dtype: torch.dtype = torch.float32) -> str | None:
        """The file needs the exporter's packages, and a precision that ONNX convolutions have."""
        if dtype not in _NUMPY:
            shown = str(dtype).removeprefix("torch.")
            return f"its convolutions take float32 and float16, and the precision is {shown}"
        return onnx_missing()

    def _prepare(self, model: nn.Module, images: Tensor, device: torch.device) -> Executable:
        return OnnxExecutable(self.name, onnx_bytes(model, images), images, device)

    def _file_bytes(self, model: nn.Module, images: Tensor, device: torch.device) -> int:
        return onnx_file_bytes(model, images)


def _session(
    onnxruntime: Any, content: bytes, device: torch.device, stream: torch.cuda.Stream | None
) -> Any:
    """A session of the file on the device's provider, which runs all of it."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = _ERRORS_ONLY
    provider, settings = _PROVIDERS[device.type], {}
    if stream is not None:
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
        settings = {
            "device_id": str(device.index or 0),
            "user_compute_stream": str(stream.cuda_stream),
        }
    session = onnxruntime.InferenceSession(
        content, options, providers=[(provider, settings)], enable_fallback=0
    )
    used = session.get_providers()
    if not used or used[0] != provider:
        raise MeasurementError(
            f"onnxruntime must run the network by its {provider}, but took "
            f"{', '.join(used) or 'none'}; are its libraries (CUDA, cuDNN) there?"
        )
    return session
