"""How small a student can get: a budget below that is refused before any training.

So is one with a lower limit (`min`) that not even the whole teacher reaches.
"""

from __future__ import annotations

from dataclasses import replace

from hwn2n.budget.cost import Cost
from hwn2n.budget.matrix import Constraints
from hwn2n.budget.rows import Row
from hwn2n.errors import BudgetNotMetError
from hwn2n.network.architecture import IllegalArchitectureError
from hwn2n.network.channels import ChannelMap
from hwn2n.network.decision import Decision
from hwn2n.network.layers import find_layers
from hwn2n.network.planner import Planner
from hwn2n.search.actions import SHRINK_VALUES, smaller_kernel
from hwn2n.search.projection import counted_cost, upper_rows
from hwn2n.search.settings import Settings


def smallest_student(
    planner: Planner, settings: Settings, countable: Constraints
) -> tuple[Decision, Cost]:
    """The smallest student that a greedy walk over the search's own decisions finds, and its cost.

    Everything is shrunk as far as the settings allow, then layers are removed one by one as long
    as the worst row of `countable` falls, until it is met or nothing helps. Without such rows it
    stops before any removal.
    """
    removed: frozenset[str] = frozenset()
    best = _shrunk(planner, settings, removed)
    if not countable.rows:
        return best, counted_cost(planner.plan(best))
    cost = counted_cost(planner.plan(best))
    layers = find_layers(planner, settings.granularity)
    improved = settings.removal.updates > 0
    while improved and not countable.satisfied(cost):
        improved = False
        for layer in layers:
            if not layer.removable or removed.issuperset(layer.operations):
                continue
            try:
                candidate = _shrunk(planner, settings, removed | set(layer.operations))
                smaller = counted_cost(planner.plan(candidate))
            except IllegalArchitectureError:
                continue
            if countable.residuals(smaller).max() < countable.residuals(cost).max():
                removed, best, cost, improved = candidate.removed, candidate, smaller, True
    return best, cost


def check_reachable(planner: Planner, settings: Settings, countable: Constraints) -> None:
    """Raise `BudgetNotMetError` if not even the smallest student is inside what can be counted."""
    upper = upper_rows(countable)
    lower = replace(countable, rows=tuple(r for r in countable.rows if _is_lower(r)))
    _, least = smallest_student(planner, settings, upper)
    for rows, cost, which in (
        (upper, least, "smallest student that can be reached"),
        (lower, counted_cost(planner.teacher), "teacher, the largest network there is"),
    ):
        if rows.rows and not rows.satisfied(cost):
            row = rows.binding(cost)
            raise BudgetNotMetError(
                f"the budget must leave room for the {which}: {row.source}, but that has "
                f"{row.describe(cost)['value_text']}; nothing was trained"
            )


def _is_lower(row: Row) -> bool:
    return all(coefficient <= 0 for coefficient in row.coefficients.values())


def _shrunk(planner: Planner, settings: Settings, removed: frozenset[str]) -> Decision:
    """Every free width and kernel as small as the settings let them be."""
    architecture, channels = planner.left(removed)
    if not settings.shrinkage.updates and not settings.project:
        return Decision(removed)
    kernels = {}
    if settings.shrinkage.updates:
        operations = architecture.by_name()
        for name in sorted(planner.free_kernels(removed)):
            height, width = operations[name].config["kernel_size"]
            least = SHRINK_VALUES[0]
            kernels[name] = (smaller_kernel(height, least), smaller_kernel(width, least))
    return Decision(removed, _least_widths(channels, settings), kernels)


def _least_widths(channels: ChannelMap, settings: Settings) -> dict[str, int]:
    return {
        name: settings.widths.least(group)
        if settings.project
        else settings.widths.nearest(group, SHRINK_VALUES[0])
        for name, group in channels.groups.items()
        if not group.frozen
    }
