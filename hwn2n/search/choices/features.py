"""How a layer is described to a policy.

`paper` is the seven numbers of section 3.2 as they are; `normalised` describes the same layer
with numbers around 1 whatever the teacher, so that a policy learned on one teacher means the
same on another (section 3.5's transfer), and adds what a layer costs and where it stands.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

from hwn2n.network.layers import Layer

FeatureSet = Literal["paper", "normalised"]
Variable = Literal["kernel", "width"]

KINDS = ("conv2d", "linear", "max_pool2d", "avg_pool2d")


def paper_features(
    layer: Layer, index: int, layers: tuple[Layer, ...], variable: Variable | None
) -> list[float]:
    """x_t = (type, kernel, stride, padding, outputs, skip start, skip end), unscaled."""
    kind = float(KINDS.index(layer.kind) + 1) if layer.kind in KINDS else 0.0
    return [
        kind,
        float(layer.kernel),
        float(layer.stride),
        float(layer.padding),
        float(layer.outputs),
        float(layer.skip_start),
        float(layer.skip_end),
    ]


def normalised_features(
    layer: Layer, index: int, layers: tuple[Layer, ...], variable: Variable | None
) -> list[float]:
    """One-hot type; sizes on a logarithmic scale; shares of the teacher's cost; position."""
    params = sum(other.params for other in layers) or 1
    flops = sum(other.flops for other in layers) or 1
    return [
        *(float(layer.kind == kind) for kind in KINDS),
        layer.kernel / 3.0,
        math.log2(max(layer.stride, 1)),
        float(layer.padding > 0),
        math.log2(max(layer.inputs, 1)) / 10.0,
        math.log2(max(layer.outputs, 1)) / 10.0,
        float(layer.skip_start),
        float(layer.skip_end),
        math.sqrt(layer.params / params),
        math.sqrt(layer.flops / flops),
        index / max(len(layers) - 1, 1),
        float(variable == "kernel"),
        float(variable == "width"),
    ]


FEATURES: dict[FeatureSet, Callable[..., list[float]]] = {
    "paper": paper_features,
    "normalised": normalised_features,
}

FEATURE_COUNTS: dict[FeatureSet, int] = {"paper": 7, "normalised": len(KINDS) + 12}
"""How many numbers describe a layer."""
