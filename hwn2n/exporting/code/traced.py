"""A function of tensors as the torch calls that it makes, for kinds without a printer."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import fx

from hwn2n.errors import InputError
from hwn2n.exporting.code.syntax import Bracket, Expression, Text, call, flat, literal, sequence

_INFIX: dict[Any, str] = {
    operator.add: "+",
    operator.sub: "-",
    operator.mul: "*",
    operator.truediv: "/",
    operator.floordiv: "//",
    operator.mod: "%",
    operator.pow: "**",
    operator.matmul: "@",
    torch.add: "+",
    torch.sub: "-",
    torch.mul: "*",
}


def traced(
    function: Callable[..., Any], name: str, inputs: tuple[Expression, ...]
) -> list[tuple[str, Expression]]:
    """Assignments (variable, expression) whose last one is the function's result.

    The function is called with symbols and must not look at values or hold weights of its own;
    `InputError` names the operation otherwise.
    """
    graph = fx.Graph()
    tracer = fx.proxy.GraphAppendingTracer(graph)
    symbols = [fx.Proxy(graph.placeholder(f"input_{i}"), tracer) for i in range(len(inputs))]
    try:
        result = function(*symbols)
        if not isinstance(result, fx.Proxy):
            raise TypeError(f"it returns a {type(result).__name__}")
        values: dict[fx.Node, Expression] = {
            symbol.node: item for symbol, item in zip(symbols, inputs, strict=True)
        }
        found: list[tuple[str, Expression]] = []
        for node in graph.nodes:
            if node.op == "placeholder":
                continue
            found.append((f"t{len(found) + 1}", _expression(node, values)))
            values[node] = Text(found[-1][0])
            if node is result.node:
                return found
        raise TypeError("it returns its input")
    except (TypeError, NotImplementedError, fx.proxy.TraceError) as error:
        raise InputError(f"{name}: cannot be written as code: {error}") from error


def _expression(node: fx.Node, values: dict[fx.Node, Expression]) -> Expression:
    target: Any = node.target
    first = flat(_argument(node.args[0], values)) if node.args else ""
    if target is getattr:
        return Text(f"{first}.{node.args[1]}")
    if target is operator.getitem:
        return Text(f"{first}[{_index(node.args[1], values)}]")
    args = [_argument(item, values) for item in node.args]
    kwargs = {key: _argument(item, values) for key, item in node.kwargs.items()}
    if node.op == "call_method":
        return call(f"{first}.{target}", *args[1:], **kwargs)
    simple = not kwargs and len(args) == 2 and not any(isinstance(a, Bracket) for a in args)
    if target in _INFIX and simple:
        return Text(f"{flat(args[0])} {_INFIX[target]} {flat(args[1])}")
    return call(_qualified(target), *args, **kwargs)


def _argument(value: Any, values: dict[fx.Node, Expression]) -> Expression:
    if isinstance(value, fx.Node):
        return values[value]
    if isinstance(value, list | tuple):
        of = list if isinstance(value, list) else tuple
        return sequence([_argument(item, values) for item in value], of=of)
    return literal(value)


def _index(value: Any, values: dict[fx.Node, Expression]) -> str:
    """What stands between the brackets of `x[...]`, slices included."""
    if isinstance(value, tuple):
        return ", ".join(_index(item, values) for item in value)
    if isinstance(value, slice):
        low, high, step = (
            "" if part is None else _index(part, values)
            for part in (value.start, value.stop, value.step)
        )
        return f"{low}:{high}" + (f":{step}" if step else "")
    return "..." if value is ... else flat(_argument(value, values))


def _qualified(target: Any) -> str:
    """The name under which a program that imports torch and torch.nn reaches a function."""
    if isinstance(target, torch._ops.OpOverload):
        return f"torch.ops.{target}"
    name = getattr(target, "__name__", "")
    for home, prefix in ((torch, "torch"), (torch.nn.functional, "nn.functional")):
        if getattr(home, name, None) is target:
            return f"{prefix}.{name}"
    raise TypeError(f"it calls {target!r}")
