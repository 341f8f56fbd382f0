"""What runs a network on a device: the two interfaces, and what all runtimes have in common.

A `Runtime` is chosen by a target's `runtime:`. It prepares an `Executable`: one network, compiled
or exported as the runtime wants it, on one batch of images that lies in place. Preparing costs
what it costs (seconds of compiling, minutes of building an engine) and is never part of a latency.

Before anything is timed, the logits of every runtime but eager are compared with eager's: a
runtime that computes another function is fast for nothing.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from hwn2n.errors import MeasurementError, one_line
from hwn2n.hardware.runtimes.agreement import check_logits


class Executable(ABC):
    """A network ready to run on one batch.

    `batch` is the number of images of one inference. `live` says that `run` runs the network in
    this process now, as power windows need; a program of its own that has timed itself is not
    live. `note` is what a reader of the figures should know.
    """

    batch: int
    live: bool = True
    note: str = ""

    @abstractmethod
    def sample(self) -> tuple[float, float | None]:
        """One inference of the batch: (end-to-end seconds, seconds on the device or None).

        Raises MeasurementError where the runtime fails.
        """

    @abstractmethod
    def run(self) -> None:
        """One inference, finished when this returns. Raises MeasurementError if it cannot."""

    @abstractmethod
    def logits(self) -> Tensor:
        """What the network gives for the images, (batch, classes), on the host."""

    @abstractmethod
    def close(self) -> None:
        """Free what the runtime holds. The executable cannot be used afterwards."""


class Runtime(ABC):
    """A way to run networks. It has no state: one object serves all targets.

    `name` is that of a target's `runtime:`; `exact` says that it is the reference itself, so that
    its logits need no comparison.
    """

    name: str
    exact: bool = False

    @abstractmethod
    def missing(self, device: torch.device, dtype: torch.dtype = torch.float32) -> str | None:
        """Why networks of `dtype` cannot run so on `device` here; None if they can."""

    def file_missing(self, device: torch.device, dtype: torch.dtype = torch.float32) -> str | None:
        """Why `file_bytes` cannot be told here; None if it can. Most files need no device."""
        return self.missing(device, dtype)

    def _runs_on(self, model: nn.Module) -> torch.device:
        """The device that runs the network: where its weights lie, for all that torch runs."""
        return device_of(model)

    @abstractmethod
    def _prepare(self, model: nn.Module, images: Tensor, device: torch.device) -> Executable:
        """`prepare` without its checks. May raise anything."""

    @abstractmethod
    def _file_bytes(self, model: nn.Module, images: Tensor, device: torch.device) -> int:
        """`file_bytes` without its checks. May raise anything."""

    def prepare(self, model: nn.Module, images: Tensor) -> Executable:
        """Make `model` ready to run on `images` (batch, channels, height, width) from the host.

        The model lies on its device in its precision, which is that of the images. It is put in
        eval mode, and belongs to the executable until that is closed. CPU threads are as torch is
        set when this is called. Raises MeasurementError where the runtime is missing, where it
        cannot run the network, and where its logits are not those of eager torch.
        """
        device = self._runs_on(model)
        if reason := self.missing(device, images.dtype):
            raise MeasurementError(f"runtime {self.name} must run on {device}, but: {reason}")
        evaluate(model)
        with failures(self.name, "run the network"):
            wanted = None if self.exact else eager_logits(model, images)
            executable = self._prepare(model, images, device)
            try:
                if wanted is not None:
                    check_logits(self.name, executable.logits(), wanted, device, images.dtype)
            except BaseException:
                executable.close()
                raise
        return executable

    def file_bytes(self, model: nn.Module, images: Tensor) -> int:
        """Bytes of the file that this runtime loads for `model`; `images` as for `prepare`.

        Nothing is timed. Raises MeasurementError where the file cannot be made.
        """
        device = self._runs_on(model)
        if reason := self.file_missing(device, images.dtype):
            raise MeasurementError(f"runtime {self.name} must make its file, but: {reason}")
        evaluate(model)
        with failures(self.name, "make its file of the network"):
            return self._file_bytes(model, images, device)


def device_of(model: nn.Module) -> torch.device:
    """Where the model's first weight lies; the CPU for a model without any."""
    for tensors in (model.parameters(), model.buffers()):
        for tensor in tensors:
            return tensor.device
    return torch.device("cpu")


def evaluate(model: nn.Module) -> None:
    """Put all modules in eval mode. Not by .eval(), which networks of torch.export refuse."""
    for module in model.modules():
        module.training = False


def eager_logits(model: nn.Module, images: Tensor) -> Tensor:
    """The reference: what torch computes eagerly, (batch, classes) on the host."""
    with torch.inference_mode():
        # a copy: a network may work in place on its input
        return logits_of(model(images.to(device_of(model), copy=True)))


def logits_of(output: Any) -> Tensor:
    """The output on the host, if it is one tensor. Raises MeasurementError if it is not."""
    if not isinstance(output, Tensor):
        raise MeasurementError(
            f"the network must return its logits as one tensor; found {type(output).__name__}"
        )
    return output.detach().cpu()


@contextmanager
def failures(name: str, task: str) -> Iterator[None]:
    """Turn whatever a runtime raises into a MeasurementError of one line."""
    try:
        yield
    except MeasurementError:
        raise
    except Exception as error:
        raise MeasurementError(failure(name, task, error)) from error


def failure(name: str, task: str, error: Exception) -> str:
    """One line that names the runtime, its task and the cause."""
    return f"runtime {name} must {task}, but: {type(error).__name__}: {one_line(error)}"
