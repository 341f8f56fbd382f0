"""What the policies could change of a network, row by row, and how small it could get.

Nothing is trained or measured for this: it is what the layer graph says.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hwn2n.budget.cost import Cost, cost_to_json
from hwn2n.budget.load import load_budget
from hwn2n.network.architecture import INPUT, Architecture, Operation
from hwn2n.network.decision import Decision
from hwn2n.network.layers import Layer, find_layers
from hwn2n.network.operators import Shape, rule
from hwn2n.network.operators.opaque import NO_VALUES
from hwn2n.network.planner import Planner
from hwn2n.network.wording import operator_text
from hwn2n.search.choices.actions import SHRINK_VALUES, smaller_kernel
from hwn2n.search.reach import smallest_student
from hwn2n.search.settings import Settings


@dataclass(frozen=True, kw_only=True)
class Row:
    """One layer of the policies, or one operation that belongs to none.

    `operations` are the operations of the layer, `operator` names them; `shape` is the last one's
    output, without the batch, None where that is not one tensor. `params` and `flops` are those
    of one image, of all of them. `policy` says whether the policies have a step for it;
    `removable` and `shrinkable` what they may do: take it out, or change its kernel, its width or
    the width that it reads. `group` is the channel group whose `width` channels it makes, and
    `tied` the others that make them; `reasons` say why it may not be removed or not be narrowed.
    """

    name: str
    operations: tuple[str, ...]
    operator: str
    shape: tuple[int, ...] | None
    params: int
    flops: int
    policy: bool
    removable: bool
    shrinkable: bool
    group: str | None
    width: int | None
    tied: tuple[str, ...]
    reasons: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Reach:
    """Shares of the network, 0 to 1, that lie in operations that the policies can change.

    `removable` by removal, `shrinkable` by shrinkage, `either` by one of the two at least.
    """

    removable: float
    shrinkable: float
    either: float


@dataclass(frozen=True, kw_only=True)
class Smallest:
    """The smallest student that was found by one measure: what it decides and what it costs."""

    decision: Decision
    cost: Cost

    def to_json(self) -> dict[str, Any]:
        """JSON-able form."""
        return {"cost": cost_to_json(self.cost), "decision": self.decision.to_json()}


def find_rows(planner: Planner, settings: Settings) -> tuple[Row, ...]:
    """All operations in forward order, those of a layer in one row."""
    architecture = planner.teacher
    operations = architecture.by_name()
    shapes = _shapes(architecture)
    layer_of: dict[str, Layer] = {}
    for found in find_layers(planner, settings.granularity):
        for name in found.operations:
            layer_of.setdefault(name, found)
    rows: list[Row] = []
    seen: set[str] = set()
    for op in architecture:
        layer = layer_of.get(op.name)
        if layer is None:
            rows.append(_row(planner, [op], None, shapes))
        elif layer.name not in seen:
            seen.add(layer.name)
            members = [operations[name] for name in layer.operations]
            rows.append(_row(planner, members, layer, shapes))
    return tuple(rows)


def _row(
    planner: Planner,
    members: list[Operation],
    layer: Layer | None,
    shapes: Mapping[str, Shape],
) -> Row:
    groups = [g for op in members if (g := planner.channels.own_group(op.name)) is not None]
    group = groups[0] if groups else None
    reasons = [] if layer is None or layer.reason is None else [layer.reason]
    reasons += [g.frozen for g in groups if g.frozen and g.frozen not in reasons]
    if layer is None and members[0].kind == "function" and not _passes(members[0]):
        reasons.append(f"no rule for {members[0].config['target']}: its channels stay")
    shape = members[-1].shape
    names = {op.name for op in members}
    return Row(
        name=members[0].name if layer is None else layer.name,
        operations=tuple(op.name for op in members),
        operator=", ".join(operator_text(op) for op in members),
        shape=None if shape is None else shape[1:],
        params=sum(_params(op) for op in members),
        flops=sum(_flops(op, shapes) for op in members),
        policy=layer is not None,
        removable=layer is not None and layer.removable,
        shrinkable=any(_can_shrink(planner, op) for op in members),
        group=None if group is None else group.name,
        width=None if group is None else group.width,
        tied=() if group is None else tuple(p for p in group.producers if p not in names),
        reasons=tuple(reasons),
    )


def _passes(op: Operation) -> bool:
    """Does a function leave the channels to those that it reads, or have none?"""
    cfg = op.config
    by_itself = cfg.get("elementwise") or "axes" in cfg or cfg["target"] in NO_VALUES
    return bool(by_itself) or op.shape is None or len(op.shape) < 2


def find_reach(planner: Planner, rows: tuple[Row, ...]) -> dict[str, Reach]:
    """The reachable shares of `params` and `flops`, operation by operation."""
    operations = planner.teacher.by_name()
    shapes = _shapes(planner.teacher)
    found = {}
    for name in ("params", "flops"):
        total = removable = shrinkable = either = 0
        for row in rows:
            for op in (operations[member] for member in row.operations):
                amount = _params(op) if name == "params" else _flops(op, shapes)
                narrows = _can_shrink(planner, op)
                total += amount
                removable += amount * row.removable
                shrinkable += amount * narrows
                either += amount * (row.removable or narrows)
        whole = total or 1
        found[name] = Reach(
            removable=removable / whole, shrinkable=shrinkable / whole, either=either / whole
        )
    return found


def find_smallest(planner: Planner, settings: Settings, column: str) -> Smallest:
    """The student with the least of a countable column that a greedy walk finds."""
    impossible = load_budget(
        {
            "apiVersion": "hwn2n/v1",
            "name": f"least-{column}",
            "constraints": [{"metric": column, "max": 1}],
        }
    )
    decision, cost = smallest_student(planner, settings, impossible.resolve({}))
    return Smallest(decision=decision, cost=cost)


def _shapes(architecture: Architecture) -> dict[str, Shape]:
    shapes: dict[str, Shape] = {INPUT: (-1, *architecture.input_shape)}
    return shapes | {op.name: op.shape or () for op in architecture}


def _params(op: Operation) -> int:
    return 0 if "tied_to" in op.config else rule(op).parameters(op)


def _flops(op: Operation, shapes: Mapping[str, Shape]) -> int:
    return rule(op).flops(op, [shapes[name] for name in op.inputs])


def _can_shrink(planner: Planner, op: Operation) -> bool:
    """May its kernel, the channels that it makes or those that it reads become fewer?"""
    least = SHRINK_VALUES[0]
    if op.name in planner.free_kernels() and any(
        smaller_kernel(k, least) < k for k in op.config["kernel_size"]
    ):
        return True
    layouts = [planner.channels.layouts[name] for name in (*op.inputs, op.name)]
    groups = [
        planner.channels.group_of(part) for layout in layouts if layout for part in layout.parts
    ]
    return any(group is not None and not group.frozen for group in groups)
