"""The layer-shrinkage policy (arXiv 1709.06030): how much of each layer's variables to keep."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hwn2n.search.choices.steps import Steps
from hwn2n.search.policies.base import MAX_HIDDEN, MAX_LAYERS, Policy, check_size
from hwn2n.search.policies.choosing import act


class ShrinkagePolicy(Policy):
    """An autoregressive LSTM over the variables of the layers that are left.

    Action k stands for the value (k + 1) / n_actions: 0.1, 0.2 ... 1.0 for the paper's ten. Each
    step reads its features and the value of the action taken at the step before, whether that
    was chosen, forced or tied. The first step reads 0 there: no action has that value, so the
    start can be told from "the step before was left whole" (1.0).

    n_features: F, without the previous action. hidden, layers: of the LSTM; the paper has 50, 2.
    The cells are one registered `nn.LSTM`: those of the authors' code sat in a plain list, where
    no optimiser found them.
    """

    kind = "shrinkage"

    def __init__(
        self, n_features: int, hidden: int = 50, layers: int = 2, n_actions: int = 10
    ) -> None:
        super().__init__(n_features, n_actions)
        check_size("hidden", hidden, MAX_HIDDEN)
        check_size("layers", layers, MAX_LAYERS)
        self.hidden = hidden
        self.layers = layers
        self.lstm = nn.LSTM(n_features + 1, hidden, layers)
        self.output = nn.Linear(hidden, n_actions)
        self.critic = nn.Linear(hidden, 1)
        with torch.no_grad():
            self.output.bias.zero_()

    def config(self) -> dict[str, int]:
        """Return the arguments with which the class makes a policy of the same shape."""
        return {
            "n_features": self.n_features,
            "hidden": self.hidden,
            "layers": self.layers,
            "n_actions": self.n_actions,
        }

    def values(self, actions: Tensor) -> Tensor:
        """Return the shares to keep, in (0, 1], that `actions` (any shape) stand for; float64."""
        return (actions + 1).double() / self.n_actions

    def forward(self, steps: Steps, actions: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits (B, T, n_actions) and values (B, T), reading the actions taken."""
        features = self.read(steps)
        count = actions.shape[0]
        previous = features.new_zeros(len(steps), count, 1)
        previous[1:, :, 0] = self.values(actions[:, :-1]).T.to(features)
        inputs = torch.cat([features.unsqueeze(1).expand(-1, count, -1), previous], dim=-1)
        states, _ = self.lstm(inputs)  # (T, B, hidden)
        states = states.transpose(0, 1)
        return self.output(states) + self.prior(steps), self.critic(states).squeeze(-1)

    def unroll(self, steps: Steps, count: int, uniforms: Tensor | None) -> Tensor:
        """Return settled actions (count, T), step by step, all rollouts abreast."""
        features, prior = self.read(steps), self.prior(steps)
        taken: list[Tensor] = []
        previous = features.new_zeros(count, 1)
        memory: tuple[Tensor, Tensor] | None = None
        for t in range(len(steps)):
            row = torch.cat([features[t].expand(count, -1), previous], dim=-1)
            states, memory = self.lstm(row.unsqueeze(0), memory)
            action = act(steps, t, taken, self.output(states[0]) + prior[t], uniforms)
            taken.append(action)
            previous = self.values(action).to(features).unsqueeze(-1)
        return torch.stack(taken, dim=1)
