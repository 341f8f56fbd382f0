"""Projection: the largest uniform scaling of a decision that is inside what can be counted.

A policy that samples widths at random almost never meets a tight budget, so nearly all of its
candidates would teach it only that they are too large. Where the budget bounds columns that are
known without training (params, FLOPs, bytes), a decision can instead be read as *proportions*:
all its widths are multiplied by the largest common factor, at most 1, that meets those rows. This
is part of the environment, not of the policy: log-probabilities are those of the actions taken.
The paper has no such step; `recipe: paper` does without it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

from hwn2n.budget.cost import Reading
from hwn2n.budget.matrix import Constraints
from hwn2n.network.architecture import Architecture, IllegalArchitectureError
from hwn2n.network.decision import Decision
from hwn2n.network.planner import Planner, count

_STEPS = 14
"""Halvings of the factor's logarithm: the factor is found to well under one channel in 500."""


def counted_cost(architecture: Architecture) -> dict[str, Reading]:
    """What is known of an architecture without building it: params, flops, weight_bytes."""
    counts = count(architecture)
    return {
        "params": Reading(counts.params, "exact"),
        "flops": Reading(counts.flops, "exact"),
        "weight_bytes": Reading(counts.weight_bytes, "exact"),
    }


def project(planner: Planner, decision: Decision, countable: Constraints) -> Decision:
    """The decision with all widths scaled by the largest factor that meets `countable`.

    `countable`: rows over params, flops and weight_bytes only. Group widths that the decision
    does not name count as whole. Raises `IllegalArchitectureError` if even one channel in each
    group is too much, or if the decision is illegal itself.
    """
    if not countable.rows:
        return decision
    _, channels = planner.left(decision.removed)
    free = {
        name: decision.widths.get(name, group.width)
        for name, group in channels.groups.items()
        if not group.frozen
    }

    def scaled(factor: float) -> Decision:
        widths = {name: max(1, math.floor(width * factor)) for name, width in free.items()}
        return replace(decision, widths=widths)

    def inside(candidate: Decision) -> bool:
        return countable.satisfied(counted_cost(planner.plan(candidate)))

    if not free or inside(replace(decision, widths=free)):
        return decision
    if not inside(scaled(0.0)):
        worst = countable.binding(counted_cost(planner.plan(scaled(0.0))))
        raise IllegalArchitectureError(
            f"even with one channel in each group it is outside the budget: {worst.source}"
        )
    return scaled(_largest(lambda factor: inside(scaled(factor)), 0.5 / max(free.values())))


def _largest(inside: Callable[[float], bool], smallest: float) -> float:
    """The largest factor in [smallest, 1] that is inside, by bisection of its logarithm."""
    low, high = math.log(smallest), 0.0
    for _ in range(_STEPS):
        middle = (low + high) / 2
        if inside(math.exp(middle)):
            low = middle
        else:
            high = middle
    return math.exp(low)
