"""Learners: what is common to all of them, and the one that learns nothing.

Imitation. Beside its own objective a learner can raise the likelihood of the k best candidates so
far (`imitation.py` chooses them): its loss gets `imitate_weight` times their mean negative
log-likelihood, over free steps and under the mask. That is the top-k term of priority queue
training (Abolafia, Norouzi, Shen, Zhao and Le 2018, arXiv 1801.03526), which adds it to a policy
gradient in the same way; one of the kind of self-imitation (Oh et al. 2018, arXiv 1806.05284),
which weighs good steps of the past by how much better they were than the critic expected, and of
the cross-entropy method, which fits the policy to the best samples of one generation. The term is
no estimate of the gradient of the expected reward: it pulls towards what was best, lucky or not.
The paper does not have it.

Several steps. One step of Adam moves a weight by the learning rate at most, so ten updates learn
next to nothing. With `steps` above 1 an update takes so many on the same rollouts, by the clipped
objective of proximal policy optimisation (Schulman et al. 2017, arXiv 1707.06347): of a rollout
that was sampled by the policy before the update, the probability of an action counts as a ratio to
what it was then, and no further than `CLIP` in the direction that pays. At the first step all
ratios are 1 and the gradient is that of the policy gradient.
"""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, ClassVar

import torch
from torch import Tensor

from hwn2n.errors import Hwn2nError, InputError
from hwn2n.search.choices.steps import Steps
from hwn2n.search.learners.reports import ReinforceSettings, UpdateReport
from hwn2n.search.policies.base import Evaluation, Policy

CLIP = 0.2
"""Of the authors' experiments."""
_LEAST_SPREAD = 1e-3
"""Rewards closer together than this differ by noise, which must not be blown up."""


class Learner(ABC):
    """Turns rewarded rollouts into a better policy, `ReinforceSettings.steps` Adam steps each."""

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
        self, evaluation: Evaluation, free: Tensor, rewards: Tensor, sampled: Tensor
    ) -> tuple[Tensor, float]:
        """Return the loss to minimise and the mean baseline.

        evaluation: of B rollouts of T steps. free: (T,) bool. rewards: (B,). sampled: (B, T), the
        log-probabilities of the actions when the update began.
        """

    def update(
        self,
        steps: Steps,
        actions: Tensor,
        rewards: Tensor | Sequence[float | None],
        imitate: Tensor | None = None,
    ) -> UpdateReport:
        """Learn from B rollouts of one sequence of steps.

        actions: (B, T) int64, as taken. rewards: (B,), one finite number for each rollout; None,
        NaN and infinities are an InputError, and then nothing has changed. imitate: (k, T) int64,
        the candidates to imitate; None or k = 0 for none.
        """
        given = check_rewards(rewards, actions.shape[0])
        report: UpdateReport | None = None
        sampled: Tensor | None = None
        for _ in range(self.settings.steps):
            evaluation = self.policy.evaluate(steps, actions)
            dtype, device = evaluation.value.dtype, evaluation.value.device
            free = steps.free.to(device)
            sampled = evaluation.log_prob.detach() if sampled is None else sampled
            loss, baseline = self.objective(
                evaluation, free, given.to(device=device, dtype=dtype), sampled
            )
            imitation = 0.0
            if self.settings.imitate_weight and imitate is not None and len(imitate):
                unlikely = -self.policy.log_prob(steps, imitate)[0].mean()
                loss = loss + self.settings.imitate_weight * unlikely
                imitation = float(unlikely.detach())
            grad_norm = self._step(loss) if bool(free.any()) else 0.0
            report = report or UpdateReport(
                loss=float(loss.detach()),
                grad_norm=grad_norm,
                entropy=float(evaluation.entropy.detach().sum(dim=1).mean()),
                baseline=baseline,
                imitation=imitation,
            )
        assert report is not None
        mean = float(given.mean())
        decay = self.settings.baseline_decay
        self.baseline = (
            mean if self.baseline is None else decay * self.baseline + (1 - decay) * mean
        )
        spread = float(given.std(unbiased=False))
        if self.spread is not None:
            self.spread = decay * self.spread + (1 - decay) * spread
        elif spread > 0.0:  # rewards that are all one say nothing of how far apart others lie
            self.spread = spread
        self.updates += 1
        return report

    def gain(self, advantages: Tensor, log_prob: Tensor, sampled: Tensor) -> Tensor:
        """What to maximise: of each rollout, summed over steps, then the mean over rollouts.

        advantages: (B, 1) or (B, T), constants. log_prob and sampled: (B, T).
        """
        if self.settings.steps == 1:
            return (advantages * log_prob).sum(dim=1).mean()
        ratio = (log_prob - sampled).exp()
        clipped = ratio.clamp(1 - CLIP, 1 + CLIP)
        return torch.minimum(advantages * ratio, advantages * clipped).sum(dim=1).mean()

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
        # A state of before there were these settings is one without them.
        before = {"imitate_weight": 0.0, "steps": 1}
        given = {**state, "settings": {**before, **(state.get("settings") or {})}}
        for key, value in own.items():
            if given.get(key) != value:
                raise InputError(
                    f"the state of a learner must have {key} {value}, but has {given.get(key)}"
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
        self, evaluation: Evaluation, free: Tensor, rewards: Tensor, sampled: Tensor
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
