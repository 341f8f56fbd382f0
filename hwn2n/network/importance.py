"""Which of a layer's channels matter: rankings of the units of all channel groups of a network.

A channel is worth what its readers get from it: the variance of what it sends, times the squares of
the weights that read it, of each reader in shares of the mean channel's. Behind a batch
normalisation the variance needs no data: the channel is about normal with mean beta and deviation
gamma, and an activation after it is applied to that. A mean alone is worth nothing, for the next
normalisation takes it away. The norm of the filter before a normalisation says nothing either,
for that divides by it; only where no normalisation reads a channel its filters stand in. What
is tied is summed over all that it is.

It goes together from known parts: gamma alone is the criterion of Liu et al. 2017 (arXiv
1708.06519), and to count all weights that go with a channel is that of Fang et al. 2023 (arXiv
2301.12900). `by_filters` is the usual one for one layer (Li et al. 2017, arXiv 1608.08710), to
compare with (benchmarks/inheriting.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from hwn2n.network.architecture import Operation
from hwn2n.network.capture import Captured
from hwn2n.network.channels import ChannelGroup, ChannelMap
from hwn2n.network.layout import Layout
from hwn2n.network.operators import rule
from hwn2n.network.operators.held import held_axis
from hwn2n.network.order import arrange

Ranking = Callable[[Captured, ChannelMap], dict[str, list[int]]]
"""For each group the units from the most to the least important; ties in the teacher's order."""

_TINY = 1e-12
_POINTS = 64
"""At which a normal distribution is looked at (Gauss-Hermite quadrature)."""


def by_contribution(teacher: Captured, channels: ChannelMap) -> dict[str, list[int]]:
    """By what readers get of each unit, see above."""
    sent, read = ({name: _zeros(g) for name, g in channels.groups.items()} for _ in range(2))
    normalised: set[str] = set()
    readers: dict[str, list[Operation]] = {}
    for op in teacher.architecture:
        for name in op.inputs:
            readers.setdefault(name, []).append(op)
    for op in teacher.architecture:
        weight = teacher.weights.get(f"{op.name}.weight")
        if weight is None or not op.inputs:
            continue
        layout = channels.layouts[op.inputs[0]]
        if layout is None:
            continue
        if op.kind == "batch_norm":
            normalised |= _scatter(
                _variance(teacher, op, readers.get(op.name, [])), layout, channels, sent
            )
        elif (columns := _columns(op, weight)) is not None:
            _scatter(columns / columns.mean().clamp_min(_TINY), layout, channels, read)
    ranked = {}
    for name, group in channels.groups.items():
        energy = sent[name]
        if name not in normalised:
            energy = _filters(teacher, channels, group, torch.square)
        ranked[name] = _ranked(energy * read[name] if bool(read[name].any()) else energy)
    return ranked


def by_filters(teacher: Captured, channels: ChannelMap) -> dict[str, list[int]]:
    """By the summed L1 norm of the filters that make a unit, each layer's divided by their mean so
    that layers of different fan-in count alike."""
    return {
        name: _ranked(_filters(teacher, channels, group, torch.abs))
        for name, group in channels.groups.items()
    }


def _zeros(group: ChannelGroup) -> Tensor:
    return torch.zeros(group.units, dtype=torch.float64)


def _ranked(score: Tensor) -> list[int]:
    return torch.argsort(score, descending=True, stable=True).tolist()


def _variance(teacher: Captured, norm: Operation, readers: Sequence[Operation]) -> Tensor:
    """Of what each channel of a batch normalisation sends, behind an activation if only one reads
    it."""
    gamma = teacher.weights[f"{norm.name}.weight"].double()
    if len(readers) != 1 or readers[0].kind != "activation":
        return gamma.square()
    beta = teacher.weights.get(f"{norm.name}.bias")
    points, shares = np.polynomial.hermite_e.hermegauss(_POINTS)
    inputs = gamma[:, None].abs() * torch.tensor(points)
    if beta is not None:
        inputs = inputs + beta.double()[:, None]
    with torch.no_grad():
        outputs = rule(readers[0]).build(readers[0])(inputs)
    weights = torch.tensor(shares) / shares.sum()
    mean = (outputs * weights).sum(1, keepdim=True)
    return ((outputs - mean).square() * weights).sum(1)


def _columns(op: Operation, weight: Tensor) -> Tensor | None:
    """The summed squares of the weights that read each place of an operation's input; None where
    it does not mix what it reads."""
    square = weight.double().square()
    if op.kind == "conv2d" and op.config["groups"] == 1:
        return square.sum((0, 2, 3))
    if op.kind == "conv_transpose2d" and op.config["groups"] == 1:
        return square.sum((1, 2, 3))
    return square.sum(0) if op.kind == "linear" else None


def _scatter(
    values: Tensor, layout: Layout, channels: ChannelMap, into: dict[str, Tensor]
) -> set[str]:
    """Add the values of the places along a layout to the units that stand there; the groups that
    got any. After a flatten each channel has several places in a row."""

    def of(_: int, variable: int) -> list[tuple[str, int] | None]:
        width, group = channels.width(variable), channels.group_of(variable)
        if group is None:
            return [None] * width
        structure = channels.structure(variable)
        units = width // structure.per_unit
        return [(group.name, c // structure.block % units) for c in range(width)]

    places = arrange(layout.channels, of)
    if not places or len(values) % len(places):
        return set()
    sums = values.reshape(len(places), -1).sum(1)
    seen = set()
    for place, value in zip(places, sums, strict=True):
        if place is not None and place[1] < len(into[place[0]]):
            into[place[0]][place[1]] += value
            seen.add(place[0])
    return seen


def _filters(
    teacher: Captured,
    channels: ChannelMap,
    group: ChannelGroup,
    of: Callable[[Tensor], Tensor],
) -> Tensor:
    """(units,): what `of` makes of the weights in the filters that make each unit, summed, of each
    producer in shares of its mean unit's."""
    score, operations = _zeros(group), teacher.architecture.by_name()
    for producer in group.producers:
        weight = teacher.weights.get(f"{producer}.weight")
        layout = channels.layouts[producer]
        if weight is None:
            continue
        assert layout is not None
        filters = _by_output(operations[producer], of(weight.double()))
        structure = channels.structure(layout.parts[0])
        units = filters.shape[0] // structure.per_unit
        sums = filters.reshape(filters.shape[0], -1)[: units * structure.per_unit].sum(1)
        norms = sums.reshape(structure.sections, units, structure.block).sum((0, 2))
        score += norms[: len(score)] / norms.mean().clamp_min(_TINY)
    return score


def _by_output(op: Operation, weight: Tensor) -> Tensor:
    """A weight with the channels that it makes as its first dimension."""
    if op.kind == "constant":
        return weight.movedim(held_axis(list(weight.shape)) or 0, 0)
    if op.kind != "conv_transpose2d":
        return weight
    # (in, out of one group, ...): the inputs of one group after those of another
    return weight.unflatten(0, (op.config["groups"], -1)).transpose(1, 2).flatten(0, 1)
