"""What of a forward pass does not depend on the images: it is computed once, at capture.

Swin makes the mask of its shifted windows anew for each batch, by writing numbers into parts of
a tensor of zeros. Computed here, it is one constant of the network. Nothing that can be trained
is folded, for it would not follow the training.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import fx

from hwn2n.network.translation import Translation

CREATES = frozenset(
    [
        "zeros",
        "ones",
        "full",
        "arange",
        "new_zeros",
        "new_ones",
        "new_full",
        "linspace",
        "eye",
        "scalar_tensor",
    ]
)
"""Operators that make a tensor from numbers (and from the precision of another tensor)."""

_NUMBERS = frozenset(["lift_fresh", "lift_fresh_copy"])
"""How a number of the program, `mask[2:] = 1.0`, comes into the graph of torch 2.14: as a copy of a
constant tensor."""

_ELSEWHERE = ("device", "pin_memory", "layout")


class Folding:
    """Follows the values of an exported graph that are known without images."""

    def __init__(self, translation: Translation) -> None:
        self._translation = translation

    def folds(self, node: fx.Node) -> bool:
        """Whether the call's result is known; its readers then find it as a held tensor."""
        operator = node.target
        if not isinstance(operator, torch._ops.OpOverload) or operator.namespace != "aten":
            return False
        name = operator._schema.name.removeprefix("aten::")
        if torch.Tag.nondeterministic_seeded in operator.tags:
            return False
        values = self._typed(node) if name in CREATES else self._known(node, name in _NUMBERS)
        if values is None:
            return False
        kwargs = {key: value for key, value in node.kwargs.items() if key not in _ELSEWHERE}
        try:
            with torch.no_grad():
                result = operator(
                    *fx.node.map_arg(node.args, values.__getitem__),
                    **fx.node.map_arg(kwargs, values.__getitem__),
                )
        except (RuntimeError, TypeError, ValueError):
            return False
        if not isinstance(result, torch.Tensor):
            return False
        if operator._schema.is_mutable:
            self._translation.forget_folded()
        self._translation.folded[node] = result
        return True

    def _typed(self, node: fx.Node) -> dict[fx.Node, Any] | None:
        """For what only creates: an empty tensor of the right precision for each that it reads."""
        values = [source.meta.get("val") for source in node.all_input_nodes]
        if not all(isinstance(value, torch.Tensor) for value in values):
            return None  # a size that depends on the batch
        return {
            source: torch.empty(0, dtype=value.dtype)
            for source, value in zip(node.all_input_nodes, values, strict=True)
            if isinstance(value, torch.Tensor)
        }

    def _known(self, node: fx.Node, is_number: bool) -> dict[fx.Node, Any] | None:
        """The values that a call reads, if all are known and one of them was folded itself.

        What reads buffers alone is left to its own rule, which may know more of it, unless it is
        a number that the program holds as a tensor.
        """
        found = self._translation
        if not is_number and not any(source in found.folded for source in node.all_input_nodes):
            return None
        values: dict[fx.Node, Any] = {}
        for source in node.all_input_nodes:
            if source in found.folded:
                values[source] = found.folded[source]
            elif source in found.tensor_of and not found.tensor_of[source][2]:
                values[source] = found.tensor_of[source][1]
            else:
                return None
        return values
