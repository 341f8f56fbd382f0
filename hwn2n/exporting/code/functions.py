"""Calls of aten operators as Python, by their usual spelling where there is one."""

from __future__ import annotations

from typing import Any

from hwn2n.exporting.code.names import identifier
from hwn2n.exporting.code.syntax import Expression, Text, call, flat, literal, sequence
from hwn2n.network.architecture import Operation
from hwn2n.network.operators.opaque import decode, resolve

INFIX = {
    "size.add": "+",
    "size.sub": "-",
    "size.mul": "*",
    "size.floordiv": "//",
    "aten.add.Tensor": "+",
    "aten.sub.Tensor": "-",
    "aten.mul.Tensor": "*",
    "aten.div.Tensor": "/",
    "aten.matmul.default": "@",
}

METHODS = {
    f"aten.{name}.{overload}": name
    for name, overload in (
        ("chunk", "default"),
        ("clone", "default"),
        ("contiguous", "default"),
        ("expand", "default"),
        ("permute", "default"),
        ("reshape", "default"),
        ("roll", "default"),
        ("softmax", "int"),
        ("split", "Tensor"),
        ("squeeze", "dim"),
        ("transpose", "int"),
        ("unbind", "int"),
        ("unsqueeze", "default"),
        ("view", "default"),
    )
}
"""Operators that are the tensor's method of the same arguments."""


def function_call(op: Operation, inputs: tuple[Expression, ...]) -> Expression:
    """The expression that an operation of kind `function` computes.

    Raises InputError for operators and values that an architecture may not name.
    """
    target = op.config["target"]
    resolve(target)  # nothing else may reach the file, whoever wrote the architecture
    device = _device(op, inputs)
    args = [_argument(value, inputs, device) for value in op.config["args"]]
    kwargs = {
        identifier(name): _argument(value, inputs, device)
        for name, value in op.config["kwargs"].items()
    }
    plain = not kwargs and len(args) == 2
    if target == "getitem" and plain:
        return Text(f"{flat(args[0])}[{flat(args[1])}]")
    if target == "aten.sym_size.int" and plain:
        return Text(f"{flat(args[0])}.shape[{flat(args[1])}]")
    if target in INFIX and plain and all(isinstance(arg, Text) for arg in args):
        return Text(f"{flat(args[0])} {INFIX[target]} {flat(args[1])}")
    if target in METHODS and args and isinstance(args[0], Text):
        return call(f"{args[0].text}.{METHODS[target]}", *args[1:], **kwargs)
    return call(f"torch.ops.{target}", *args, **kwargs)


def _argument(value: Any, inputs: tuple[Expression, ...], device: Expression) -> Expression:
    """An argument as `opaque.encode` wrote it."""
    if isinstance(value, list):
        return sequence([_argument(item, inputs, device) for item in value])
    if isinstance(value, dict) and "ref" in value:
        return inputs[value["ref"]]
    if isinstance(value, dict) and "torch" not in value:
        return device
    return literal(decode(value, ()))


def _device(op: Operation, inputs: tuple[Expression, ...]) -> Expression:
    """The device of the first tensor that comes in, so that the network can be moved."""
    for shape, item in zip(op.config["input_shapes"], inputs, strict=True):
        if shape is not None:
            return Text(f"{flat(item)}.device")
    return literal(None)
