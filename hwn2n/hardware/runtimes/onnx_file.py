"""A network as an ONNX file, which ONNX Runtime and TensorRT read.

Written by torch's exporter from the same operator graph as a `.pt2`. The batch is a constant: that
is what runs. The exporter's notes on each operator (classes, scopes, stack traces with the paths
of this machine) are left out, so that the size does not depend on where it was written.
"""

from __future__ import annotations

import contextlib
import copy
import importlib.util
import io
import logging
import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import export

from hwn2n.errors import MeasurementError

INPUT = "images"
OUTPUT = "logits"

# The opset that torch's exporter writes without converting; all of TensorRT 10 reads it.
_OPSET = 18

_PACKAGES = ("onnx", "onnxscript")


def onnx_missing() -> str | None:
    """Why no ONNX file can be written here; None if one can."""
    lacking = [name for name in _PACKAGES if importlib.util.find_spec(name) is None]
    if not lacking:
        return None
    verb = "is" if len(lacking) == 1 else "are"
    return f"writing ONNX files needs {' and '.join(lacking)}, which {verb} not installed"


def onnx_bytes(model: nn.Module, images: Tensor) -> bytes:
    """`model` as an ONNX file for the batch, shape and precision of `images`.

    Its input is called `images` and its output `logits`. Raises MeasurementError for a network
    that returns anything but one tensor, and whatever torch raises for one that it cannot export.
    """
    with _quiet(), torch.no_grad():
        model, images = copy.deepcopy(model).cpu(), images.cpu()
        program = export(model, (images,), strict=False)
        exported: Any = torch.onnx.export(
            program,
            (images,),
            input_names=[INPUT],
            output_names=[OUTPUT],
            opset_version=_OPSET,
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    outputs = len(exported.model.graph.outputs)
    if outputs != 1:
        raise MeasurementError(f"the network must return its logits as one tensor; found {outputs}")
    _without_notes(exported.model)
    content: bytes = exported.model_proto.SerializeToString()
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


def _without_notes(model: Any) -> None:
    """Drop the metadata of the model (an `onnx_ir.Model`) and of all that is in it."""
    model.metadata_props.clear()
    for graph in (model.graph, *model.functions.values()):
        graph.metadata_props.clear()
        for value in graph.inputs:
            value.metadata_props.clear()
        for node in graph.all_nodes():
            node.metadata_props.clear()
            node.doc_string = None
            for value in node.outputs:
                value.metadata_props.clear()
    for value in model.graph.initializers.values():
        value.metadata_props.clear()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Neither torch's exporter nor onnxscript writes to the terminal of a search."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
