"""REINFORCE (Williams 1992) as N2N learning uses it (arXiv 1709.06030).

An episode ends with one reward and gamma = 1, so the gradient of the expected reward is
E[(R - b) grad log p(actions)], with p the product over the free steps. Departures from the
authors' code, each of which follows the paper (number 4 of docs/method.md):

1. Every rollout is weighed by its own reward. Averaging the rewards first keeps the mean of
   the gradient but has about as many times the variance as there are rollouts.
2. One Adam step per update, over all rollouts; theirs reset the gradient between rollouts.
3. The baseline is an exponential moving average of the rewards of earlier updates, not the
   mean since the start.
4. Log-probabilities are of the actions really taken, over free steps alone (see `Steps`), and
   under the mask where there is one, which leaves all of this true (`policies/base.py`).
"""

from __future__ import annotations

import torch
from torch import Tensor

from hwn2n.errors import InputError
from hwn2n.search.learners.base import Learner
from hwn2n.search.policies.base import Evaluation


class Reinforce(Learner):
    """Policy gradient with the baseline of `ReinforceSettings.advantage`.

    L = -1/B sum_i (R_i - b_i) / scale log p(a_i) - entropy_weight * mean entropy. The very
    first update has no earlier rewards: its baseline is its own mean reward. Starting from 0 would
    push up whatever was sampled first, because nearly all rewards have the same sign.
    """

    name = "reinforce"

    def objective(
        self, evaluation: Evaluation, free: Tensor, rewards: Tensor, sampled: Tensor
    ) -> tuple[Tensor, float]:
        """Return the loss above and the mean of b."""
        baselines = self.baselines(rewards)
        bonus = self.settings.entropy_weight * evaluation.entropy.sum(dim=1).mean()
        advantages = (rewards - baselines) / self.scale(rewards)
        gain = self.gain(advantages.unsqueeze(1), evaluation.log_prob, sampled)
        return -gain - bonus, float(baselines.mean())

    def baselines(self, rewards: Tensor) -> Tensor:
        """Return b_i (B,) for rewards (B,)."""
        count = rewards.shape[0]
        if self.settings.advantage == "ema":
            level = float(rewards.mean()) if self.baseline is None else self.baseline
            return torch.full_like(rewards, level)
        if count < 2:
            raise InputError("leave-one-out needs at least 2 rollouts an update, but got 1")
        return (rewards.sum() - rewards) / (count - 1)
