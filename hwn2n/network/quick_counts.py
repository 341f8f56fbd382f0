"""What students cost, many times faster than by planning each of them.

A policy that looks ahead asks for the costs of hundreds of students that differ in one number. So
what an operation becomes and costs is worked out once for each combination of the shapes it
reads, its width and its kernel; a student is then a walk over a table.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from hwn2n.network.architecture import (
    INPUT,
    Architecture,
    IllegalArchitectureError,
    Operation,
    owner,
)
from hwn2n.network.channels import ChannelMap
from hwn2n.network.counts import Counts, elements
from hwn2n.network.decision import Decision
from hwn2n.network.operators import Shape, rule
from hwn2n.network.resize import check_shared, with_kernel

Kernel = tuple[int, int]

_MOST_SIZES = 1 << 14
"""Of one operation, before its table is emptied: a bound on memory that searches do not reach."""


class _Fitted(NamedTuple):
    """An operation at certain sizes; `reason` says why there is none, or is None.

    `op`: itself, where others use its weights or it uses theirs.
    """

    shape: Shape
    params: int
    flops: int
    buffers: int
    elements: int
    reason: str | None
    op: Operation | None


_Table = dict[tuple[tuple[Shape, ...], int | None, Kernel | None], _Fitted]


class _Step(NamedTuple):
    """One operation of what a removal leaves.

    `reads`: where in the list of shapes its inputs are. `group`: of the channels that it makes
    itself; `width` of them at most, `per_unit` for each `step` of the group's width. `kernel`: its
    name, where its kernel can change. `shares`: the operation that owns its weights, where it or
    another uses them beside that one.
    """

    op: Operation
    reads: tuple[int, ...]
    group: str | None
    width: int | None
    step: int
    per_unit: int
    kernel: str | None
    shares: str | None
    table: _Table


@dataclass(frozen=True)
class _Program:
    """What a removal leaves, and where its logits are and of which shape they must be."""

    steps: tuple[_Step, ...]
    output: int
    name: str
    logits: Shape | None


class QuickCounts:
    """Counts of the students of one teacher, equal to those of `count(planner.plan(decision))`.

    `left(removed)` gives what a removal leaves, `input_shape` is that of the teacher. Decisions
    must fit what their removal leaves, as those of the stages do: `Planner.plan` checks names and
    ranges, this does not.
    """

    def __init__(
        self,
        left: Callable[[frozenset[str]], tuple[Architecture, ChannelMap]],
        input_shape: tuple[int, ...],
    ) -> None:
        self._left = left
        self._input_shape = input_shape
        self._program = lru_cache(maxsize=256)(self._compile)
        # A removal changes what an operation reads, and whether others use its weights, and
        # nothing else of it: one table for each.
        self._tables: dict[tuple[str, bool], _Table] = {}

    def count(self, decision: Decision) -> Counts:
        """Parameters, FLOPs and bytes; `IllegalArchitectureError` as `Planner.plan` raises it."""
        program = self._program(decision.removed)
        widths, kernels = decision.widths, decision.kernels
        shapes: list[Shape] = [(-1, *self._input_shape)]
        owners: dict[str, Operation] = {}
        params = flops = buffers = size = 0
        for op, reads, group, width, step, per_unit, kernel, shares, table in program.steps:
            inputs = tuple([shapes[i] for i in reads])
            if group is not None and group in widths:
                width = widths[group] // step * per_unit
            kernel_size = None if kernel is None else kernels.get(kernel)
            fitted = table.get((inputs, width, kernel_size))
            if fitted is None:
                if len(table) >= _MOST_SIZES:
                    table.clear()
                fitted = _fit(op, list(inputs), width, kernel_size, shares is not None)
                table[inputs, width, kernel_size] = fitted
            if fitted[5] is not None:
                raise IllegalArchitectureError(fitted[5])
            if shares is not None:
                _share(fitted, owners, shares)
            shapes.append(fitted[0])
            params += fitted[1]
            flops += fitted[2]
            buffers += fitted[3]
            size += fitted[4]
        if shapes[program.output] != program.logits:
            raise IllegalArchitectureError(
                f"{program.name} must give logits of shape {list(program.logits or ())[1:]}, "
                f"but would give {list(shapes[program.output][1:])}"
            )
        return Counts(params, flops, 4 * params + buffers, len(program.steps), size)

    def _compile(self, removed: frozenset[str]) -> _Program:
        architecture, channels = self._left(removed)
        place = {INPUT: 0} | {op.name: i for i, op in enumerate(architecture, start=1)}
        shared = {owner(op) for op in architecture if owner(op) != op.name}
        steps = []
        for op in architecture:
            group, layout = channels.own_group(op.name), channels.layouts[op.name]
            own = None if group is None or layout is None else channels.structure(layout.parts[0])
            steps.append(
                _Step(
                    op,
                    tuple(place[name] for name in op.inputs),
                    None if group is None else group.name,
                    channels.own_width(op.name, {}),
                    1 if group is None else group.step,
                    1 if own is None else own.per_unit,
                    op.name if rule(op).has_kernel else None,
                    owner(op) if owner(op) in shared else None,
                    self._tables.setdefault((op.name, owner(op) in shared), {}),
                )
            )
        logits = architecture.by_name()[architecture.output].shape
        return _Program(tuple(steps), place[architecture.output], architecture.output, logits)


def _share(fitted: _Fitted, owners: dict[str, Operation], name: str) -> None:
    """Keep the owner of weights, and check those that use them against it."""
    assert fitted.op is not None
    if fitted.op.name == name:
        owners[name] = fitted.op
    else:
        check_shared(fitted.op, owners[name])


def _fit(
    op: Operation, inputs: list[Shape], width: int | None, kernel: Kernel | None, shared: bool
) -> _Fitted:
    operator = rule(op)
    try:
        if kernel is not None:
            op = with_kernel(op, kernel)
        op = operator.resize(op, inputs, width)
    except IllegalArchitectureError as error:
        return _Fitted((), 0, 0, 0, 0, str(error), None)
    own = "tied_to" not in op.config
    return _Fitted(
        op.shape or (),
        operator.parameters(op) if own else 0,
        operator.flops(op, inputs),
        operator.buffers_bytes(op) if own else 0,
        elements(op.shape or ()),
        None,
        op if shared else None,
    )
