"""Reading the arguments of a call in an exported graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import fx

from hwn2n.network.architecture import Operation
from hwn2n.network.translation import Translation

Rule = Callable[[Translation, fx.Node, str], Operation | None]
"""From a call (of `target`) to an operation, or None where the rule cannot express the call."""


def pair(value: Any) -> list[int]:
    """Two numbers, from one for both or from a list."""
    values = list(value) if isinstance(value, list | tuple) else [value]
    return [int(v) for v in (values * 2 if len(values) == 1 else values)]


def arguments(node: fx.Node, names: tuple[str, ...], defaults: dict[str, Any]) -> dict[str, Any]:
    """The operator's arguments by name, after the input."""
    given = dict(zip(names, node.args[1:], strict=False))
    return {**defaults, **given, **node.kwargs}


def calls(node: Any, names: tuple[str, ...]) -> bool:
    """Is it a call of one of these aten operators, in whatever form?"""
    return isinstance(node, fx.Node) and str(node.target).startswith(
        tuple(f"aten.{name}." for name in names)
    )
