"""Random actions in the interface of a policy: the opponent that every policy must beat."""

from __future__ import annotations

import torch
from torch import Tensor

from hwn2n.search.choices.steps import Steps
from hwn2n.search.policies.base import Policy
from hwn2n.search.policies.choosing import act


class UniformPolicy(Policy):
    """Each free step takes each action with the same probability; there is nothing to learn.

    In published comparisons at a few hundred evaluations plain REINFORCE does no better than
    this, so every figure of the policies is shown beside it at equal cost. With a mask it is random
    search among what is feasible: each allowed action of a step is equally likely (so sequences
    are not quite, as the steps before decide how many actions a step has).
    """

    kind = "uniform"

    def config(self) -> dict[str, int]:
        """Return the arguments with which the class makes a policy of the same shape."""
        return {"n_features": self.n_features, "n_actions": self.n_actions}

    def forward(self, steps: Steps, actions: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits (B, T, n_actions) and values (B, T), all 0."""
        count, length = actions.shape[0], len(steps)
        return torch.zeros(count, length, self.n_actions), torch.zeros(count, length)

    def unroll(self, steps: Steps, count: int, uniforms: Tensor | None) -> Tensor:
        """Return settled random actions (count, T); without `uniforms` the last ones allowed.

        All actions being equally likely, the greedy one is the one that changes least.
        """
        logits = torch.zeros(count, self.n_actions)
        if uniforms is None:
            logits += torch.arange(self.n_actions)
        taken: list[Tensor] = []
        for t in range(len(steps)):
            taken.append(act(steps, t, taken, logits, uniforms))
        return torch.stack(taken, dim=1)
