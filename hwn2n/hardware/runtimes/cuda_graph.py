"""CUDA graphs: the kernels of one inference, recorded once and launched together.

Small networks on a GPU spend more time launching kernels from Python than computing. A graph
launches all of them at once, which is what a deployment does that cares for its latency.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hwn2n.hardware.runtimes.base import Executable, logits_of
from hwn2n.hardware.runtimes.eager import TorchRuntime, torch_missing
from hwn2n.hardware.runtimes.in_process import InProcess

_WARMUPS = 3


class GraphExecutable(InProcess):
    """One recorded inference, which reads `images` and writes its logits where they always are."""

    def __init__(self, name: str, model: nn.Module, images: Tensor, device: torch.device) -> None:
        super().__init__(name, images, device)
        # Warmed up on a side stream, as torch.cuda.graph asks: what libraries set up at the first
        # call (cuDNN's choice of kernels, workspaces) must not be recorded.
        side = torch.cuda.Stream(device)
        side.wait_stream(self.stream)
        with torch.inference_mode(), torch.cuda.stream(side):
            for _ in range(_WARMUPS):
                model(self.images)
        self.stream.wait_stream(side)
        self._graph: torch.cuda.CUDAGraph | None = torch.cuda.CUDAGraph()
        with torch.inference_mode(), torch.cuda.device(device), torch.cuda.graph(self._graph):
            self._logits = model(self.images)
        self._model: nn.Module | None = model  # the graph reads its weights by address

    def _compute(self) -> None:
        assert self._graph is not None, "the executable is closed"
        self._graph.replay()

    def _output(self) -> Tensor:
        return logits_of(self._logits)

    def close(self) -> None:
        """Free the graph and its memory."""
        self._graph = self._model = self._logits = None


class CudaGraph(TorchRuntime):
    """Eager torch, recorded as a CUDA graph."""

    name = "cuda-graph"

    def missing(self, device: torch.device, dtype: torch.dtype = torch.float32) -> str | None:
        """CUDA graphs are of CUDA devices."""
        if device.type != "cuda":
            return f"a CUDA graph needs a CUDA device, and the target's is {device}"
        return torch_missing(device)

    def _prepare(self, model: nn.Module, images: Tensor, device: torch.device) -> Executable:
        return GraphExecutable(self.name, model, images, device)
