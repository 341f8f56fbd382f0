"""What the policies prefer before they have learned anything, as logits of their steps.

Networks of uniform width at the budget are better than random ones of the same size, and almost
every random removal is a bad one. So a policy can start near the uniform network: layers are
kept, kernels are kept, and widths vary around one common share (projection brings that share to
the budget). `strength` 0 is the paper's start, uniform over all actions.
"""

from __future__ import annotations

import torch
from torch import Tensor

from hwn2n.search.choices.actions import SHRINK_VALUES, RemovalStage, ShrinkageStage
from hwn2n.search.policies.removal import KEEP

_CENTRE, _SPREAD = 0.7, 0.2
_KERNEL_KEPT = 0.7
"""Shares from here on keep a kernel of 3 (`actions.smaller_kernel`)."""


def removal_prior(stage: RemovalStage, strength: float) -> Tensor:
    """(T, 2) logits: `strength` in favour of keeping each layer."""
    prior = torch.zeros(len(stage.steps), 2)
    prior[:, KEEP] = strength
    return prior


def shrinkage_prior(stage: ShrinkageStage, strength: float) -> Tensor:
    """(T, 10) logits: a normal distribution of shares around 0.7 for widths, kept kernels."""
    shares = torch.tensor(SHRINK_VALUES)
    width = -0.5 * ((shares - _CENTRE) / _SPREAD) ** 2
    kernel = 2.0 * (shares >= _KERNEL_KEPT).float()
    rows = [kernel if variable == "kernel" else width for _, variable in stage.variables]
    return strength * torch.stack(rows)
