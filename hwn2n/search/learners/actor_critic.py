"""Actor-critic: the baseline is learned, one for each step.

The critic is a linear head on the policy's own LSTM states. As the only reward comes at the
end and gamma = 1, its target at every step is that reward, and no bootstrapping is needed.
`LEARNERS` names all learners.
"""

from __future__ import annotations

from torch import Tensor

from hwn2n.search.learners.base import Learner, NoLearning
from hwn2n.search.learners.reinforce import Reinforce
from hwn2n.search.policies.base import Evaluation


class ActorCritic(Learner):
    """Policy gradient with the advantage R_i - V(s_it) at each free step.

    L = -1/B sum_i sum_t (R_i - V(s_it)) / scale log p(a_it) - entropy_weight * mean entropy
        + value_weight * mean over i and free t of (V(s_it) - R_i)^2,
    where V is a constant in the first sum. V(s_it) knows the actions before t only, so the
    gradient of the expected reward stays unbiased. `ReinforceSettings.advantage` is not used.
    """

    name = "actor-critic"

    def objective(
        self, evaluation: Evaluation, free: Tensor, rewards: Tensor, sampled: Tensor
    ) -> tuple[Tensor, float]:
        """Return the loss above and the mean of V over the free steps (0 if there are none)."""
        value = evaluation.value[:, free]  # (B, free steps)
        if value.shape[1] == 0:
            return evaluation.log_prob.sum(), 0.0
        advantage = (rewards.unsqueeze(1) - value.detach()) / self.scale(rewards)
        gain = self.gain(advantage, evaluation.log_prob[:, free], sampled[:, free])
        bonus = self.settings.entropy_weight * evaluation.entropy.sum(dim=1).mean()
        error = (value - rewards.unsqueeze(1)).square().mean()
        loss = -gain - bonus + self.settings.value_weight * error
        return loss, float(value.detach().mean())


LEARNERS: dict[str, type[Learner]] = {
    "reinforce": Reinforce,
    "actor-critic": ActorCritic,
    "none": NoLearning,
}
