"""The networks of the model zoos: built, given the smallest image, exported and compared."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from hwn2n.errors import one_line
from hwn2n.network.onnx_model import onnx_model

IMAGE_SIZES = (32, 64, 96, 128, 160, 192, 224, 240, 256, 288, 299, 384)
"""Sizes that are tried, smallest first, until the network accepts one."""


def build(source: str, name: str) -> nn.Module:
    """A network with random weights, in eval mode."""
    torch.manual_seed(0)
    if source == "torchvision":
        import torchvision

        extra = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
        model: nn.Module = torchvision.models.get_model(name, weights=None, **extra)
    else:
        import timm

        model = timm.create_model(name, pretrained=False)
    return model.eval()


def image_shape(model: nn.Module) -> tuple[int, int, int]:
    """The smallest of `IMAGE_SIZES` at which the network gives finite logits."""
    errors = []
    for size in IMAGE_SIZES:
        try:
            with torch.no_grad():
                logits = model(torch.randn(1, 3, size, size))
        except Exception as error:
            errors.append(f"{size}: {one_line(error)}")
            continue
        if isinstance(logits, torch.Tensor) and bool(torch.isfinite(logits).all()):
            return 3, size, size
    raise ValueError(f"no image size fits ({errors[-1] if errors else 'logits are not finite'})")


def exports(student: nn.Module, shape: tuple[int, int, int]) -> str | None:
    """ONNX by torch.export, run by ONNX Runtime: the reason why it differs, or None."""
    import onnxruntime

    x = torch.randn((2, *shape))
    try:
        with tempfile.TemporaryDirectory() as folder, torch.no_grad():
            path = Path(folder) / "student.onnx"
            batch = ({0: torch.export.Dim("batch")},)
            program = torch.export.export(student, (x,), dynamic_shapes=batch)
            path.write_bytes(onnx_model(program, x).SerializeToString())
            session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
            [found] = session.run(None, {session.get_inputs()[0].name: x.numpy()})
            wanted = student(x)
    except Exception as error:
        return f"{type(error).__name__}: {one_line(error)}"
    difference = (wanted - torch.from_numpy(found)).abs().max().item()
    scale = max(1.0, wanted.abs().max().item())
    return None if difference <= 1e-4 * scale else f"differs by {difference:.3g}"


def check_one(check: Callable[..., dict[str, Any]], description: str | None) -> None:
    """The command line of a check: one network, one row of JSON."""
    parser = argparse.ArgumentParser(description=(description or "").split("\n")[0])
    parser.add_argument("--source", choices=["torchvision", "timm"], default="torchvision")
    parser.add_argument("--model", required=True)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--no-export", action="store_true")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    row = check(options.source, options.model, with_export=not options.no_export)
    text = json.dumps(row, indent=2)
    if options.out:
        options.out.write_text(text + "\n")
    else:
        sys.stdout.write(text + "\n")
