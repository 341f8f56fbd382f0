"""Operations in a few words, for tables and pictures."""

from __future__ import annotations

from typing import Any

from hwn2n.network.architecture import Operation

_SHORT = {
    "conv2d": "conv",
    "conv_transpose2d": "transposed conv",
    "batch_norm": "batch norm",
    "max_pool2d": "max pool",
    "avg_pool2d": "avg pool",
    "adaptive_avg_pool2d": "adaptive avg pool",
}


def operator_text(op: Operation) -> str:
    """Such as `conv 3x3 /2`, `relu`, `softmax`."""
    cfg = op.config
    if op.kind == "activation":
        return str(cfg["function"])
    if op.kind == "function":
        target = str(cfg["target"])
        return target.split(".")[1] if target.startswith("aten.") else target
    words = [_SHORT.get(op.kind, op.kind.replace("_", " "))]
    if cfg.get("depthwise"):
        words.insert(0, "depthwise")
    elif cfg.get("groups", 1) != 1:
        words.insert(0, "grouped")
    if "kernel_size" in cfg:
        words.append(sizes(cfg["kernel_size"]))
    if max(cfg.get("stride", [1])) > 1:
        words.append("/" + _one(cfg["stride"]))
    return " ".join(words)


def shape_text(shape: tuple[int, ...] | None) -> str:
    """`64x32x32` for one image; a dash where the output is not one tensor."""
    return "-" if shape is None else sizes(shape[1:]) or "-"


def sizes(numbers: Any) -> str:
    """`3x3`."""
    return "x".join(str(number) for number in numbers)


def _one(numbers: list[int]) -> str:
    return str(numbers[0]) if len(set(numbers)) == 1 else sizes(numbers)
