"""What is drawn: one box for each layer, or for a chain of operations between layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from hwn2n.errors import one_line
from hwn2n.network.architecture import INPUT, Architecture, Operation
from hwn2n.network.decision import Decision
from hwn2n.network.operators import rule
from hwn2n.network.operators.opaque import SIZE_OF_BATCH
from hwn2n.network.wording import shape_text, sizes
from hwn2n.search.changes import changes
from hwn2n.search.inspection import Row

LONGEST_LINE = 44


class Status(Enum):
    """What a colour says. The first three are of a network alone, the next three of a run."""

    REMOVABLE = "may be removed"
    SHRINKABLE = "may be shrunk only"
    FIXED = "must stay as it is"
    REMOVED = "removed"
    SHRUNK = "shrunk"
    KEPT = "kept"
    OTHER = "no layer of the policies"


@dataclass(frozen=True)
class Box:
    """`lines` are the texts in it, `note` the one that appears when pointed at; `inputs` are the
    indices of the boxes that it reads, without repetition."""

    lines: tuple[str, ...]
    note: str
    status: Status
    inputs: tuple[int, ...]


def make_boxes(
    architecture: Architecture,
    rows: Sequence[Row],
    decision: Decision | None,
    student: Architecture | None,
) -> list[Box]:
    """Boxes in topological order; the first is the images."""
    operations = architecture.by_name()
    groups = _in_order(_grouped(architecture, rows), operations)
    box_of = {INPUT: 0}
    for i, row in enumerate(groups, start=1):
        box_of |= dict.fromkeys(row.operations, i)
    channels = sizes(architecture.input_shape)
    boxes = [Box(("images", channels), f"images {channels}", Status.OTHER, ())]
    students = {} if student is None else student.by_name()
    for i, row in enumerate(groups, start=1):
        members = [operations[name] for name in row.operations]
        read = [box_of[name] for op in members for name in op.inputs if name in box_of]
        inputs = tuple(sorted({source for source in read if source != i}))
        boxes.append(_box(row, members, inputs, decision, students))
    return boxes


def _grouped(architecture: Architecture, rows: Sequence[Row]) -> list[Row]:
    """The rows without arithmetic on sizes, those of no layer joined to chains."""
    readers = architecture.readers()
    operations = architecture.by_name()
    groups: list[list[Row]] = []
    chain_at: dict[str, list[Row]] = {}
    for row in rows:
        op = operations[row.name]
        if not row.policy and _is_size(op):
            continue
        before = op.inputs[0] if len(op.inputs) == 1 and not row.policy else None
        chain = chain_at.get(before) if before is not None else None
        if chain is not None and before is not None and len(readers[before]) == 1:
            chain.append(row)
        else:
            chain = [row]
            groups.append(chain)
        if not row.policy:
            chain_at[row.operations[-1]] = chain
    return [_joined(chain) for chain in groups]


def _in_order(groups: list[Row], operations: Mapping[str, Operation]) -> list[Row]:
    """Each group behind those that it reads, otherwise as they were.

    A group of several operations stands where its first one does, but reads what its last one
    reads.
    """
    group_of = {name: i for i, row in enumerate(groups) for name in row.operations}
    waiting = [
        {group_of[read] for name in row.operations for read in operations[name].inputs
         if read in group_of} - {i}
        for i, row in enumerate(groups)
    ]  # fmt: skip
    ordered: list[int] = []
    left = list(range(len(groups)))
    while left:
        placed = set(ordered)
        # the first that waits for nothing; a circle, which no network has, would stay as it was
        ready = next((i for i in left if waiting[i] <= placed), left[0])
        left.remove(ready)
        ordered.append(ready)
    return [groups[i] for i in ordered]


def _joined(chain: list[Row]) -> Row:
    if len(chain) == 1:
        return chain[0]
    first, last = chain[0], chain[-1]
    return Row(
        name=first.name,
        operations=tuple(name for row in chain for name in row.operations),
        operator=", ".join(row.operator for row in chain),
        shape=last.shape,
        params=sum(row.params for row in chain),
        flops=sum(row.flops for row in chain),
        policy=False,
        removable=False,
        shrinkable=any(row.shrinkable for row in chain),
        group=None,
        width=None,
        tied=(),
        reasons=tuple(dict.fromkeys(reason for row in chain for reason in row.reasons)),
    )


def _is_size(op: Operation) -> bool:
    """Does it compute sizes, and no tensor?"""
    target = op.config.get("target", "")
    return op.kind == "function" and (target == SIZE_OF_BATCH or target.startswith("size."))


def _box(
    row: Row,
    members: Sequence[Operation],
    inputs: tuple[int, ...],
    decision: Decision | None,
    students: Mapping[str, Operation],
) -> Box:
    lines = [row.name, row.operator]
    shape = shape_text(members[-1].shape)
    status = _status(row)
    if decision is None:
        lines.append(_amounts(shape, f"{row.params:,}" if row.params else ""))
    elif decision.removed.issuperset(row.operations):
        status = Status.REMOVED
        lines.append(_amounts("removed", f"{row.params:,}" if row.params else ""))
    else:
        left = [students[op.name] for op in members if op.name in students]
        params = sum(rule(op).parameters(op) for op in left if "tied_to" not in op.config)
        shrunk = changes(members, students)
        if row.policy:
            status = Status.SHRUNK if shrunk or params < row.params else Status.KEPT
        if left:
            shape = shape_text(left[-1].shape)
        if shrunk:
            lines.append(", ".join(shrunk))
        lines.append(_amounts(shape, _change(row.params, params)))
    note = "\n".join([", ".join(row.operations), *lines[1:], *row.reasons])
    return Box(tuple(_short(line) for line in lines if line), note, status, inputs)


def _status(row: Row) -> Status:
    if not row.policy:
        return Status.OTHER
    if row.removable:
        return Status.REMOVABLE
    return Status.SHRINKABLE if row.shrinkable else Status.FIXED


def _change(before: int, after: int) -> str:
    return (
        f"{before:,}" if before == after and before else f"{before:,} -> {after:,}" * (before > 0)
    )


def _amounts(first: str, params: str) -> str:
    return f"{first}, {params} params" if params else first


def _short(line: str) -> str:
    """One printable line that fits into a box: the middle gives way, ends tell more."""
    line = one_line(line, 1000)
    if len(line) <= LONGEST_LINE:
        return line
    half = (LONGEST_LINE - 3) // 2
    return f"{line[:half]}...{line[-half:]}"
