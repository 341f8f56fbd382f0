"""Whether a budget can be met at all, as far as it can be counted, asked before any training.

Three answers. A student inside it is found, by shrinking and removing greedily; or there is proof
that none exists, from bounds on all students (`bounds`), and the budget is refused; or neither,
and nobody knows: then the search goes on, and the user is told.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from hwn2n.budget.columns import COLUMNS
from hwn2n.budget.cost import Cost
from hwn2n.budget.matrix import Constraints
from hwn2n.budget.rows import Row
from hwn2n.budget.units import format_quantity
from hwn2n.errors import BudgetNotMetError
from hwn2n.network.architecture import IllegalArchitectureError
from hwn2n.network.counts import count
from hwn2n.network.decision import Decision
from hwn2n.network.layers import find_layers
from hwn2n.network.planner import Planner
from hwn2n.search.bounds.costs import QUANTITIES, cost_bounds
from hwn2n.search.bounds.proof import Conflict, Limit, limit_of, prove
from hwn2n.search.choices.actions import SHRINK_VALUES, smaller_kernel
from hwn2n.search.fitting.projection import counted_cost, project, upper_rows
from hwn2n.search.settings import Settings

_NOTHING = "nothing was trained"


def check_reachable(planner: Planner, settings: Settings, countable: Constraints) -> str | None:
    """What to warn of where nobody knows whether a student is inside `countable`, else None.

    `countable`: rows over params, flops and weight_bytes only. A student has a parameter, and at
    most the teacher's number of them; with more it would not be trained. Raises
    `BudgetNotMetError` where there is proof that no student of a search with `settings` is inside:
    it names the rows that exclude each other, and the least that the first of them would need.
    """
    if not countable.rows or _inside(planner, countable, counted_cost(planner.teacher)):
        return None
    upper = upper_rows(countable)
    smallest, least = smallest_student(planner, settings, upper)
    if _inside(planner, countable, least):
        return None
    teacher = count(planner.teacher)
    limits = [limit for row in countable.rows if (limit := limit_of(row)) is not None]
    whole = dict.fromkeys(QUANTITIES, 0.0) | {"params": 1.0}
    bounds = cost_bounds(planner, settings, projects=_projects(settings, upper))
    found = prove(
        bounds,
        [*limits, Limit(whole, teacher.params)],
        {
            "params": teacher.params,
            "flops": teacher.flops,
            "buffer_bytes": teacher.weight_bytes - 4 * teacher.params,
        },
    )
    if isinstance(found, Conflict):
        raise BudgetNotMetError(_refusal(found, teacher.params))
    for removed in (frozenset[str](), smallest.removed, found.without or frozenset[str]()):
        for cost in _scaled(planner, settings, removed, upper):
            if _inside(planner, countable, cost):
                return None
    row = countable.binding(least)
    return (
        "nobody knows whether a student can be inside the budget: the smallest that was tried has "
        f"{row.describe(least)['value_text']} where {row.source}, and no proof excludes another; "
        "the search goes on"
    )


def smallest_student(
    planner: Planner, settings: Settings, countable: Constraints
) -> tuple[Decision, Cost]:
    """The smallest student that a greedy walk over the search's own decisions finds, and its cost.

    Everything is shrunk as far as the settings allow, then layers are removed one by one as long
    as the worst row of `countable` falls, until it is met or nothing helps. Without such rows it
    stops before any removal.
    """
    projects = _projects(settings, countable)
    whole = Decision(), counted_cost(planner.teacher)
    best, cost = _smallest_without(planner, settings, frozenset(), projects=projects) or whole
    layers = find_layers(planner, settings.granularity)
    improved = settings.removal.updates > 0
    while improved and not countable.satisfied(cost):
        improved = False
        for layer in layers:
            if not layer.removable or best.removed.issuperset(layer.operations):
                continue
            without = best.removed | set(layer.operations)
            found = _smallest_without(planner, settings, without, projects=projects)
            if found and countable.residuals(found[1]).max() < countable.residuals(cost).max():
                (best, cost), improved = found, True
    return best, cost


def _inside(planner: Planner, countable: Constraints, cost: Cost) -> bool:
    params = cost["params"].value
    return 0 < params <= count(planner.teacher).params and countable.satisfied(cost)


def _projects(settings: Settings, upper: Constraints) -> bool:
    """Whether the search scales widths to the budget, down to the least ones if need be."""
    return settings.project and bool(upper.rows)


def _smallest_without(
    planner: Planner, settings: Settings, removed: frozenset[str], *, projects: bool
) -> tuple[Decision, Cost] | None:
    """Every free width and kernel as small as the settings let them be; None if that is illegal.

    Kernels stay where smaller ones fit nothing: without padding they leave larger images.
    """
    try:
        architecture, channels = planner.left(removed)
    except IllegalArchitectureError:
        return None
    widths, kernels = {}, {}
    if settings.shrinkage.updates or projects:
        for group in channels.groups.values():
            if not group.frozen:
                widths[group.name] = (
                    settings.widths.least(group)
                    if projects
                    else settings.widths.nearest(group, SHRINK_VALUES[0])
                )
    if settings.shrinkage.updates:
        operations, least = architecture.by_name(), SHRINK_VALUES[0]
        for name in sorted(planner.free_kernels(removed)):
            height, width = operations[name].config["kernel_size"]
            kernels[name] = (smaller_kernel(height, least), smaller_kernel(width, least))
    for decision in (Decision(removed, widths, kernels), Decision(removed, widths)):
        try:
            return decision, counted_cost(planner.plan(decision))
        except IllegalArchitectureError:
            continue
    return None


def _scaled(
    planner: Planner, settings: Settings, removed: frozenset[str], upper: Constraints
) -> Iterator[Cost]:
    """Costs of students of uniform width: scaled to the upper limits, and by each share."""
    decisions = []
    try:
        if _projects(settings, upper):
            decisions.append(project(planner, Decision(removed), upper, settings.widths))
        _, channels = planner.left(removed)
    except IllegalArchitectureError:
        return
    free = channels.free.values()
    for share in SHRINK_VALUES if settings.shrinkage.updates else SHRINK_VALUES[-1:]:
        widths = {group.name: settings.widths.nearest(group, share) for group in free}
        decisions.append(Decision(removed, widths))
    for decision in decisions:
        try:
            yield counted_cost(planner.plan(decision))
        except IllegalArchitectureError:
            continue


def _refusal(conflict: Conflict, teacher_params: int) -> str:
    """One line: the rows that exclude each other, and what would be needed."""
    row = conflict.first.row
    assert row is not None, "the teacher is inside the limit that nobody wrote"
    others = [
        limit.row.source if limit.row else f"at most the teacher's {teacher_params:,} params"
        for limit in conflict.others
    ]
    proven = "no student can be inside the budget, which is proven"
    if conflict.least is None:
        return f"{proven}: {', '.join([row.source, *others])} exclude each other; {_NOTHING}"
    who = f"every student with {' and '.join(others)}" if others else "every student"
    return f"{proven}: {row.source}, but {who} has {_need(row, conflict.least)}; {_NOTHING}"


def _need(row: Row, least: float) -> str:
    """ "at least 1,234", or "at most" for a lower limit; counts in full, for they may be close."""
    sign, word = (-1.0, "most") if row.lower else (1.0, "least")
    value = 0.0 + sign * least
    if row.column is None:
        return f"at {word} {format_quantity(value, None)}"
    slack = 1e-9 * max(1.0, abs(value))  # of floating point
    whole = math.floor(value + slack) if row.lower else math.ceil(value - slack)
    unit = " bytes" if COLUMNS[row.column].unit == "B" else ""
    return f"at {word} {whole:,}{unit}"
