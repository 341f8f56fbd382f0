"""The layer-removal policy (arXiv 1709.06030): one keep/remove action per layer of the network."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hwn2n.search.choices.steps import Steps
from hwn2n.search.policies.base import MAX_HIDDEN, MAX_LAYERS, Policy, check_size
from hwn2n.search.policies.choosing import act, pick

REMOVE = 0
KEEP = 1


class RemovalPolicy(Policy):
    """A bidirectional LSTM over the layers, with two logits for each (0 = remove, 1 = keep).

    Every layer is judged in the light of those before and after it, and independently of the
    actions on them, so one pass serves all rollouts. With a mask the actions are drawn in order
    from those same logits, each under what is allowed after the ones before it.

    n_features: F. hidden, layers: of the LSTM, per direction; the paper has 30 and 2.
    The output starts without a bias, as the paper's: half of all layers go at first, unless the
    steps bring a prior.
    """

    kind = "removal"

    def __init__(self, n_features: int, hidden: int = 30, layers: int = 2) -> None:
        super().__init__(n_features, n_actions=2)
        check_size("hidden", hidden, MAX_HIDDEN)
        check_size("layers", layers, MAX_LAYERS)
        self.hidden = hidden
        self.layers = layers
        self.lstm = nn.LSTM(n_features, hidden, layers, bidirectional=True)
        self.output = nn.Linear(2 * hidden, 2)
        self.critic = nn.Linear(2 * hidden, 1)
        with torch.no_grad():
            self.output.bias.zero_()

    def config(self) -> dict[str, int]:
        """Return the arguments with which the class makes a policy of the same shape."""
        return {"n_features": self.n_features, "hidden": self.hidden, "layers": self.layers}

    def forward(self, steps: Steps, actions: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits (B, T, 2) and values (B, T); `actions` (B, T) only gives B."""
        states, _ = self.lstm(self.read(steps))  # (T, 2 * hidden)
        count = actions.shape[0]
        logits = (self.output(states) + self.prior(steps)).expand(count, -1, -1)
        return logits, self.critic(states).squeeze(-1).expand(count, -1)

    def unroll(self, steps: Steps, count: int, uniforms: Tensor | None) -> Tensor:
        """Return settled actions (count, T), all steps at once, or in order where a mask asks."""
        shape_only = torch.zeros(count, len(steps), dtype=torch.int64)
        logits, _ = self.forward(steps, shape_only)
        if steps.mask is None:
            return steps.settle(pick(logits, uniforms))
        taken: list[Tensor] = []
        for t in range(len(steps)):
            taken.append(act(steps, t, taken, logits[:, t], uniforms))
        return torch.stack(taken, dim=1)
