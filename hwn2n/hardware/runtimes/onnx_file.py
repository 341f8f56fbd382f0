"""A network as an ONNX file, which ONNX Runtime and TensorRT read.

Written by torch's exporter from the same operator graph as a `.pt2`. The batch is a constant: that
is what runs. The exporter's notes are left out, so that the size does not depend on where it was
written.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.export import export

from hwn2n.errors import MeasurementError
from hwn2n.network.onnx_model import not_installed, onnx_model, quiet


def onnx_missing() -> str | None:
    """Why no ONNX file can be written here; None if one can."""
    lacking = not_installed()
    if not lacking:
        return None
    verb = "is" if len(lacking) == 1 else "are"
    return f"writing ONNX files needs {' and '.join(lacking)}, which {verb} not installed"


def onnx_bytes(model: nn.Module, images: Tensor) -> bytes:
    """`model` as an ONNX file for the batch, shape and precision of `images`.

    Its input is called `images` and its output `logits`. Raises MeasurementError for a network
    that returns anything but one tensor, and whatever torch raises for one that it cannot export.
    """
    model, images = copy.deepcopy(model).cpu(), images.cpu()
    with quiet(), torch.no_grad():
        program = export(model, (images,), strict=False)
    made = onnx_model(program, images)
    outputs = len(made.graph.output)
    if outputs != 1:
        raise MeasurementError(f"the network must return its logits as one tensor; found {outputs}")
    content: bytes = made.SerializeToString()
    return content


def onnx_file_bytes(model: nn.Module, images: Tensor) -> int:
    """Bytes of the ONNX file of `model` once it is trained.

    The exporter leaves out a bias of zeros and stores equal tensors once. Fresh weights have many
    of both, and a budget must not be judged by that: so the weights that are counted are random.
    """
    scattered = copy.deepcopy(model).cpu()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for tensor in (*scattered.parameters(), *scattered.buffers()):
            if tensor.is_floating_point():
                random = torch.rand(tensor.shape, generator=generator)
                tensor.copy_(random + 0.5)  # a variance is positive
    return len(onnx_bytes(scattered, images))
