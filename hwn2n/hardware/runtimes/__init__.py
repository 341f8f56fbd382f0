"""Runtimes: what runs a network on a device, by the name that a target's `runtime:` gives.

The table imports no more than torch; what a runtime needs is imported when it is used.
"""

from hwn2n.hardware.runtimes.base import Executable, Runtime
from hwn2n.hardware.runtimes.compiled import Compiled
from hwn2n.hardware.runtimes.cuda_graph import CudaGraph
from hwn2n.hardware.runtimes.eager import Eager
from hwn2n.hardware.runtimes.onnx_runtime import OnnxRuntime
from hwn2n.hardware.runtimes.tensorrt import TensorRt

RUNTIMES: dict[str, Runtime] = {
    "eager": Eager(),
    "compile": Compiled(),
    "cuda-graph": CudaGraph(),
    "onnxruntime": OnnxRuntime(),
    "tensorrt": TensorRt(),
}

__all__ = ["RUNTIMES", "Executable", "Runtime"]
