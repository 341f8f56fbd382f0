"""TensorRT: an engine built from the network's ONNX file for this GPU and this batch.

By the Python package `tensorrt` where it is installed, else by the program `trtexec` (trtexec.py),
as on a Jetson whose bindings are for another Python.

Networks are strongly typed: an engine computes in the types of the ONNX file, which are those of
the target's precision. That is the one way that TensorRT 10 and 11 share: 11 has no flag for half
precision any more. float32 convolutions may use TF32, as TensorRT's default is, and torch's.

Checked against the documentation of TensorRT 10 and 11 and with a stand-in for the package; not
yet run on a GPU.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from hwn2n.errors import MeasurementError, one_line
from hwn2n.hardware.runtimes.base import Executable, Runtime, device_of
from hwn2n.hardware.runtimes.eager import torch_missing
from hwn2n.hardware.runtimes.in_process import InProcess
from hwn2n.hardware.runtimes.onnx_file import onnx_bytes, onnx_missing
from hwn2n.hardware.runtimes.trtexec import TrtexecExecutable
from hwn2n.hardware.runtimes.trtexec_program import Engine, trtexec_missing
from hwn2n.network.onnx_model import INPUT, OUTPUT


class TensorRt(Runtime):
    """TensorRT by its Python package or by trtexec, whichever there is."""

    name = "tensorrt"

    def missing(self, device: torch.device, dtype: torch.dtype = torch.float32) -> str | None:
        """It needs a CUDA device, the exporter's packages, and `tensorrt` or trtexec.

        trtexec finds the device itself, so torch may be one without CUDA.
        """
        if device.type != "cuda":
            return f"TensorRT needs a CUDA device, and the target's is {device}"
        if reason := onnx_missing():
            return reason
        package, program = package_missing(device), trtexec_missing()
        if package is None or program is None:
            return None
        return f"{package}, and {program}"

    def _runs_on(self, model: nn.Module) -> torch.device:
        device = device_of(model)
        if device.type == "cpu" and not torch.cuda.is_available() and trtexec_missing() is None:
            return torch.device("cuda", 0)
        return device

    def _prepare(self, model: nn.Module, images: Tensor, device: torch.device) -> Executable:
        content = onnx_bytes(model, images)
        if package_missing(device) is not None:
            return TrtexecExecutable(self.name, content, images, device)
        trt = importlib.import_module("tensorrt")
        with on(device):
            return EngineExecutable(self.name, trt, build_plan(trt, content), images, device)

    def _file_bytes(self, model: nn.Module, images: Tensor, device: torch.device) -> int:
        """Bytes of the engine; a few per cent vary with the kernels that TensorRT finds fastest."""
        content = onnx_bytes(model, images)
        if package_missing(device) is not None:
            with Engine(content, device) as engine:
                return engine.size
        with on(device):
            return len(build_plan(importlib.import_module("tensorrt"), content))


class EngineExecutable(InProcess):
    """An engine that reads and writes torch's tensors by their addresses."""

    def __init__(
        self, name: str, trt: Any, plan: bytes, images: Tensor, device: torch.device
    ) -> None:
        # its own stream, because TensorRT synchronises more on the default one
        stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        super().__init__(name, images, device, stream)
        self._queue = 0 if stream is None else stream.cuda_stream
        self._runtime: Any = trt.Runtime(log_of(trt))
        self._engine: Any = self._runtime.deserialize_cuda_engine(plan)
        self._context: Any = self._engine and self._engine.create_execution_context()
        if self._context is None:
            raise MeasurementError(f"TensorRT must load its own engine, but: {log_of(trt).last()}")
        names = {self._engine.get_tensor_name(i) for i in range(self._engine.num_io_tensors)}
        if names != {INPUT, OUTPUT}:
            raise MeasurementError(f"the engine must have images and logits; found {sorted(names)}")
        shape = tuple(self._engine.get_tensor_shape(OUTPUT))
        self._logits = torch.empty(shape, dtype=images.dtype, device=device)
        for label, tensor in ((INPUT, self.images), (OUTPUT, self._logits)):
            kind = self._engine.get_tensor_dtype(label)
            if kind != _kind(trt, tensor.dtype):
                raise MeasurementError(
                    f"the engine must keep {label} in {tensor.dtype}, but has them in {kind}"
                )
            self._context.set_tensor_address(label, tensor.data_ptr())

    def _compute(self) -> None:
        if not self._context.execute_async_v3(self._queue):
            raise MeasurementError("TensorRT must run its engine, but refused to")

    def _output(self) -> Tensor:
        return self._logits.to("cpu", copy=True)

    def close(self) -> None:
        """Free the engine and its memory, the context first."""
        self._context = None
        self._engine = None
        self._runtime = None


def package_missing(device: torch.device) -> str | None:
    """Why the Python package cannot be used for `device`; None if it can."""
    if importlib.util.find_spec("tensorrt") is None:
        return "the package tensorrt is not installed"
    try:
        trt = importlib.import_module("tensorrt")
    except Exception as error:  # its libraries are loaded here
        return f"the package tensorrt cannot be loaded ({one_line(error, limit=120)})"
    if not hasattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED"):
        return f"TensorRT must be version 10 or newer, and is {trt.__version__}"
    return torch_missing(device)


def build_plan(trt: Any, content: bytes) -> bytes:
    """The engine of an ONNX file, serialised. Raises MeasurementError with TensorRT's reason."""
    log = log_of(trt)
    log.errors.clear()
    builder = trt.Builder(log)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, log)
    if not parser.parse(content):
        causes = [str(parser.get_error(i).desc()) for i in range(parser.num_errors)]
        raise MeasurementError(
            f"TensorRT must read the network, but: {one_line('; '.join(causes) or log.last())}"
        )
    plan = builder.build_serialized_network(network, builder.create_builder_config())
    if plan is None:
        raise MeasurementError(f"TensorRT must build the network, but: {log.last()}")
    return bytes(memoryview(plan))


@functools.cache
def log_of(trt: Any) -> Any:
    """The one logger of this process: TensorRT keeps the first that it is given for good.

    It holds the errors that TensorRT tells nowhere else, and prints nothing.
    """

    class Log(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR):
                self.errors.append(message)

        def last(self) -> str:
            return one_line(self.errors[-1]) if self.errors else "it does not say why"

    return Log()


def _kind(trt: Any, dtype: torch.dtype) -> Any:
    kinds = trt.DataType
    return {
        torch.float32: kinds.FLOAT,
        torch.float16: kinds.HALF,
        torch.bfloat16: kinds.BF16,
    }.get(dtype)


def on(device: torch.device) -> AbstractContextManager[object]:
    """Makes `device` CUDA's current one, where an engine is built and loaded."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()
