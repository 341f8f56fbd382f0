"""What a learner is told, and what it reports of an update."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from hwn2n.errors import InputError


@dataclass(frozen=True, kw_only=True)
class ReinforceSettings:
    """Settings of every learner; one that a learner does not use is checked and ignored.

    lr: of Adam; the paper has 0.003 for removal and 0.01 for shrinkage.
    baseline_decay: d of b <- d b + (1 - d) mean(R); the paper gives no figure. 0.9 remembers
        about ten of its hundred updates.
    entropy_weight: of the entropy bonus, per nat summed over the free steps; 0 in the paper.
    clip_norm: largest norm of the gradient, or None for no limit.
    advantage: "ema" as above, or "leave-one-out": b of a rollout is the mean reward of the
        OTHER rollouts of its update, which needs two and follows the policy without a lag.
    value_weight: of the critic's mean squared error; actor-critic only.
    normalise: divide advantages by a moving average of the rewards' standard deviation within an
        update. Near a tight budget all rewards lie within a few hundredths: without this, what an
        entropy weight means depends on how narrow that band is. The paper does not.
    imitate_weight: of the negative log-likelihood of the candidates to imitate; 0 in the paper.
    steps: of Adam in an update, on the same rollouts (base.py); 1 in the paper.
    """

    lr: float
    baseline_decay: float = 0.9
    entropy_weight: float = 0.0
    clip_norm: float | None = None
    advantage: Literal["ema", "leave-one-out"] = "ema"
    value_weight: float = 0.5
    normalise: bool = False
    imitate_weight: float = 0.0
    steps: int = 1

    def __post_init__(self) -> None:
        if not 0.0 < self.lr < math.inf:
            raise InputError(f"lr must be a number above 0, but got {self.lr}")
        if not 0.0 <= self.baseline_decay < 1.0:
            raise InputError(f"baseline_decay must be in [0, 1), but got {self.baseline_decay}")
        if self.clip_norm is not None and not 0.0 < self.clip_norm < math.inf:
            raise InputError(f"clip_norm must be above 0 or None, but got {self.clip_norm}")
        if self.advantage not in ("ema", "leave-one-out"):
            raise InputError(
                f"advantage must be 'ema' or 'leave-one-out', but got {self.advantage!r}"
            )
        if self.steps < 1:
            raise InputError(f"steps must be at least 1, but got {self.steps}")
        for name in ("entropy_weight", "value_weight", "imitate_weight"):
            if not 0.0 <= getattr(self, name) < math.inf:
                raise InputError(f"{name} must be a number >= 0, but got {getattr(self, name)}")


@dataclass(frozen=True, kw_only=True)
class UpdateReport:
    """What one update did; all plain floats, of its first step.

    loss: the surrogate that was minimised. grad_norm: before clipping, 0 if nothing was learned.
    entropy: mean over rollouts of the sum over free steps, in nats. baseline: the mean over
    rollouts of what was subtracted from the rewards. imitation: mean negative log-likelihood of
    the candidates that were imitated, before its weight, in nats; 0 where there are none.
    """

    loss: float
    grad_norm: float
    entropy: float
    baseline: float
    imitation: float = 0.0
