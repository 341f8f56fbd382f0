"""Feasibility masks: never sample what the countable constraints already exclude.

The paper's policies sample freely, and near a tight budget almost all of their candidates are
outside it: what they cost teaches only that they are too large. Parameters, FLOPs and bytes are
known without training, so a mask looks ahead instead. An action is allowed only if the smallest
network that can still be reached after it is inside the countable rows (upper limits only: a lower
one is left to the evaluation). "Smallest" means the best of a few fixed *completions*, sequences
that say what the steps still to come would do: everything that is left takes its smallest action.
More than one, because the smallest action does not always make the smallest network: without a
pooling the images stay large, and a smaller kernel without padding leaves more of the image.

An action that is allowed by a completion is followed by one that the same completion allows. So
where the first step has an allowed action, every step has, and every sampled candidate is inside.
The price is on the other side: what only other completions could still bring inside is forbidden
too. Where nothing is allowed, the least-cost action is the only one.

What is allowed is a function of the actions before, so a resumed search finds the same masks
again, and the ledger holds none of them. Why the gradient stays unbiased: `policies/base.py`.

With `project` widths are scaled to the budget anyway, so the shrinkage stage has no mask; the
removal stage has one, against removals that no projection brings inside, or that are illegal.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from hwn2n.budget.matrix import Constraints
from hwn2n.network.architecture import IllegalArchitectureError, Operation
from hwn2n.network.decision import Decision
from hwn2n.network.planner import Planner
from hwn2n.search.choices.actions import (
    KEEP_ALL,
    SHRINK_VALUES,
    RemovalStage,
    ShrinkageStage,
    smaller_kernel,
)
from hwn2n.search.choices.lookahead import Actions, Lookahead, Prices
from hwn2n.search.choices.steps import FREE, Mask, Steps
from hwn2n.search.fitting.projection import upper_rows
from hwn2n.search.fitting.widths import Widths
from hwn2n.search.policies.removal import KEEP, REMOVE
from hwn2n.search.settings import Settings


def mask_for(
    stage: RemovalStage | ShrinkageStage,
    planner: Planner,
    settings: Settings,
    countable: Constraints,
) -> Mask | None:
    """The mask of a stage's steps in a search with `settings`, or None where it has none.

    countable: rows over params, flops and weight_bytes only. A student with more parameters than
    its teacher would not be trained, so that is a row too.
    """
    upper = upper_rows(countable)
    projects = settings.project and bool(upper.rows)
    prices = Prices(planner, upper)
    if isinstance(stage, RemovalStage):
        shrinks = settings.shrinkage.updates > 0
        return _removal_mask(stage, prices, settings.widths, projects=projects, shrinks=shrinks)
    return None if projects else _shrinkage_mask(stage, prices)


def _removal_mask(
    stage: RemovalStage, prices: Prices, allowed: Widths, *, projects: bool, shrinks: bool
) -> Lookahead:
    """The candidate itself must be legal; inside must be what the rest of the search makes of it.

    That is a projection with one channel in each group, or else the least shares of the shrinkage
    stage, or else, where that is left out, the candidate as it is.
    """
    steps, planner = stage.steps, prices.planner

    def excess(actions: Actions) -> float:
        removed = stage.decision(actions).removed
        try:
            whole = prices.planner.count(Decision(removed))
        except IllegalArchitectureError:
            return math.inf
        if not projects and whole.params > prices.teacher_params:
            return math.inf
        if not (projects or shrinks):
            return prices.of_counts(whole)
        forms = _least(planner, removed, allowed, projects=projects)
        return min(prices.excess(decision) for decision in forms)

    return Lookahead(
        steps,
        _removals(steps, excess),
        excess,
        rising=[False] * len(steps),
        alike=[(REMOVE, KEEP)] * len(steps),
    )


def _least(
    planner: Planner, removed: frozenset[str], allowed: Widths, *, projects: bool
) -> list[Decision]:
    """The smallest students without `removed`, one of which is the smallest."""
    architecture, channels = planner.left(removed)
    share = SHRINK_VALUES[0]
    free = channels.free.values()
    if projects:
        return [Decision(removed, {group.name: allowed.least(group) for group in free})]
    widths = {group.name: allowed.nearest(group, share) for group in free}
    kernels, grows = {}, False
    shrinkable = planner.free_kernels(removed)
    for op in architecture:
        if op.name in shrinkable:
            height, width = op.config["kernel_size"]
            kernels[op.name] = (smaller_kernel(height, share), smaller_kernel(width, share))
            grows = grows or _grows(op, kernels[op.name])
    least = Decision(removed, widths, kernels)
    return [least, Decision(removed, widths)] if grows else [least]


def _removals(steps: Steps, excess: Callable[[Actions], float]) -> list[Actions]:
    """Completions: nothing more goes; what makes it smaller goes, from the last layer; all goes."""
    free = steps.free.tolist()
    forced = steps.forced.tolist()
    keep = tuple(KEEP if f == FREE else f for f in forced)
    least, best = list(keep), excess(keep)
    for t in reversed(range(len(steps))):
        if free[t]:
            least[t] = REMOVE
            found = excess(tuple(least))
            if found < best:
                best = found
            else:
                least[t] = KEEP
    everything = tuple(REMOVE if free[t] else keep[t] for t in range(len(steps)))
    return [keep, tuple(least), everything]


def _shrinkage_mask(stage: ShrinkageStage, prices: Prices) -> Lookahead:
    steps = stage.steps
    # What an action means at each step, from the stage itself: all steps take it at once.
    meanings = [stage.decision([action] * len(steps)) for action in range(len(SHRINK_VALUES))]
    widths: dict[str, int] = {}
    kernels: dict[str, int] = {}
    rising, alike = [], []
    grows = False
    for t, (layer, variable) in enumerate(stage.variables):
        group = stage.channels.own_group(layer.name)
        sizes: list[object] = [KEEP_ALL] * len(meanings)
        if variable == "kernel" and layer.name not in stage.kernels:
            pass  # it stays whole
        elif variable == "kernel":
            kernels[layer.name] = t
            sizes = [meaning.kernels[layer.name] for meaning in meanings]
            smallest = meanings[0].kernels[layer.name]
            grows = grows or _grows(stage.operations[layer.name], smallest)
        elif group is not None and group.name in meanings[0].widths:
            widths.setdefault(group.name, t)
            sizes = [meaning.widths[group.name] for meaning in meanings]
        rising.append(variable == "width")
        alike.append(tuple(sizes.index(size) for size in sizes))

    def excess(actions: Actions) -> float:
        decision = Decision(
            stage.removed,
            {name: meanings[actions[t]].widths[name] for name, t in widths.items()},
            {name: meanings[actions[t]].kernels[name] for name, t in kernels.items()},
        )
        return prices.excess(decision)

    completions = [(0,) * len(steps)]
    if grows:
        kept = {"kernel": KEEP_ALL, "width": 0}
        completions.append(tuple(kept[variable] for _, variable in stage.variables))
    return Lookahead(steps, completions, excess, rising=rising, alike=alike)


def _grows(op: Operation, kernel: tuple[int, int]) -> bool:
    """Is there too little padding to take away, so that with this kernel the output grows?"""
    cfg = op.config
    return any(
        cfg["dilation"][i] * (cfg["kernel_size"][i] - kernel[i]) > 2 * cfg["padding"][i]
        for i in range(2)
    )
