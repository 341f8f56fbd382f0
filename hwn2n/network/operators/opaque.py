"""Rules for what has no rule of its own: it runs as it is, and freezes the channels it touches."""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from hwn2n.errors import InputError
from hwn2n.network.architecture import IllegalArchitectureError, Operation
from hwn2n.network.layout import Layout
from hwn2n.network.operators.aten import find_operator
from hwn2n.network.operators.base import Operator, Shape, channel_axis, freeze_all, shaped
from hwn2n.network.operators.work import FLOPS
from hwn2n.network.variables import ChannelVariables

SIZE_OF_BATCH = "aten.sym_size.int"
"""The operator by which a forward pass asks for its batch size; all other sizes are constants."""

NOT_ATEN: dict[str, Callable[..., Any]] = {
    "getitem": operator.getitem,
    "size.add": operator.add,
    "size.sub": operator.sub,
    "size.mul": operator.mul,
    "size.floordiv": operator.floordiv,
}
"""What a graph calls beside aten operators: access to tuples, and arithmetic on sizes."""

NO_VALUES = frozenset(
    {
        SIZE_OF_BATCH,
        *(f"aten.{name}.default" for name in ("new_zeros", "new_ones", "new_empty", "new_full")),
    }
)
"""Operators that read nothing but sizes, precision or device: no channel depends on them."""

_TRACE_BATCH = 2  # any batch that is not 1, which torch would treat as a special case


class Function(Operator):
    """An aten operator without a rule: called with the teacher's own arguments.

    `config["target"]` is the operator's name, `config["args"]` and `config["kwargs"]` its
    arguments, in which `{"ref": i}` stands for input i; `config["input_shapes"]` the shapes that
    it reads in the teacher, None for what is no tensor. Its input's and output's channels are
    frozen, unless it works on each element by itself (`config["elementwise"]`), or on each
    channel: `config["axes"]` then names for each dimension of its first input the one of the
    output along which it does so, or None. `config["reduces"]` says that of a dimension without
    one, however long it is, a single value remains (a mean over channels).
    """

    def relate(
        self,
        op: Operation,
        inputs: list[Layout | None],
        shapes: list[Shape],
        variables: ChannelVariables,
    ) -> Layout | None:
        if op.config.get("elementwise"):
            return inputs[0]
        target = op.config["target"]
        if target in NO_VALUES:
            return None
        reason = f"{op.name}: no rule for {target}"
        axes, layout = op.config.get("axes"), inputs[0] if inputs else None
        if axes is not None and layout is not None:
            freeze_all(inputs[1:], variables, reason)
            if axes[layout.axis] is not None:
                return replace(layout, axis=axes[layout.axis])
            if op.config.get("reduces"):
                return None  # whatever their number: of the channels one value remains
            reason = f"{op.name} ({target}) works across channels"
        freeze_all(inputs, variables, reason)
        if op.shape is None or len(op.shape) not in (2, 3, 4):
            return None
        axis = channel_axis(op.shape)
        if not inputs or op.shape[axis] < 0:
            return None
        return Layout(axis, (variables.fixed(op.shape[axis], reason),))

    def resize(self, op: Operation, inputs: list[Shape], width: int | None) -> Operation:
        if op.config.get("elementwise"):
            return shaped(op, inputs[0])
        teachers = op.config["input_shapes"]
        same = all(s == tuple(t) for s, t in zip(inputs, teachers, strict=True) if t is not None)
        if same or op.config["target"] in NO_VALUES:
            return op
        shape = op.shape
        if passed := self._passed(op, inputs):
            return passed
        if shape is None or None in teachers:
            # Tuples and sizes: what comes out of them is known for the teacher's shapes only.
            raise IllegalArchitectureError(
                f"{op.name} ({op.config['target']}) must read shapes "
                f"{[t and t[1:] for t in teachers]}, but would read "
                f"{[list(s[1:]) for s in inputs]}"
            )
        made = self._computed(op, inputs)
        if "axes" in op.config:
            sizes = [b if b < 0 else m for b, m in zip(shape, made, strict=True)]
            op = op.with_config(input_shapes=[list(s) for s in inputs])
            return shaped(op, tuple(sizes))
        if made != tuple(_sized(shape)):
            raise IllegalArchitectureError(
                f"{op.name} ({op.config['target']}) must give shape {list(shape[1:])}, "
                f"but would give {list(made[1:])}"
            )
        return op

    def _passed(self, op: Operation, inputs: list[Shape]) -> Operation | None:
        """The operation where only dimensions that pass through it have changed, else None."""
        axes, (before, *others) = op.config.get("axes"), op.config["input_shapes"]
        if axes is None or op.shape is None or before is None or len(before) != len(inputs[0]):
            return None
        if any(t is not None and list(s) != t for s, t in zip(inputs[1:], others, strict=True)):
            return None
        sizes = list(op.shape)
        for axis, old, new in zip(axes, before, inputs[0], strict=True):
            if old != new and axis is None:
                return None
            if old != new:
                sizes[axis] = new
        return shaped(
            op.with_config(input_shapes=[list(inputs[0]), *others]),
            tuple(sizes),
        )

    def _computed(self, op: Operation, inputs: list[Shape]) -> tuple[int, ...]:
        """The output's shape for a batch of `_TRACE_BATCH`."""
        metas = [torch.empty(_sized(shape), device="meta") for shape in inputs]
        try:
            return tuple(self.build(op)(*metas).shape)
        except (RuntimeError, IndexError, ValueError, TypeError) as error:
            text = str(error).split("\n")[0]
            raise IllegalArchitectureError(f"{op.name} cannot be computed: {text}") from error

    def flops(self, op: Operation, inputs: list[Shape]) -> int:
        counted = FLOPS.get(op.config["target"])
        return counted(op, inputs) if counted else 0

    def build(self, op: Operation) -> Callable[..., Any]:
        cfg = op.config
        target = resolve(cfg["target"])

        def call(*tensors: Any) -> Any:
            return target(
                *decode(cfg["args"], tensors),
                **{key: decode(value, tensors) for key, value in cfg["kwargs"].items()},
            )

        return call


def _sized(shape: Shape) -> list[int]:
    return [-d * _TRACE_BATCH if d < 0 else d for d in shape]


def resolve(target: str) -> Callable[..., Any]:
    """The operator of an architecture file's name.

    Raises InputError for all but tuple access, arithmetic on sizes and those aten operators that
    only compute: a file must not reach the disk, a shell or memory.
    """
    if target in NOT_ATEN:
        return NOT_ATEN[target]
    namespace, _, rest = target.partition(".")
    name, _, overload = rest.partition(".")
    if namespace != "aten" or not overload or "." in overload:
        raise InputError(f"an architecture may call aten operators only, but got {target[:80]!r}")
    try:
        return find_operator(name, overload)
    except PermissionError:
        raise InputError(
            f"an architecture may call operators that only compute, but got {target!r}"
        ) from None
    except LookupError:
        raise InputError(f"torch {torch.__version__} has no operator {target!r}") from None


def encode(value: Any, refs: dict[Any, int]) -> Any:
    """A graph argument as JSON; graph nodes become `{"ref": i}` through `refs`.

    Raises InputError for what JSON cannot hold.
    """
    if isinstance(value, list | tuple):
        return [encode(item, refs) for item in value]
    if isinstance(value, torch.dtype | torch.memory_format | torch.layout):
        return {"torch": str(value).removeprefix("torch.")}
    if isinstance(value, torch.device):
        return {"device": "same"}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if value not in refs:
        raise InputError(
            f"arguments of operators must be tensors, numbers or texts, but got {value!r}"
        )
    return {"ref": refs[value]}


def decode(value: Any, tensors: tuple[Any, ...]) -> Any:
    """The inverse of `encode`, with the values of the references."""
    if isinstance(value, list):
        return [decode(item, tensors) for item in value]
    if isinstance(value, dict):
        if "ref" in value:
            return tensors[value["ref"]]
        if "torch" in value:
            return torch_value(value["torch"])
        return next((t.device for t in tensors if isinstance(t, torch.Tensor)), None)
    return value


def torch_value(name: str) -> Any:
    """A dtype, layout or memory format by its name in torch, and nothing else that torch holds."""
    value = getattr(torch, str(name), None)
    if not isinstance(value, torch.dtype | torch.memory_format | torch.layout):
        raise InputError(
            f"an architecture may name dtypes, layouts and memory formats, but got {name!r}"
        )
    return value
