"""ONNX files with a dynamic batch: written by torch's exporter, read by ONNX Runtime."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.export import ExportedProgram

from hwn2n.errors import Hwn2nError, InputError, one_line
from hwn2n.network.onnx_model import INPUT, OUTPUT, WRITING, not_installed, onnx_model

BATCH = "batch"


def check_installed() -> None:
    """Raise InputError where a package that writes or checks ONNX files is missing."""
    if lacking := not_installed((*WRITING, "onnxruntime")):
        raise InputError(
            "writing ONNX files needs the packages of the extra 'onnx' (pip install 'hwn2n[onnx]');"
            f" missing: {', '.join(lacking)}"
        )


def write_onnx(
    program: ExportedProgram, example: Tensor, description: Mapping[str, Any], out: Path
) -> None:
    """Write `program` with input `images` (batch, C, H, W) and output `logits` (batch, classes).

    `description` goes into the model's metadata, as JSON. Raises `InputError` where the exporter
    has no translation for an operator, or the file would be larger than ONNX allows.
    """
    import onnx

    try:
        model = onnx_model(program, example)
        _name_batch(model)
        for name, value in description.items():
            model.metadata_props.add(key=name, value=json.dumps(value))
        content: bytes = model.SerializeToString()
    except Exception as error:  # whatever the exporter, onnxscript or protobuf raise
        raise InputError(
            f"the network must be one that torch.onnx can write, but: {_reason(error)}"
        ) from error
    out.write_bytes(content)
    try:
        onnx.checker.check_model(str(out), full_check=True)
    except Exception as error:
        raise Hwn2nError(f"{out}: must pass onnx.checker, but: {one_line(error)}") from error


def run_onnx(path: Path) -> Callable[[Tensor], Tensor]:
    """The network in ONNX Runtime on the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # its warnings are about how fast it will be here
    # a thread for each core is slower than one for the few images of a check
    options.intra_op_num_threads = 1
    session: Any = onnxruntime.InferenceSession(
        str(path), options, providers=["CPUExecutionProvider"]
    )

    def run(images: Tensor) -> Tensor:
        (logits,) = session.run([OUTPUT], {INPUT: images.numpy()})
        return torch.from_numpy(logits)

    return run


def _name_batch(model: Any) -> None:
    """Call the dynamic dimension `batch`, whatever symbol torch gave it."""
    symbol = model.graph.input[0].type.tensor_type.shape.dim[0].dim_param
    if not symbol:
        raise ValueError("its batch is a constant")
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param == symbol:
                dim.dim_param = BATCH


def _reason(error: BaseException) -> str:
    """The innermost cause: the exporter wraps it in pages of advice."""
    while error.__cause__ is not None:
        error = error.__cause__
    return one_line(error)
