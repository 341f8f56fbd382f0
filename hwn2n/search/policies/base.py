"""What all policies share: sampling, log-probabilities and entropies over the free steps.

Masks. Where the steps have a mask, a policy is the distribution

    p(a_t | s_t) = exp(z_t[a_t]) / sum over allowed a of exp(z_t[a]),   a_t allowed at s_t,

with the logits z_t of the network; s_t are the actions before t. Sampling, log-probability and
entropy are all those of this p. What is allowed depends on s_t and on no weight, so p is a
softmax policy over fewer actions, smooth in the weights; it sums to 1 over the sequences that the
mask allows, for each s_t alone does. So sum p(a) grad log p(a) = grad 1 = 0 over them, and
E[(R - b) grad log p(a)] is the gradient of E[R] under p with any baseline b that does not know
the action: the estimates of the learners stay unbiased, for the policy that is in fact sampled
from (Huang and Ontanon 2020, arXiv 2006.14171, section 3). Three things would break it: scoring
with unmasked log-probabilities, as their gradient also pushes forbidden logits (it is that of
another policy); a mask that is drawn at random or depends on the weights; and sampling first and
repairing the actions afterwards. A step with one allowed action has log-probability, entropy and
gradient 0, like a forced one.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from hwn2n.errors import InputError
from hwn2n.search.choices.steps import Steps
from hwn2n.search.policies.choosing import check_allowed

MAX_HIDDEN = 4096
MAX_LAYERS = 16
# Far above any useful policy: they stop a damaged or hostile policy file from asking for
# terabytes before its shapes are looked at.
MAX_FEATURES = 4096
MAX_ACTIONS = 1024


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """A policy's view of B rollouts of T steps; all (B, T).

    log_prob: of the action taken. entropy: of the step's distribution, in nats. Both are exactly
    0, without gradient, where a step is forced or tied or the mask leaves one action. value:
    V(s_t), the reward that the critic expects at step t before its action is known; meaningful at
    every step.
    """

    log_prob: Tensor
    entropy: Tensor
    value: Tensor


class Policy(nn.Module, ABC):
    """A distribution over the actions 0 .. n_actions-1 of each step.

    Tensors are accepted on any device and sampled actions return on the CPU; the policies of the
    paper have some thirty thousand weights, so the CPU is where they run best. Weights may be
    float64. A constructor draws initial weights from torch's global generator: seed that.
    """

    kind: ClassVar[str]

    def __init__(self, n_features: int, n_actions: int) -> None:
        super().__init__()
        check_size("n_features", n_features, MAX_FEATURES)
        check_size("n_actions", n_actions, MAX_ACTIONS)
        self.n_features = n_features
        self.n_actions = n_actions

    @abstractmethod
    def config(self) -> dict[str, int]:
        """Return the arguments with which the class makes a policy of the same shape."""

    @abstractmethod
    def forward(self, steps: Steps, actions: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits (B, T, n_actions) and values (B, T), given `actions` (B, T).

        Those of step t may depend on the actions before t only.
        """

    @abstractmethod
    def unroll(self, steps: Steps, count: int, uniforms: Tensor | None) -> Tensor:
        """Return settled actions (count, T), chosen by `act` with `uniforms` (count, T)."""

    def sample(self, steps: Steps, count: int, generator: torch.Generator) -> Tensor:
        """Return `count` rollouts: int64 (count, T) on the CPU, forced and tied steps settled.

        Deterministic given weights and generator. It draws count x T numbers however many steps
        are free, so that a search which is resumed or ablated stays in step.
        """
        self.check_steps(steps)
        check_size("count", count, 1 << 20)
        uniforms = torch.rand(
            count, len(steps), dtype=torch.float64, device=generator.device, generator=generator
        )
        with torch.no_grad():
            return self.unroll(steps, count, uniforms).cpu()

    def greedy(self, steps: Steps) -> Tensor:
        """Return the likeliest action of each step in turn: int64 (T,) on the CPU.

        For an autoregressive policy that is not always the likeliest sequence.
        """
        self.check_steps(steps)
        with torch.no_grad():
            return self.unroll(steps, 1, None)[0].cpu()

    def evaluate(self, steps: Steps, actions: Tensor) -> Evaluation:
        """Return log-probability, entropy and value of each step, with gradients.

        actions: (B, T) int64, the actions really taken. Raises InputError when they are out of
        range, differ from the forced and tied ones, or are forbidden by the mask: then something
        overrode them, and the log-probabilities would be those of another sequence.
        """
        self.check_steps(steps)
        device = self._device()
        settled = steps.settle(actions)
        if actions.dim() != 2:
            raise InputError(
                f"actions must have shape (rollouts, {len(steps)}), but got {tuple(actions.shape)}"
            )
        if bool(((actions < 0) | (actions >= self.n_actions)).any()):
            raise InputError(
                f"actions must lie in 0..{self.n_actions - 1}, "
                f"but got {int(actions.min())}..{int(actions.max())}"
            )
        if not torch.equal(settled, actions):
            row, t = (settled != actions).nonzero()[0].tolist()
            raise InputError(
                f"step {steps.names[t]!r} is forced or tied to action {int(settled[row, t])}, "
                f"but rollout {row} says {int(actions[row, t])}"
            )
        logits, value = self(steps, settled.to(device))
        if steps.mask is not None:
            allowed = steps.allowed(settled)
            check_allowed(steps, settled.cpu(), allowed)
            logits = logits.masked_fill(~allowed.to(device), -math.inf)
        log_probs = torch.log_softmax(logits, dim=-1)
        taken = log_probs.gather(-1, settled.to(device).unsqueeze(-1)).squeeze(-1)
        # A forbidden action adds 0, and not 0 * -inf, to the entropy and its gradient.
        summands = log_probs.exp() * log_probs.masked_fill(log_probs.isneginf(), 0.0)
        entropy = -summands.sum(dim=-1)
        free = steps.free.to(device)
        zero = torch.zeros((), dtype=logits.dtype, device=device)
        return Evaluation(
            log_prob=torch.where(free, taken, zero),
            entropy=torch.where(free, entropy, zero),
            value=value,
        )

    def log_prob(self, steps: Steps, actions: Tensor) -> tuple[Tensor, Tensor]:
        """Return log-probability (B,) and entropy (B,) of rollouts (B, T), summed over free steps.

        The entropy is that of each step given the actions taken before it. Raises as `evaluate`.
        """
        evaluation = self.evaluate(steps, actions)
        return evaluation.log_prob.sum(dim=1), evaluation.entropy.sum(dim=1)

    def check_steps(self, steps: Steps) -> None:
        """Raise InputError unless this policy can read the features and take the actions."""
        if steps.features.shape[1] != self.n_features:
            raise InputError(
                f"this {self.kind} policy reads {self.n_features} features for each step, "
                f"but the steps have {steps.features.shape[1]}"
            )
        if int(steps.forced.max()) >= self.n_actions:
            raise InputError(
                f"forced actions of a {self.kind} policy must be < {self.n_actions}, "
                f"but got {int(steps.forced.max())}"
            )

        if steps.mask is not None and steps.mask.n_actions != self.n_actions:
            raise InputError(
                f"the mask of a {self.kind} policy's steps must be for {self.n_actions} actions, "
                f"but is for {steps.mask.n_actions}"
            )
        if steps.prior is not None and steps.prior.shape[1] != self.n_actions:
            raise InputError(
                f"the prior of a {self.kind} policy's steps must have {self.n_actions} actions, "
                f"but has {steps.prior.shape[1]}"
            )

    def prior(self, steps: Steps) -> Tensor:
        """Return the logits (T, n_actions) to be added to the policy's own; 0 without a prior."""
        weight = next(self.parameters())
        if steps.prior is None:
            return weight.new_zeros(len(steps), self.n_actions)
        return steps.prior.to(device=weight.device, dtype=weight.dtype)

    def read(self, steps: Steps) -> Tensor:
        """Return the features (T, F) in the type and on the device of the weights."""
        weight = next(self.parameters())
        return steps.features.to(device=weight.device, dtype=weight.dtype)

    def _device(self) -> torch.device:
        weight = next(self.parameters(), None)
        return torch.device("cpu") if weight is None else weight.device


def check_size(name: str, value: int, maximum: int) -> None:
    """Raise InputError unless `value` is a whole number in 1..maximum."""
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= maximum:
        raise InputError(f"{name} must be a whole number in 1..{maximum}, but got {value!r}")
