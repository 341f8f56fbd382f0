"""One operation's weights, cut from the teacher's: chosen filters, chosen inputs, kernel centre."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hwn2n.network.architecture import Operation
from hwn2n.network.blank import state_shapes
from hwn2n.network.kept import NEW, Channels, Grid, Kept
from hwn2n.network.operators import rule


@dataclass(frozen=True)
class _Cut:
    """A teacher's tensor, and which of its rows (dimension 0) and columns (1) to take."""

    tensor: Tensor
    rows: Channels | None = None
    columns: Channels | None = None


def inherited(
    op: Operation, weights: dict[str, Tensor], kept: Kept, seed: int
) -> dict[str, Tensor]:
    """The state of the student's `op`, by key: the teacher's where it has any, fresh elsewhere.

    Fresh values (for channels marked `NEW`, and for shapes that the teacher's cannot be cut to)
    are torch's own initialisation from `seed`.
    """
    shapes = {key: torch.Size(shape) for key, shape in state_shapes(op).items()}
    state = {}
    fresh: dict[str, Tensor] = {}
    for key, shape in shapes.items():
        cut = PICKERS[op.kind](op, weights[f"{op.name}.{key}"], shape, kept)
        if not _covers(cut, shape) and not fresh:
            fresh = fresh_state(op, seed)
        state[f"{op.name}.{key}"] = _taken(cut, shape, fresh.get(key))
    return state


def fresh_state(op: Operation, seed: int) -> dict[str, Tensor]:
    """The operation's state with torch's own initialisation; the global generator is left."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return _state(op)


def _state(op: Operation) -> dict[str, Tensor]:
    built = rule(op).build(op)
    return dict(built.state_dict()) if isinstance(built, nn.Module) else {}


def _conv2d(op: Operation, old: Tensor, shape: torch.Size, kept: Kept) -> _Cut:
    rows, columns = _index(kept.made), _index(kept.read)
    if op.config["depthwise"]:
        rows, columns = columns, None  # one filter for each channel that is read
    if old.dim() == 1 or ("standardised" in op.config and old[0].numel() == 1):
        return _Cut(old, rows)  # biases and gains
    if kept.read is not None and old.shape[1] < kept.read.whole:
        columns = None  # grouped: each filter that stays reads the whole of its own group
    top, left = ((old.shape[2 + i] - shape[2 + i]) // 2 for i in range(2))
    return _Cut(old[:, :, top : top + shape[2], left : left + shape[3]], rows, columns)


def _linear(op: Operation, old: Tensor, shape: torch.Size, kept: Kept) -> _Cut:
    rows = _index(kept.made)
    if old.dim() == 1 or kept.read is None:
        return _Cut(old, rows)
    positions, rest = divmod(shape[1], len(kept.read))
    if rest:
        return _Cut(old)  # a removal left other places than can be followed
    grid = _resampled(old.reshape(old.shape[0], kept.read.whole, -1), positions, kept.grids)
    if grid.shape[2] != positions:
        return _Cut(old)
    return _Cut(grid.flatten(1), rows, _index(kept.read, positions))


def _norm(op: Operation, old: Tensor, shape: torch.Size, kept: Kept) -> _Cut:
    if old.dim() == 0 or kept.read is None:
        return _Cut(old)
    positions = shape[0] // len(kept.read)
    if positions != old.shape[0] // kept.read.whole:
        return _Cut(old)
    return _Cut(old, _index(kept.read, positions))


def _conv_transpose2d(op: Operation, old: Tensor, shape: torch.Size, kept: Kept) -> _Cut:
    if old.dim() == 1 or op.config["groups"] > 1:
        return _Cut(old, _index(kept.made) if op.config["groups"] == 1 else None)
    return _Cut(old, _index(kept.read), _index(kept.made))


PICKERS: dict[str, Callable[[Operation, Tensor, torch.Size, Kept], _Cut]] = {
    "conv2d": _conv2d,
    "linear": _linear,
    "conv_transpose2d": _conv_transpose2d,
    "batch_norm": _norm,
    "layer_norm": _norm,
    "group_norm": _norm,
}
"""How to cut the tensors of each kind of operation with weights."""


def _index(channels: Channels | None, positions: int = 1) -> Channels | None:
    """The places of channels that have `positions` consecutive places each; NEW stays NEW."""
    if channels is None or channels.all:
        return None
    if positions == 1:
        return channels
    places = [
        NEW if c == NEW else c * positions + i for c in channels.list for i in range(positions)
    ]
    return Channels(places, channels.whole * positions)


def _cut_shape(cut: _Cut) -> list[int]:
    shape = list(cut.tensor.shape)
    for dim, channels in enumerate((cut.rows, cut.columns)):
        if channels is not None:
            shape[dim] = len(channels)
    return shape


def _covers(cut: _Cut, shape: torch.Size) -> bool:
    """Whether the cut gives every value of a tensor of that shape."""
    new = any(channels is not None and channels.new for channels in (cut.rows, cut.columns))
    return not new and _cut_shape(cut) == list(shape)


def _taken(cut: _Cut, shape: torch.Size, fresh: Tensor | None) -> Tensor:
    """The cut as a tensor of its own; rows and columns that are NEW come from `fresh`."""
    if fresh is not None and _cut_shape(cut) != list(shape):
        return fresh
    value = cut.tensor
    for dim, channels in enumerate((cut.rows, cut.columns)):
        if channels is not None:
            index = channels.index
            value = value.index_select(dim, index.clamp_min(0) if channels.new else index)
    if value.data_ptr() == cut.tensor.data_ptr() or not value.is_contiguous():
        value = value.clone(memory_format=torch.contiguous_format)
    if fresh is not None:
        for dim, channels in enumerate((cut.rows, cut.columns)):
            if channels is not None and channels.new:
                along = [-1 if d == dim else 1 for d in range(value.dim())]
                value = torch.where((channels.index == NEW).view(along), fresh, value)
    return value


def _resampled(weight: Tensor, positions: int, grids: tuple[Grid, Grid] | None) -> Tensor:
    """(out, C, positions of the teacher) on the student's grid, each channel's sum unchanged.

    A removed pooling layer leaves a larger image to the classifier. What is flattened from no
    image is left as it is, and its reader starts fresh.
    """
    if weight.shape[2] == positions or grids is None:
        return weight
    before, after = grids
    if (math.prod(before), math.prod(after)) != (weight.shape[2], positions):
        return weight
    grid = weight.reshape(*weight.shape[:2], *before)
    grid = F.interpolate(grid, size=after, mode="nearest")
    return grid.flatten(2) * (weight.shape[2] / positions)
