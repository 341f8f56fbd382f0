"""How deep a network is."""

from __future__ import annotations

from hwn2n.network.architecture import INPUT, Architecture

LAYERS = ("conv2d", "linear", "conv_transpose2d")
"""Kinds of operations that are a layer of a network's depth."""


def depth(architecture: Architecture) -> int:
    """Convolutions and linear layers on the longest way from the images to the logits."""
    deepest = {INPUT: 0}
    for op in architecture:
        before = max((deepest[name] for name in op.inputs), default=0)
        deepest[op.name] = before + (op.kind in LAYERS)
    return deepest[architecture.output]
