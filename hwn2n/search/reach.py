"""How small a student can get: a budget below that is refused before any training."""

from __future__ import annotations

from hwn2n.budget.cost import Cost
from hwn2n.budget.matrix import Constraints
from hwn2n.errors import BudgetNotMetError
from hwn2n.network.architecture import IllegalArchitectureError
from hwn2n.network.channels import ChannelMap
from hwn2n.network.decision import Decision
from hwn2n.network.layers import find_layers
from hwn2n.network.operators import rule
from hwn2n.network.planner import Planner
from hwn2n.search.actions import SHRINK_VALUES, smaller_kernel, smaller_width
from hwn2n.search.projection import counted_cost
from hwn2n.search.settings import Settings


def smallest_student(
    planner: Planner, settings: Settings, countable: Constraints
) -> tuple[Decision, Cost]:
    """The smallest student that a greedy walk over the search's own decisions finds, and its cost.

    Everything is shrunk as far as the settings allow, then layers are removed one by one as long
    as the worst row of `countable` falls, until it is met or nothing helps. Without such rows the
    teacher's own cost is returned.
    """
    removed: frozenset[str] = frozenset()
    best = _shrunk(planner, settings, removed)
    if not countable.rows:
        return best, counted_cost(planner.plan(best))
    cost = counted_cost(planner.plan(best))
    improved = settings.removal.updates > 0
    while improved and not countable.satisfied(cost):
        improved = False
        for layer in find_layers(planner, settings.granularity):
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
    _, cost = smallest_student(planner, settings, countable)
    if countable.rows and not countable.satisfied(cost):
        row = countable.binding(cost)
        found = row.describe(cost)
        raise BudgetNotMetError(
            f"the budget must leave room for the smallest student that can be reached: "
            f"{row.source}, but the smallest has {found['value_text']}; nothing was trained"
        )


def _shrunk(planner: Planner, settings: Settings, removed: frozenset[str]) -> Decision:
    """Every free width and kernel as small as the settings let them be."""
    architecture, channels = planner.left(removed)
    if not settings.shrinkage.updates and not settings.project:
        return Decision(removed)
    kernels = {}
    if settings.shrinkage.updates:
        for op in architecture:
            if rule(op).has_kernel:
                height, width = op.config["kernel_size"]
                least = SHRINK_VALUES[0]
                kernels[op.name] = (smaller_kernel(height, least), smaller_kernel(width, least))
    return Decision(removed, _least_widths(channels, settings), kernels)


def _least_widths(channels: ChannelMap, settings: Settings) -> dict[str, int]:
    return {
        name: 1 if settings.project else smaller_width(group.width, SHRINK_VALUES[0])
        for name, group in channels.groups.items()
        if not group.frozen
    }
