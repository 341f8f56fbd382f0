"""`hwn2n export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hwn2n.cli import options
from hwn2n.cli.console import print_json, show


def export(
    context: typer.Context,
    model: Annotated[
        str,
        typer.Argument(
            metavar="RUN|MODEL",
            help="The folder of a complete run, whose student it is, or a network's file.",
        ),
    ],
    to: Annotated[
        str,
        typer.Option("--to", metavar="FORMAT", help="torch-export, onnx, safetensors or python."),
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--out", "-o", metavar="FILE", help="Ends in .pt2, .onnx, .safetensors or .py."
        ),
    ],
    precision: Annotated[
        str,
        typer.Option(
            "--precision", metavar="fp32|fp16", help="Of weights, images and logits alike."
        ),
    ] = "fp32",
    data: Annotated[
        str | None,
        typer.Option(
            "--data",
            metavar="NAME",
            help="Real images to check the file with, as in compress, or none.  [default: the "
            "run's own]",
        ),
    ] = None,
    data_root: options.DataRoot = None,
    image_size: options.ImageSize = None,
    arch: options.Arch = None,
    input_shape: options.InputShape = None,
    unsafe_pickle: options.UnsafePickle = False,
    json: options.AsJson = False,
) -> int:
    """Write a student for use without hwn2n, and check the file.

    Every file takes a batch of any size, is read back, and is compared with the student on random
    images and on real ones. onnx needs the extra hwn2n[onnx] and is run in ONNX Runtime; python
    writes a plain torch.nn.Module with its weights beside it.

    \b
    Example:
      hwn2n export runs/first --to onnx -o student.onnx
      hwn2n export runs/first --to python -o student.py --precision fp16
      hwn2n export teacher.pt --to torch-export -o teacher.pt2 --data digits
    """
    context.obj.json = json
    shape = options.image_shape(input_shape)

    from hwn2n.cli.export_text import export_lines
    from hwn2n.commands.export import export as run

    found = run(
        model,
        to=to,
        out=out,
        precision=precision,
        data=data,
        data_root=data_root,
        image_size=image_size,
        arch=arch,
        input_shape=shape,
        unsafe_pickle=unsafe_pickle,
    )
    if json:
        print_json(found.to_json())
    else:
        show(None, export_lines(found))
    return 0
