"""What each operation of a network takes, one after the other, on the CPU of this machine.

The layers' times are no target's latency: each operation is timed on its own in eager torch, with
a clock around it, so that their sum is more than the network takes. They say where time goes.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from statistics import median
from typing import Any

import torch
from torch import fx

from hwn2n.errors import MeasurementError, one_line
from hwn2n.network.architecture import Architecture
from hwn2n.network.inherit import fresh_weights
from hwn2n.network.module import instantiate_with

WARMUP = 5
REPEATS = 31


class _Timed(fx.Interpreter):
    """Runs a graph node by node and notes the seconds of each."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.seconds: dict[fx.Node, list[float]] = {}

    def run_node(self, n: fx.Node) -> Any:
        start = time.perf_counter()
        value = super().run_node(n)
        self.seconds.setdefault(n, []).append(time.perf_counter() - start)
        return value


def layer_seconds(architecture: Architecture, repeats: int = REPEATS) -> dict[str, float]:
    """Median seconds of each operation by its name, for one image.

    The weights are random: how long a layer takes does not depend on them. Raises
    `MeasurementError` where the network cannot be run.
    """
    module = instantiate_with(architecture, fresh_weights(architecture, seed=0))
    images = torch.zeros(1, *architecture.input_shape)
    timed = _Timed(module)
    try:
        with torch.inference_mode():
            for _ in range(WARMUP):
                timed.run(images)
            timed.seconds.clear()
            for _ in range(repeats):
                timed.run(images)
    except Exception as error:
        raise MeasurementError(f"the layers cannot be timed: {one_line(error)}") from error
    nodes = [n for n in timed.seconds if n.op not in ("placeholder", "output")]
    # `instantiate` makes one node for each operation, in their order.
    return {
        op.name: median(timed.seconds[node]) for op, node in zip(architecture, nodes, strict=True)
    }


def by_layer(
    seconds: Mapping[str, float], home: Mapping[str, str], layers: Iterable[tuple[str, ...]]
) -> list[float]:
    """Seconds of each layer, given as its operations in the teacher.

    `home` says to which operation of the teacher each timed operation is booked
    (`LayerTable.home`).
    """
    found: dict[str, float] = {}
    for name, number in seconds.items():
        found[home[name]] = found.get(home[name], 0.0) + number
    return [sum(found.get(name, 0.0) for name in layer) for layer in layers]
