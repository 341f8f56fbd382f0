"""A network as an ONNX model: written by torch's exporter, without its notes, safe to optimise."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import logging
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.export import ExportedProgram

INPUT = "images"
OUTPUT = "logits"

OPSET = 18
"""What torch's exporter writes without converting; TensorRT 10 and ONNX Runtime 1.14 read it."""

WRITING = ("onnx", "onnxscript")
"""The packages that writing takes."""


def not_installed(packages: Sequence[str] = WRITING) -> list[str]:
    """Those of the packages that are not there."""
    return [name for name in packages if importlib.util.find_spec(name) is None]


def onnx_model(program: ExportedProgram, images: Tensor) -> Any:
    """The `onnx.ModelProto` of a program: input `images`, output `logits`, weights inside.

    The exporter's notes on each operator (classes, scopes, stack traces with the paths of this
    machine) are left out. Raises whatever torch raises for a network that it cannot export.
    """
    with quiet(), torch.no_grad():
        exported: Any = torch.onnx.export(
            program,
            (images,),
            input_names=[INPUT],
            output_names=[OUTPUT],
            opset_version=OPSET,
            dynamo=True,
            external_data=False,
            verbose=False,
        )
        model = exported.model_proto
    _without_notes(model)
    _keep_padding(model.graph)
    return model


def _without_notes(model: Any) -> None:
    model.ClearField("metadata_props")
    for graph in (model.graph, *model.functions):
        for part in ("metadata_props", "doc_string"):
            graph.ClearField(part)
        for node in graph.node:
            node.ClearField("metadata_props")
            node.ClearField("doc_string")
        for value in graph.value_info:
            value.ClearField("metadata_props")
    for value in (*model.graph.input, *model.graph.output, *model.graph.initializer):
        value.ClearField("metadata_props")


def _keep_padding(graph: Any) -> None:
    """Keep ONNX Runtime from folding a frame of zeros into the max pooling behind it.

    Pooling pads with what is less than any number, so folded (its PadFusion does, as of 1.31) the
    logits differ wherever a window holds negative numbers only. It folds zeros alone; so the
    frame becomes the least normal number.
    """
    import numpy
    from onnx import TensorProto, helper, numpy_helper

    pooled = {node.input[0] for node in graph.node if node.op_type == "MaxPool"}
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    types = {v.name: v.type.tensor_type.elem_type for v in (*graph.value_info, *graph.input)}
    for node in graph.node:
        if node.op_type != "Pad" or node.output[0] not in pooled:
            continue
        inputs = [*node.input, "", ""][:3]  # without the third, the frame is of zeros
        if inputs[2] and constants.get(inputs[2], 1) != 0:
            continue
        dtype = helper.tensor_dtype_to_np_dtype(types.get(node.output[0], TensorProto.FLOAT))
        if dtype.kind != "f":
            continue
        inputs[2] = f"{node.output[0]}_frame"
        least = numpy.array(numpy.finfo(dtype).tiny, dtype)
        graph.initializer.append(numpy_helper.from_array(least, inputs[2]))
        node.input[:] = [*inputs, *node.input[3:]]


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Neither torch's exporter nor onnxscript writes to the terminal."""
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
