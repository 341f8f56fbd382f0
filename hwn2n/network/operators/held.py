"""Tensors of the teacher that its forward pass uses directly: parameters, buffers, constants."""

from __future__ import annotations

import torch
from torch import nn

from hwn2n.network.architecture import Operation
from hwn2n.network.layout import Layout
from hwn2n.network.operators.base import Operator, Shape, shaped
from hwn2n.network.operators.opaque import torch_value
from hwn2n.network.variables import ChannelVariables


class Constant(Operator):
    """A parameter, buffer or constant tensor that the forward pass uses directly.

    Its channels, if it has any (a scale for each channel, a class token, an embedding of
    positions), follow those that they meet. `config["of"]` is the key of a tensor that another
    operation owns: it is held once, and used by both.
    """

    has_weights = True

    def relate(
        self,
        op: Operation,
        inputs: list[Layout | None],
        shapes: list[Shape],
        variables: ChannelVariables,
    ) -> Layout | None:
        axis = held_axis(op.config["shape"])
        if axis is None or "of" in op.config:
            return None
        return Layout(axis, (variables.fresh(op.name, op.config["shape"][axis]),))

    def resize(self, op: Operation, inputs: list[Shape], width: int | None) -> Operation:
        axis = held_axis(op.config["shape"])
        if width is None or axis is None or op.config["shape"][axis] == width:
            return op
        shape = list(op.config["shape"])
        shape[axis] = width
        return shaped(op.with_config(shape=shape), tuple(shape))

    def build(self, op: Operation) -> nn.Module:
        return Held(op.config["shape"], op.config["dtype"], op.config["trainable"])

    def parameters(self, op: Operation) -> int:
        if "of" in op.config or not op.config["trainable"]:
            return 0
        return torch.Size(op.config["shape"]).numel()

    def buffers_bytes(self, op: Operation) -> int:
        if "of" in op.config or op.config["trainable"]:
            return 0
        dtype: torch.dtype = torch_value(op.config["dtype"])
        return torch.Size(op.config["shape"]).numel() * dtype.itemsize


def held_axis(shape: list[int]) -> int | None:
    """Where a tensor that is added to others or scales them has its channels, or None.

    Its only dimension that is longer than one; of several, the last of (tokens, channels) and of
    (1, tokens, channels), the second of (1, channels, height, width). A wrong guess does no harm:
    it freezes.
    """
    longer = [i for i, length in enumerate(shape) if length > 1]
    if len(longer) == 1:
        return longer[0]
    if len(longer) == len(shape) == 2:
        return 1
    if not longer or shape[0] != 1:
        return None
    return {3: 2, 4: 1}.get(len(shape))


class Held(nn.Module):
    """Returns the tensor that it holds as `weight` (loaded from the teacher's state)."""

    def __init__(self, shape: list[int], dtype: str, trainable: bool) -> None:
        super().__init__()
        tensor = torch.zeros(shape, dtype=torch_value(dtype))
        self.weight: torch.Tensor
        if trainable:
            self.weight = nn.Parameter(tensor)
        else:
            self.register_buffer("weight", tensor)

    def forward(self) -> torch.Tensor:
        """The tensor held."""
        return self.weight
