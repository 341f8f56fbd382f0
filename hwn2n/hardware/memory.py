"""Peak memory of one inference: the weights, and what lies beside them at the worst moment.

On a GPU it is what torch's allocator saw, kernels' workspaces and rounding to blocks included. On
a CPU nothing measures that well: the resident size of a process counts the interpreter and its
libraries, and what the allocator keeps. There the tensors are counted instead, exactly and the
same on every machine: each storage from the operator that makes it to the moment when nothing
refers to it. Views and in-place operators make no storage, and kernels' own workspaces (an
unfolded image, a reordered weight) are not seen.

Either is the memory of the network in eager torch, whose input stays with the caller until the
end. Other runtimes plan memory in their own way.
"""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from hwn2n.errors import MeasurementError, one_line
from hwn2n.hardware.runtimes.base import device_of, evaluate


def peak_memory(model: nn.Module, images: Tensor) -> int:
    """Bytes that one inference of `images` (batch, channels, height, width) takes at its peak.

    Weights and buffers, the images, and the most that intermediate results take at once, on the
    device where the model lies; it is put in eval mode. Raises MeasurementError where the model
    does not run.
    """
    evaluate(model)
    device = device_of(model)
    try:
        # a copy: they may be part of a larger tensor, and a network may work in place on them
        images = images.to(device, copy=True, memory_format=torch.contiguous_format)
        if device.type == "cuda":
            return _allocated(model, images, device)
        return _counted(model, images)
    except Exception as error:
        raise MeasurementError(
            f"the model must run on an input of shape {tuple(images.shape)} for its memory to be "
            f"measured, but: {type(error).__name__}: {one_line(error)}"
        ) from error


def _counted(model: nn.Module, images: Tensor) -> int:
    """The peak by counting storages, on a CPU."""
    storages = _Storages([*model.parameters(), *model.buffers(), images])
    # no_grad, not inference_mode: that one hides what is inside a composite operator
    with _uncollected(), torch.no_grad(), storages:
        model(images)
    return storages.peak


def _allocated(model: nn.Module, images: Tensor, device: torch.device) -> int:
    """The peak by torch's allocator, on a GPU that may hold more than this model."""
    own = _Storages([*model.parameters(), *model.buffers(), images]).peak
    with _uncollected(), torch.inference_mode():
        model(images)  # what libraries allocate at their first call and keep is not the model's
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        model(images)
        torch.cuda.synchronize(device)
    return own + torch.cuda.max_memory_allocated(device) - before


class _Storages(TorchDispatchMode):
    """Adds up the storages that are alive, and remembers the most.

    `resident` are tensors that live throughout. Two tensors on one storage count once.
    """

    def __init__(self, resident: list[Tensor]) -> None:
        super().__init__()
        self._live = 0
        self.peak = 0
        self._known: dict[int, Any] = {}
        for tensor in resident:
            self._see(tensor)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        output = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(output):
            if isinstance(leaf, Tensor):
                self._see(leaf)
        return output

    def _see(self, tensor: Tensor) -> None:
        # torch keeps one Python object for a storage as long as the storage itself lives, so its
        # end is the end of the memory
        storage = tensor.untyped_storage()
        key, size = id(storage), storage.nbytes()
        if key in self._known:
            return

        def freed(_: object) -> None:
            del self._known[key]
            self._live -= size

        self._known[key] = weakref.ref(storage, freed)
        self._live += size
        self.peak = max(self.peak, self._live)


@contextmanager
def _uncollected() -> Iterator[None]:
    """No garbage collection, whose moment would decide when tensors in a cycle are freed."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()
