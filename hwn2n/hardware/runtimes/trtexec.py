"""TensorRT without its Python package: the program `trtexec` builds, runs and times the engine.

trtexec is of NVIDIA's samples and comes with TensorRT (on a Jetson in /usr/src/tensorrt/bin). Its
times of each inference (`--exportTimes`) are served here as samples, and its logits for our images
(`--exportOutput`) are compared with eager's like any other runtime's.

Its latency is not quite that of the other runtimes: the sum of the copy to the device, the
inference and the copy of the logits back, each between device events. The time to launch them from
the host is not in it, and the copy back is. `--exposeDMA` keeps it from queueing one inference
ahead. TensorRT 11 leaves out the copies and uses a CUDA graph unless it is told otherwise, by
options that earlier versions do not know; so `--help` is asked first.

Checked against the documentation of TensorRT 10 and 11, the published source of trtexec 8 to 10,
and with a stand-in for the program; not yet run on a GPU.
"""

from __future__ import annotations

import math
from collections import deque
from typing import Any

import torch
from torch import Tensor

from hwn2n.errors import MeasurementError, one_line
from hwn2n.hardware.runtimes.base import Executable
from hwn2n.hardware.runtimes.trtexec_program import Engine, found_program
from hwn2n.network.onnx_model import INPUT, OUTPUT

_WARMUP_MS = 500
_SECONDS = 3
_INFERENCES = 400  # what a p99 with its interval needs, and some that overlap with the warm-up

# Options of some versions only, wanted where they are known.
_TIMED_ALIKE = ("--exposeDMA", "--includeDataTransfers", "--noCudaGraph")


class TrtexecExecutable(Executable):
    """The times that trtexec took, one after the other; it runs again when they are used up."""

    live = False
    note = (
        "timed by trtexec: copy to the device, inference and copy back by device events, without "
        "the time to launch them"
    )

    def __init__(self, name: str, content: bytes, images: Tensor, device: torch.device) -> None:
        self.name = name
        self.batch = len(images)
        self._dtype = images.dtype
        self._times: deque[tuple[float, float]] = deque()
        self._engine = Engine(content, device)
        try:
            raw = images.contiguous().flatten().view(torch.uint8).numpy().tobytes()
            (self._engine.folder / "images.bin").write_bytes(raw)
            self._measure()
            self._logits = _logits(self._engine.read("logits.json"))
        except BaseException:
            self.close()
            raise

    def sample(self) -> tuple[float, float | None]:
        """The next inference that trtexec timed."""
        if not self._times:
            self._measure()
        return self._times.popleft()

    def run(self) -> None:
        """There is nothing to run in this process: raises MeasurementError."""
        raise MeasurementError(
            "trtexec runs the network in a process of its own, so that power cannot be measured "
            "around it; install the package tensorrt"
        )

    def logits(self) -> Tensor:
        """What trtexec wrote of its last inference, as float32 of six digits."""
        return self._logits

    def close(self) -> None:
        """Remove the engine."""
        self._engine.close()

    def _measure(self) -> None:
        self._engine.call(
            "--loadEngine=network.engine",
            f"--loadInputs={INPUT}:images.bin",
            f"--warmUp={_WARMUP_MS}",
            f"--duration={_SECONDS}",
            f"--iterations={_INFERENCES}",
            *found_program().known(*_TIMED_ALIKE),
            "--exportTimes=times.json",
            "--exportOutput=logits.json",
        )
        self._times.extend(_times(self._engine.read("times.json")))


def _times(records: Any) -> list[tuple[float, float]]:
    """(latency, compute) in seconds of each inference after the warm-up.

    Some versions export the warm-up as well; where it ends is told by the start, on the same clock.
    """
    try:
        times = [
            (float(record["latencyMs"]) * 1e-3, float(record["computeMs"]) * 1e-3)
            for record in records
            if float(record["startComputeMs"]) >= _WARMUP_MS
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise MeasurementError(
            "trtexec must export latencyMs, computeMs and startComputeMs of each inference, but: "
            f"{type(error).__name__}: {one_line(error)}"
        ) from error
    if not times or not all(math.isfinite(t) and t > 0 for pair in times for t in pair):
        raise MeasurementError(
            f"trtexec must export times above 0 after its warm-up; found {len(times)} inferences"
        )
    return times


def _logits(tensors: Any) -> Tensor:
    """The tensor `logits` of what trtexec exports: name, dimensions "2x10", values in a row."""
    try:
        (found,) = [tensor for tensor in tensors if tensor["name"] == OUTPUT]
        shape = [int(size) for size in found["dimensions"].split("x")]
        return torch.tensor(found["values"], dtype=torch.float32).reshape(shape)
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise MeasurementError(
            f"trtexec must export the tensor {OUTPUT} with its dimensions and values, but: "
            f"{type(error).__name__}: {one_line(error)}"
        ) from error
