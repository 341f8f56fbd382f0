"""REINFORCE (Williams 1992) as N2N learning uses it (arXiv 1709.06030).

An episode ends with one reward and gamma = 1, so the gradient of the expected reward is
E[(R - b) grad log p(actions)], with p the product over the free steps. Departures from the
authors' code, each of which follows the paper:

1. Every rollout is weighed by its own reward. Averaging the rewards first keeps the mean of
   the gradient but has about as many times the variance as there are rollouts.
2. One Adam step per update, over all rollouts; theirs reset the gradient between rollouts.
3. The baseline is an exponential moving average of the rewards of earlier updates, not the
   mean since the start.
4. Log-probabilities are of the actions really taken, over free steps alone (see `Steps`).
"""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from hwn2n.errors import Hwn2nError, InputError
from hwn2n.search.policies.base import Evaluation, Policy
from hwn2n.search.steps import Steps

_LEAST_SPREAD = 1e-3
"""Rewards closer together than this differ by noise, which must not be blown up."""


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
    """

    lr: float
    baseline_decay: float = 0.9
    entropy_weight: float = 0.0
    clip_norm: float | None = None
    advantage: Literal["ema", "leave-one-out"] = "ema"
    value_weight: float = 0.5
    normalise: bool = False

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
        for name in ("entropy_weight", "value_weight"):
            if not 0.0 <= getattr(self, name) < math.inf:
                raise InputError(f"{name} must be a number >= 0, but got {getattr(self, name)}")


@dataclass(frozen=True, kw_only=True)
class UpdateReport:
    """What one update did; all plain floats.

    loss: the surrogate that was minimised. grad_norm: before clipping, 0 if nothing was learned.
    entropy: mean over rollouts of the sum over free steps, in nats. baseline: the mean over
    rollouts of what was subtracted from the rewards.
    """

    loss: float
    grad_norm: float
    entropy: float
    baseline: float


class Learner(ABC):
    """Turns rewarded rollouts into a better policy, one Adam step per update."""

    name: ClassVar[str]

    def __init__(self, policy: Policy, settings: ReinforceSettings) -> None:
        parameters = list(policy.parameters())
        if not parameters:
            raise InputError(
                f"the learner {self.name!r} needs a policy with weights, but a {policy.kind} "
                "policy has none: use the learner 'none'"
            )
        self.policy = policy
        self.settings = settings
        self.baseline: float | None = None
        self.spread: float | None = None
        self.updates = 0
        self.optimizer: torch.optim.Adam | None = torch.optim.Adam(parameters, lr=settings.lr)

    @abstractmethod
    def objective(
        self, evaluation: Evaluation, free: Tensor, rewards: Tensor
    ) -> tuple[Tensor, float]:
        """Return the loss to minimise and the mean baseline.

        evaluation: of B rollouts of T steps. free: (T,) bool. rewards: (B,).
        """

    def update(
        self, steps: Steps, actions: Tensor, rewards: Tensor | Sequence[float | None]
    ) -> UpdateReport:
        """Learn from B rollouts of one sequence of steps.

        actions: (B, T) int64, as taken. rewards: (B,), one finite number for each rollout; None,
        NaN and infinities are an InputError, and then nothing has changed.
        """
        given = check_rewards(rewards, actions.shape[0])
        evaluation = self.policy.evaluate(steps, actions)
        dtype, device = evaluation.value.dtype, evaluation.value.device
        free = steps.free.to(device)
        loss, baseline = self.objective(evaluation, free, given.to(device=device, dtype=dtype))
        grad_norm = self._step(loss) if bool(free.any()) else 0.0
        mean = float(given.mean())
        decay = self.settings.baseline_decay
        self.baseline = (
            mean if self.baseline is None else decay * self.baseline + (1 - decay) * mean
        )
        spread = float(given.std(unbiased=False))
        self.spread = spread if self.spread is None else decay * self.spread + (1 - decay) * spread
        self.updates += 1
        return UpdateReport(
            loss=float(loss.detach()),
            grad_norm=grad_norm,
            entropy=float(evaluation.entropy.detach().sum(dim=1).mean()),
            baseline=baseline,
        )

    def scale(self, rewards: Tensor) -> float:
        """Return what advantages are divided by: 1, unless `ReinforceSettings.normalise` is set.

        rewards: (B,). The first update has only its own spread to go by.
        """
        if not self.settings.normalise:
            return 1.0
        spread = float(rewards.std(unbiased=False)) if self.spread is None else self.spread
        return max(spread, _LEAST_SPREAD)

    def state_dict(self) -> dict[str, Any]:
        """Return a copy of all state: tensors and plain values, so `weights_only=True` loads it."""
        return copy.deepcopy(
            {
                "learner": self.name,
                "settings": asdict(self.settings),
                "policy": self.policy.state_dict(),
                "optimizer": None if self.optimizer is None else self.optimizer.state_dict(),
                "baseline": self.baseline,
                "spread": self.spread,
                "updates": self.updates,
            }
        )

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over the state of a learner with the same name, settings and shape of policy.

        The next updates are then, bit for bit, those which that learner would have made.
        """
        own = {"learner": self.name, "settings": asdict(self.settings)}
        for key, value in own.items():
            if state.get(key) != value:
                raise InputError(
                    f"the state of a learner must have {key} {value}, but has {state.get(key)}"
                )
        try:
            self.policy.load_state_dict(state["policy"])
            if self.optimizer is not None:
                self.optimizer.load_state_dict(copy.deepcopy(state["optimizer"]))
            self.baseline, self.updates = state["baseline"], state["updates"]
            self.spread = state["spread"]
        except (KeyError, RuntimeError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise InputError(f"the state must fit the policy of this learner: {reason}") from error

    def _step(self, loss: Tensor) -> float:
        """Take one Adam step and return the norm of the gradient before clipping."""
        if self.optimizer is None:
            return 0.0
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        limit = math.inf if self.settings.clip_norm is None else self.settings.clip_norm
        norm = float(torch.nn.utils.clip_grad_norm_(self.policy.parameters(), limit))
        if not math.isfinite(norm):
            raise Hwn2nError(
                f"the gradient of the {self.policy.kind} policy must be finite, but its norm is "
                f"{norm} at update {self.updates}: lower lr or set clip_norm"
            )
        self.optimizer.step()
        return norm


class Reinforce(Learner):
    """Policy gradient with the baseline of `ReinforceSettings.advantage`.

    L = -1/B sum_i (R_i - b_i) / scale log p(a_i) - entropy_weight * mean entropy. The very
    first update has no earlier rewards: its baseline is its own mean reward. Starting from 0 would
    push up whatever was sampled first, because nearly all rewards have the same sign.
    """

    name = "reinforce"

    def objective(
        self, evaluation: Evaluation, free: Tensor, rewards: Tensor
    ) -> tuple[Tensor, float]:
        """Return the loss above and the mean of b."""
        baselines = self.baselines(rewards)
        log_prob = evaluation.log_prob.sum(dim=1)
        bonus = self.settings.entropy_weight * evaluation.entropy.sum(dim=1).mean()
        advantages = (rewards - baselines) / self.scale(rewards)
        return -(advantages * log_prob).mean() - bonus, float(baselines.mean())

    def baselines(self, rewards: Tensor) -> Tensor:
        """Return b_i (B,) for rewards (B,)."""
        count = rewards.shape[0]
        if self.settings.advantage == "ema":
            level = float(rewards.mean()) if self.baseline is None else self.baseline
            return torch.full_like(rewards, level)
        if count < 2:
            raise InputError("leave-one-out needs at least 2 rollouts an update, but got 1")
        return (rewards.sum() - rewards) / (count - 1)


class NoLearning(Learner):
    """Keeps the policy as it is: for random actions, and for a frozen policy as a comparison."""

    name = "none"

    def __init__(self, policy: Policy, settings: ReinforceSettings) -> None:
        self.policy = policy
        self.settings = settings
        self.baseline = None
        self.spread = None
        self.updates = 0
        self.optimizer = None

    def objective(
        self, evaluation: Evaluation, free: Tensor, rewards: Tensor
    ) -> tuple[Tensor, float]:
        """Return 0, and the mean reward so far that `Reinforce` would have subtracted."""
        level = float(rewards.mean()) if self.baseline is None else self.baseline
        return torch.zeros((), dtype=rewards.dtype), level


def check_rewards(rewards: Tensor | Sequence[float | None], count: int) -> Tensor:
    """Return `rewards` as float64 (count,), or raise InputError if one is missing or not finite."""
    values = rewards.detach().flatten().tolist() if isinstance(rewards, Tensor) else list(rewards)
    if len(values) != count or count == 0:
        raise InputError(
            f"an update needs one reward for each rollout, and at least one, "
            f"but got {len(values)} rewards for {count} rollouts"
        )
    for index, value in enumerate(values):
        if value is None or not math.isfinite(value):
            raise InputError(f"rewards must be finite numbers, but rollout {index} has {value}")
    return torch.tensor(values, dtype=torch.float64)
