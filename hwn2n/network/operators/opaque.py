"""Rules for what has no rule of its own: it runs as it is, and freezes the channels it touches."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from hwn2n.errors import InputError
from hwn2n.network.architecture import IllegalArchitectureError, Operation
from hwn2n.network.operators.aten import find_operator
from hwn2n.network.operators.base import Operator, Shape, channel_axis, freeze_all, shaped
from hwn2n.network.variables import ChannelVariables, Layout

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

_TRACE_BATCH = 2  # any batch that is not 1, which torch would treat as a special case


class Function(Operator):
    """An aten operator without a rule: called with the teacher's own arguments.

    `config["target"]` is the operator's name, `config["args"]` and `config["kwargs"]` its
    arguments, in which `{"ref": i}` stands for input i; `config["input_shapes"]` the shapes that
    it reads in the teacher, None for what is no tensor. Its input's and output's channels are
    frozen, unless it works on each element by itself (`config["elementwise"]`).
    """

    def relate(
        self, op: Operation, inputs: list[Layout | None], variables: ChannelVariables
    ) -> Layout | None:
        if op.config.get("elementwise"):
            return inputs[0]
        if op.config["target"] == SIZE_OF_BATCH:
            return None
        reason = f"{op.name}: no rule for {op.config['target']}"
        freeze_all(inputs, variables, reason)
        if op.shape is None or len(op.shape) not in (2, 3, 4):
            return None
        axis = channel_axis(op.shape)
        return Layout(axis, (variables.fixed(op.shape[axis], reason),))

    def resize(self, op: Operation, inputs: list[Shape], width: int | None) -> Operation:
        if op.config.get("elementwise"):
            return shaped(op, inputs[0])
        teachers = op.config["input_shapes"]
        if op.config["target"] == SIZE_OF_BATCH:
            return op
        if op.shape is None or None in teachers:
            # Tuples and sizes: what comes out of them is known for the teacher's shapes only.
            if any(s != tuple(t) for s, t in zip(inputs, teachers, strict=True) if t is not None):
                raise IllegalArchitectureError(
                    f"{op.name} ({op.config['target']}) must read shapes "
                    f"{[t and t[1:] for t in teachers]}, but would read "
                    f"{[list(s[1:]) for s in inputs]}"
                )
            return op
        metas = [
            torch.empty([_TRACE_BATCH if d == -1 else d for d in s], device="meta") for s in inputs
        ]
        try:
            made = self.build(op)(*metas)
        except (RuntimeError, IndexError, ValueError, TypeError) as error:
            text = str(error).split("\n")[0]
            raise IllegalArchitectureError(f"{op.name} cannot be computed: {text}") from error
        if tuple(made.shape[1:]) != op.shape[1:]:
            raise IllegalArchitectureError(
                f"{op.name} ({op.config['target']}) must give shape {list(op.shape[1:])}, "
                f"but would give {list(made.shape[1:])}"
            )
        return op

    def build(self, op: Operation) -> Callable[..., Any]:
        cfg = op.config
        target = resolve(cfg["target"])

        def call(*tensors: Any) -> Any:
            return target(
                *decode(cfg["args"], tensors),
                **{key: decode(value, tensors) for key, value in cfg["kwargs"].items()},
            )

        return call


class Constant(Operator):
    """A parameter, buffer or constant tensor that the forward pass uses directly."""

    has_weights = True

    def relate(
        self, op: Operation, inputs: list[Layout | None], variables: ChannelVariables
    ) -> Layout | None:
        return None

    def resize(self, op: Operation, inputs: list[Shape], width: int | None) -> Operation:
        return op

    def build(self, op: Operation) -> nn.Module:
        return Held(op.config["shape"], op.config["dtype"], op.config["trainable"])

    def parameters(self, op: Operation) -> int:
        return torch.Size(op.config["shape"]).numel() if op.config["trainable"] else 0

    def buffers_bytes(self, op: Operation) -> int:
        if op.config["trainable"]:
            return 0
        dtype: torch.dtype = _torch_value(op.config["dtype"])
        return torch.Size(op.config["shape"]).numel() * dtype.itemsize


class Held(nn.Module):
    """Returns the tensor that it holds as `weight` (loaded from the teacher's state)."""

    def __init__(self, shape: list[int], dtype: str, trainable: bool) -> None:
        super().__init__()
        tensor = torch.zeros(shape, dtype=_torch_value(dtype))
        self.weight: torch.Tensor
        if trainable:
            self.weight = nn.Parameter(tensor)
        else:
            self.register_buffer("weight", tensor)

    def forward(self) -> torch.Tensor:
        """The tensor held."""
        return self.weight


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
            return _torch_value(value["torch"])
        return next((t.device for t in tensors if isinstance(t, torch.Tensor)), None)
    return value


def _torch_value(name: str) -> Any:
    """A dtype, layout or memory format by its name in torch, and nothing else that torch holds."""
    value = getattr(torch, str(name), None)
    if not isinstance(value, torch.dtype | torch.memory_format | torch.layout):
        raise InputError(
            f"an architecture may name dtypes, layouts and memory formats, but got {name!r}"
        )
    return value
