"""Recognising filters that are standardised before they are used."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from torch import fx

from hwn2n.network.translation import Translation


@dataclass(frozen=True)
class Standard:
    """How filters are standardised: their weight, the gain, and what the operation must know.

    All empty where they are used as they are.
    """

    weight: fx.Node | None = None
    gain: fx.Node | None = None
    config: dict[str, Any] = field(default_factory=dict)


def standardising(t: Translation, graph: fx.Graph) -> set[fx.Node]:
    """The calls that only standardise filters: what a convolution of its own kind does itself."""
    found: set[fx.Node] = set()
    for node in graph.nodes:
        if _calls(node, "conv2d") and len(node.args) > 1 and standardised(t, node.args[1]):
            chain = {node}
            behind = [node.args[1]]
            while behind:
                at = behind.pop()
                if isinstance(at, fx.Node) and at.op == "call_function" and chain >= {*at.users}:
                    chain.add(at)
                    behind += at.all_input_nodes
            found |= chain - {node}
    return found


def standardised(t: Translation, filters: Any) -> Standard | None:
    """Filters as timm computes them: each one's own mean and variance, by batch normalisation.

    None for filters that are computed in another way.
    """
    normed = _source(filters, "reshape_as", "view", "reshape")
    if not _calls(normed, "batch_norm") or len(normed.args) < 8:
        return None
    rows, scale, shift, mean, variance, training, _, eps, *_ = normed.args
    weight = _source(rows, "reshape", "view")
    if weight not in t.tensor_of or training is not True:
        return None
    if shift is not None or mean is not None or variance is not None:
        return None
    shape = t.tensor_of[weight][1].shape
    if len(shape) != 4 or t.shape(rows) != (1, shape[0], math.prod(shape[1:])):
        return None
    gamma, gain = None, None
    if scale is not None:
        found = _gain(t, scale)
        if found is None:
            return None
        gain, factor = found
        gamma = factor * math.prod(shape[1:]) ** 0.5
    config = {"standardised": {"eps": eps, "gamma": gamma}}
    return Standard(weight, gain, config)


def _gain(t: Translation, scale: Any) -> tuple[fx.Node, float] | None:
    """The gain of each filter, and the number that it is multiplied by."""
    product = _source(scale, "view", "reshape")
    factor: Any = 1.0
    if _calls(product, "mul"):
        product, factor = product.args[0], product.args[1]
    if product not in t.tensor_of or not isinstance(factor, int | float):
        return None
    shape = t.tensor_of[product][1].shape
    if len(shape) != 4 or math.prod(shape[1:]) != 1:
        return None
    return product, float(factor)


def _source(node: Any, *names: str) -> Any:
    """What a call of one of these operators reads; nothing for another node."""
    return node.args[0] if any(_calls(node, name) for name in names) else None


def _calls(node: Any, name: str) -> bool:
    return isinstance(node, fx.Node) and str(node.target).startswith(f"aten.{name}.")
