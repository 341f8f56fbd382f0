"""The table of operators: one rule for each kind of operation.

To teach hwn2n an operator, write its rule (`base.Operator`), add it here, and map its aten name
in `hwn2n.network.aten`. It also needs bounds (`search.bounds`) and, unless it is a module of
torch's own, a printer (`exporting.code.printers`).
"""

from __future__ import annotations

from hwn2n.errors import InputError
from hwn2n.network.architecture import Operation
from hwn2n.network.operators.base import Operator, Shape
from hwn2n.network.operators.held import Constant
from hwn2n.network.operators.joins import Binary, Concat
from hwn2n.network.operators.norms import BatchNorm, GroupNorm, LayerNorm
from hwn2n.network.operators.opaque import Function
from hwn2n.network.operators.shapes import ChannelShuffle, Cut, Permute
from hwn2n.network.operators.simple import (
    Activation,
    AdaptiveAvgPool2d,
    Dropout,
    Pool2d,
    SpatialMean,
)
from hwn2n.network.operators.views import Flatten, Reshape
from hwn2n.network.operators.weighted import Conv2d, ConvTranspose2d, Linear

OPERATORS: dict[str, Operator] = {
    "conv2d": Conv2d(),
    "linear": Linear(),
    "conv_transpose2d": ConvTranspose2d(),
    "batch_norm": BatchNorm(),
    "layer_norm": LayerNorm(),
    "group_norm": GroupNorm(),
    "activation": Activation(),
    "dropout": Dropout(),
    "max_pool2d": Pool2d(),
    "avg_pool2d": Pool2d(),
    "adaptive_avg_pool2d": AdaptiveAvgPool2d(),
    "mean": SpatialMean(),
    "flatten": Flatten(),
    "reshape": Reshape(),
    "permute": Permute(),
    "channel_shuffle": ChannelShuffle(),
    "cut": Cut(),
    "add": Binary(),
    "sub": Binary(),
    "mul": Binary(),
    "div": Binary(),
    "cat": Concat(),
    "function": Function(),
    "constant": Constant(),
}


def rule(op: Operation) -> Operator:
    """The rule of an operation."""
    try:
        return OPERATORS[op.kind]
    except KeyError:
        raise InputError(
            f"{op.name}: unknown kind of operation {op.kind!r}; known: {', '.join(OPERATORS)}"
        ) from None


__all__ = ["OPERATORS", "Operator", "Shape", "rule"]
