"""How each kind of operation looks as code: one small function for each, and the table.

A kind that is not in the table is printed by `generic`: a module of torch's as its constructor,
anything else as the torch calls that it makes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
from torch import nn

from hwn2n.exporting.code.classes import is_standardised, standardised
from hwn2n.exporting.code.functions import function_call
from hwn2n.exporting.code.modules import constructor, is_plain
from hwn2n.exporting.code.names import identifier
from hwn2n.exporting.code.syntax import Bracket, Expression, Text, call, flat, literal, sequence
from hwn2n.exporting.code.traced import traced
from hwn2n.network.architecture import Operation
from hwn2n.network.operators import rule
from hwn2n.network.operators.opaque import decode

Inputs = tuple[Expression, ...]


@dataclass(frozen=True, kw_only=True)
class Printed:
    """An operation as code.

    `layer`: what `__init__` assigns to `self.ATTRIBUTE`, None where there is nothing to keep;
    `buffer` says that it is a tensor to register and not a module or parameter. `steps` are
    assignments that come first in `forward`, `value` the expression of the result; `inline` says
    that the readers may use the expression itself.
    """

    value: Expression
    layer: Expression | None = None
    buffer: bool = False
    steps: tuple[tuple[str, Expression], ...] = field(default=())
    inline: bool = False


Printer = Callable[[Operation, str, Inputs], Printed]
"""Called with the operation, its attribute, and the expressions of its inputs."""


def layer(op: Operation, attribute: str, inputs: Inputs) -> Printed:
    """A module of torch's, with its hyper-parameters."""
    built = _build(op)
    assert isinstance(built, nn.Module)
    return Printed(layer=constructor(built), value=call(f"self.{attribute}", *inputs))


def convolution(op: Operation, attribute: str, inputs: Inputs) -> Printed:
    """`nn.Conv2d`, or a class of the program's own where filters are standardised."""
    if not is_standardised(op):
        return layer(op, attribute, inputs)
    config = {key: value for key, value in op.config.items() if key != "standardised"}
    printed = layer(replace(op, config=config), attribute, inputs)
    assert isinstance(printed.layer, Bracket)
    return replace(printed, layer=standardised(op, printed.layer))


def infix(sign: str) -> Printer:
    """`a + b`."""

    def printer(op: Operation, attribute: str, inputs: Inputs) -> Printed:
        return Printed(value=Text(f" {sign} ".join(flat(item) for item in inputs)))

    return printer


def concat(op: Operation, attribute: str, inputs: Inputs) -> Printed:
    """`torch.cat((a, b), dim=1)`."""
    dim = literal(int(op.config["dim"]))
    return Printed(value=call("torch.cat", sequence(inputs, of=tuple), dim=dim))


def flatten(op: Operation, attribute: str, inputs: Inputs) -> Printed:
    """`torch.flatten(x, 1)`."""
    return Printed(value=call("torch.flatten", inputs[0], literal(1)))


def spatial_mean(op: Operation, attribute: str, inputs: Inputs) -> Printed:
    """`x.mean((2, 3))`."""
    keep = {"keepdim": literal(True)} if op.config["keepdim"] else {}
    return Printed(value=call(f"{flat(inputs[0])}.mean", literal((2, 3)), **keep))


def reshape(op: Operation, attribute: str, inputs: Inputs) -> Printed:
    """`x.reshape(-1, 8, 16)`; whatever is negative in the shape is the batch."""
    shape = [literal(size if size >= 0 else -1) for size in op.config["to"]]
    return Printed(value=call(f"{flat(inputs[0])}.reshape", *shape))


def permute(op: Operation, attribute: str, inputs: Inputs) -> Printed:
    """`x.permute(0, 2, 1)`."""
    dims = [literal(int(dim)) for dim in op.config["dims"]]
    return Printed(value=call(f"{flat(inputs[0])}.permute", *dims))


def channel_shuffle(op: Operation, attribute: str, inputs: Inputs) -> Printed:
    """The channels of each group in turn."""
    groups = int(op.config["groups"])
    text = f"{flat(inputs[0])}.unflatten(1, ({groups}, -1)).transpose(1, 2).flatten(1, 2)"
    return Printed(value=Text(text))


def cut(op: Operation, attribute: str, inputs: Inputs) -> Printed:
    """`x.narrow(1, 0, 8)`: dimension, first place, number of places."""
    cfg = op.config
    start, stop = (cfg["length"] * cfg[end] // cfg["sections"] for end in ("start", "stop"))
    numbers = (literal(int(number)) for number in (cfg["dim"], start, stop - start))
    return Printed(value=call(f"{flat(inputs[0])}.narrow", *numbers))


def constant(op: Operation, attribute: str, inputs: Inputs) -> Printed:
    """A parameter or a buffer of the network itself."""
    kind = decode({"torch": op.config["dtype"]}, ())
    shape = [literal(int(size)) for size in op.config["shape"]]
    of = {} if kind is torch.float32 else {"dtype": literal(kind)}
    tensor = call("torch.zeros", sequence(shape), **of)
    if op.config["trainable"]:
        tensor = call("nn.Parameter", tensor)
    return Printed(
        layer=tensor,
        buffer=not op.config["trainable"],
        value=Text(f"self.{attribute}"),
        inline=True,
    )


def function(op: Operation, attribute: str, inputs: Inputs) -> Printed:
    """An operator without a rule, called as itself."""
    return Printed(value=function_call(op, inputs))


def generic(op: Operation, attribute: str, inputs: Inputs) -> Printed:
    """Whatever the operation's rule builds."""
    built = _build(op)
    if is_plain(built):
        return layer(op, attribute, inputs)
    *steps, (_, value) = traced(built, op.name, inputs)
    return Printed(steps=tuple(steps), value=value)


PRINTERS: dict[str, Printer] = {
    "conv2d": convolution,
    "linear": layer,
    "conv_transpose2d": layer,
    "batch_norm": layer,
    "layer_norm": layer,
    "group_norm": layer,
    "activation": layer,
    "dropout": layer,
    "max_pool2d": layer,
    "avg_pool2d": layer,
    "adaptive_avg_pool2d": layer,
    "mean": spatial_mean,
    "flatten": flatten,
    "reshape": reshape,
    "permute": permute,
    "channel_shuffle": channel_shuffle,
    "cut": cut,
    "add": infix("+"),
    "sub": infix("-"),
    "mul": infix("*"),
    "div": infix("/"),
    "cat": concat,
    "function": function,
    "constant": constant,
}


def print_operation(op: Operation, attribute: str, inputs: Inputs) -> Printed:
    """The operation as code; a tied one calls the layer that it shares, whose `attribute` it is."""
    if "of" in op.config:  # another layer's weight, as it is
        tensor = str(op.config["of"]).rpartition(".")[2]
        return Printed(value=Text(f"self.{attribute}.{identifier(tensor)}"), inline=True)
    printed = PRINTERS.get(op.kind, generic)(op, attribute, inputs)
    if "tied_to" in op.config:
        return Printed(value=printed.value, steps=printed.steps)
    return printed


def _build(op: Operation) -> nn.Module | Callable[..., object]:
    with torch.device("meta"):
        return rule(op).build(op)
