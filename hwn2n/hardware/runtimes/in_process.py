"""The clocks around a network that runs in this process.

On a CPU one sample is one inference by the wall clock, its input in place. On a GPU two clocks
run: the wall clock around copying the input from pinned host memory, the inference and a
synchronisation (end to end), and a pair of events around the inference alone (device).
"""

from __future__ import annotations

import time
from abc import abstractmethod
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from hwn2n.errors import MeasurementError
from hwn2n.hardware.runtimes.base import Executable, failure


class InProcess(Executable):
    """An executable whose runtime says only how to compute.

    `images` (batch, channels, height, width) is the tensor on `device` that `_compute` reads. It
    stays where it is, since graphs and engines keep its address. On a GPU all work is queued on
    `stream`, which is torch's current one unless the runtime needs its own.
    """

    def __init__(
        self,
        name: str,
        images: Tensor,
        device: torch.device,
        stream: torch.cuda.Stream | None = None,
    ) -> None:
        self.name = name
        self.batch = len(images)
        self.device = device
        self.images = images.to(device, copy=True)
        self._untouched = self.images._version
        self._on_gpu = device.type == "cuda"
        self._host = images.pin_memory() if self._on_gpu else images
        if self._on_gpu:
            self.stream = stream or torch.cuda.current_stream(device)
            self._begin = torch.cuda.Event(enable_timing=True)
            self._finish = torch.cuda.Event(enable_timing=True)
            # the copy above was queued on the current stream, the work comes on this one
            torch.cuda.synchronize(device)

    @abstractmethod
    def _compute(self) -> None:
        """Run, or queue on a GPU, one inference of what lies in `self.images`."""

    @abstractmethod
    def _output(self) -> Tensor:
        """The logits of the last inference, on the host."""

    def sample(self) -> tuple[float, float | None]:
        """One inference by the clocks (see `Executable.sample`)."""
        try:
            with torch.inference_mode(), self._queueing():
                return self._sample_gpu() if self._on_gpu else self._sample_cpu()
        except Exception as error:
            raise self._failed(error) from error

    def _sample_cpu(self) -> tuple[float, None]:
        self._restore()
        start = time.perf_counter_ns()
        self._compute()
        return (time.perf_counter_ns() - start) * 1e-9, None

    def _sample_gpu(self) -> tuple[float, float]:
        torch.cuda.synchronize(self.device)
        start = time.perf_counter_ns()
        self.images.copy_(self._host, non_blocking=True)
        self._begin.record(self.stream)
        self._compute()
        self._finish.record(self.stream)
        torch.cuda.synchronize(self.device)
        end_to_end = (time.perf_counter_ns() - start) * 1e-9
        return end_to_end, self._begin.elapsed_time(self._finish) * 1e-3

    def run(self) -> None:
        """One inference as in `sample`, without the clocks."""
        try:
            with torch.inference_mode(), self._queueing():
                if self._on_gpu:
                    self.images.copy_(self._host, non_blocking=True)
                else:
                    self._restore()
                self._compute()
                if self._on_gpu:
                    torch.cuda.synchronize(self.device)
        except Exception as error:
            raise self._failed(error) from error

    def logits(self) -> Tensor:
        """What the network gives for the images (see `Executable.logits`)."""
        self.run()
        with torch.inference_mode():
            return self._output()

    def _restore(self) -> None:
        """Put the images back if the network worked in place on them.

        One that divides its input in place would soon compute with denormal numbers.
        """
        if self.images._version != self._untouched:
            self.images.copy_(self._host)
            self._untouched = self.images._version

    def _queueing(self) -> AbstractContextManager[object]:
        """Makes `stream`, and with it its device, torch's current one."""
        return torch.cuda.stream(self.stream) if self._on_gpu else nullcontext()

    def _failed(self, error: Exception) -> MeasurementError:
        if isinstance(error, MeasurementError):
            return error
        shape = "x".join(str(size) for size in self.images.shape)
        return MeasurementError(failure(self.name, f"run the network on {shape} images", error))
