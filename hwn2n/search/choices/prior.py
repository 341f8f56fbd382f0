"""What the policies prefer before they have learned anything, as logits of their steps.

Networks of uniform width at the budget are better than random ones of the same size, and almost
every random removal is a bad one. So a policy can start near the uniform network: layers are
kept, kernels are kept, and widths vary around one common share. Where decisions are projected any
share will do, for that brings it to the budget; where they are not, the mean share is the one at
which the uniform network meets the budget. `strength` 0 is the paper's start, uniform over all
actions.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from hwn2n.budget.matrix import Constraints
from hwn2n.network.architecture import IllegalArchitectureError
from hwn2n.network.decision import Decision
from hwn2n.network.planner import Planner
from hwn2n.search.choices.actions import SHRINK_VALUES, RemovalStage, ShrinkageStage
from hwn2n.search.fitting.projection import as_cost, upper_rows
from hwn2n.search.fitting.widths import Widths
from hwn2n.search.policies.removal import KEEP

_CENTRE = 0.7
"""Where decisions are projected: room for layers to be wider than others."""

_SPREAD = 0.2
_KERNEL_KEPT = 0.7
"""Shares from here on keep a kernel of 3 (`actions.smaller_kernel`)."""


_DEPTH = 1 / 3
"""The exponent of a common width for the share of layers that goes with it."""
_MOST_KEPT = 0.9
"""So that a first policy still removes something."""


def kept_at_budget(width: float) -> float:
    """The preference to keep layers, in logits, where uniform widths meet the budget at a share
    `width` of the teacher's, above 0: the expected share of kept layers is its cube root, 0.9 at
    most. So 0.1 keeps half of them and 0.5 keeps four of five.

    A rule of thumb: depth and width shrink together, depth less.
    """
    kept = min(_MOST_KEPT, width**_DEPTH)
    return math.log(kept / (1.0 - kept))


def removal_prior(stage: RemovalStage, strength: float) -> Tensor:
    """(T, 2) logits: `strength` in favour of keeping each layer."""
    prior = torch.zeros(len(stage.steps), 2)
    prior[:, KEEP] = strength
    return prior


def shrinkage_prior(stage: ShrinkageStage, strength: float, mean: float | None = None) -> Tensor:
    """(T, 10) logits: a normal distribution of shares for widths, kept kernels.

    Around 0.7; or, where a `mean` is given (0.1 to 1), so that it is the expected share at
    `strength` 1, as near as the actions allow.
    """
    shares = torch.tensor(SHRINK_VALUES)
    width = _bell(shares, _CENTRE if mean is None else _centre(shares, mean))
    kernel = 2.0 * (shares >= _KERNEL_KEPT).float()
    rows = [kernel if variable == "kernel" else width for _, variable in stage.variables]
    return strength * torch.stack(rows)


def _bell(shares: Tensor, centre: float) -> Tensor:
    return -0.5 * ((shares - centre) / _SPREAD) ** 2


def _centre(shares: Tensor, mean: float) -> float:
    """Where a bell over the shares must stand for its mean to be the one asked."""
    low, high = -2.0, 3.0
    for _ in range(40):
        middle = (low + high) / 2
        if (_bell(shares, middle).softmax(0) * shares).sum() < mean:
            low = middle
        else:
            high = middle
    return low


def share_at_budget(
    planner: Planner, removed: frozenset[str], countable: Constraints, allowed: Widths
) -> float:
    """The largest share of all widths at which what a removal leaves meets the countable rows.

    From 0.01 to 1 in hundredths; 0.01 if none does.
    """
    upper = upper_rows(countable)
    _, channels = planner.left(removed)
    free = channels.free.values()

    def inside(hundredths: int) -> bool:
        widths = {g.name: allowed.at_most(g, g.width * hundredths // 100) for g in free}
        try:
            return upper.satisfied(as_cost(planner.count(Decision(removed, widths))))
        except IllegalArchitectureError:
            return False

    low, high = 1, 101
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if inside(middle) else (low, middle)
    return low / 100
