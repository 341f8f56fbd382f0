"""The check of `coverage_check` for Torch-Pruning: prune by half, run, train, export.

    python -m benchmarks.coverage_rival --source torchvision --model resnet18 --out FILE

As its README does it: magnitude importance, the last layer ignored, half of the channels of each
layer. Pruning must leave a network that is smaller, runs forward and backward, gives as many
logits, and is exported to ONNX with the same logits.
"""

from __future__ import annotations

import time
from typing import Any

import torch
import torch_pruning
from torch import nn

from benchmarks.coverage_zoo import build, check_one, exports, image_shape
from hwn2n.errors import one_line
from hwn2n.hardware.counts import count

RATIO = 0.5


def check(source: str, name: str, *, with_export: bool) -> dict[str, Any]:
    """All checks of one network as one row."""
    started = time.perf_counter()
    row: dict[str, Any] = {"model": name, "passed": False, "prunes": None, "rival": "torch-pruning"}
    model = build(source, name)
    shape = image_shape(model)
    x = torch.randn(2, *shape)
    with torch.no_grad():
        classes = model(x).shape[1]
    row |= {"image": shape[1], "params": sum(p.numel() for p in model.parameters())}
    step = "prune"
    try:
        pruned = _pruned(model, x, classes)
        row["params_left"] = sum(p.numel() for p in pruned.parameters()) / row["params"]
        step = "shrink"
        if row["params_left"] >= 1:
            raise ValueError("no parameter was pruned")
        step = "forward"
        logits = _logits(pruned, x)
        if logits.shape != (2, classes):
            raise ValueError(f"gives logits of shape {tuple(logits.shape)}")
        step = "backward"
        logits.square().mean().backward()
        step = "count"
        row["flops"] = count(pruned.eval(), x[:1]).flops
        if with_export:
            step = "ONNX"
            reason = exports(pruned.eval(), shape)
            if reason:
                raise ValueError(reason)
    except Exception as error:
        row["prunes"] = f"{step}: {type(error).__name__}: {one_line(error)}"[:300]
    row["passed"] = row["prunes"] is None
    return row | {"seconds": round(time.perf_counter() - started, 2)}


def _logits(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """In train mode; in eval mode where training has heads of its own, which want larger images."""
    try:
        logits = model.train()(x)
    except RuntimeError:
        logits = None
    return logits if isinstance(logits, torch.Tensor) else model.eval()(x)


def _pruned(model: nn.Module, x: torch.Tensor, classes: int) -> nn.Module:
    last = [
        module
        for module in model.modules()
        if (isinstance(module, nn.Linear) and module.out_features == classes)
        or (isinstance(module, nn.Conv2d) and module.out_channels == classes)
    ]
    pruner = torch_pruning.pruner.BasePruner(
        model,
        x[:1],
        importance=torch_pruning.importance.MagnitudeImportance(p=1),
        pruning_ratio=RATIO,
        ignored_layers=last[-1:],
    )
    pruner.step()
    return model


if __name__ == "__main__":
    check_one(check, __doc__)
