"""Expected rewards and gradients of policies on toys, by enumerating every sequence."""

from __future__ import annotations

from collections.abc import Callable

import torch

from hwn2n.search.choices.steps import Steps
from hwn2n.search.learners.base import Learner
from hwn2n.search.policies import Policy


def all_sequences(policy: Policy, steps: Steps) -> torch.Tensor:
    """Every sequence of actions that the steps and their mask allow, (N, T)."""
    free = steps.free.nonzero().flatten().tolist()
    grid = torch.cartesian_prod(*[torch.arange(policy.n_actions)] * len(free))
    actions = torch.zeros(len(grid), len(steps), dtype=torch.int64)
    actions[:, free] = grid.view(len(grid), -1)
    actions = steps.settle(actions)
    if steps.mask is None:
        return actions
    allowed = []
    for row in actions.tolist():
        may = [steps.mask.allowed(tuple(row[:t]))[row[t]] for t in free]
        allowed.append(all(may))
    return actions[torch.tensor(allowed)]


def rewards_of(actions: torch.Tensor) -> torch.Tensor:
    """Some reward in which the steps interact."""
    x = actions.double()
    return 0.3 + torch.sin(1.7 * x[:, 0] + 0.4) - 0.5 * x[:, -1] * x[:, 0]


def expected_reward(policy: Policy, steps: Steps) -> torch.Tensor:
    actions = all_sequences(policy, steps)
    return (policy.log_prob(steps, actions)[0].exp() * rewards_of(actions)).sum()


def gradient_of(policy: Policy, scalar: torch.Tensor) -> torch.Tensor:
    grads = torch.autograd.grad(scalar, list(policy.parameters()), allow_unused=True)
    return torch.cat(
        [
            (torch.zeros_like(p) if g is None else g).flatten()
            for p, g in zip(policy.parameters(), grads, strict=True)
        ]
    )


def finite_differences(policy: Policy, function: Callable[[], torch.Tensor]) -> torch.Tensor:
    slopes, h = [], 1e-6
    with torch.no_grad():
        for parameter in policy.parameters():
            flat = parameter.view(-1)
            for i in range(flat.numel()):
                kept = flat[i].item()
                flat[i] = kept + h
                up = function().item()
                flat[i] = kept - h
                down = function().item()
                flat[i] = kept
                slopes.append((up - down) / (2 * h))
    return torch.tensor(slopes, dtype=torch.float64)


def expected_learner_gradient(learner: Learner, steps: Steps, rollouts: int) -> torch.Tensor:
    """Mean gradient of the loss over every possible batch, each with its probability."""
    policy = learner.policy
    sequences = all_sequences(policy, steps)
    log_prob = policy.log_prob(steps, sequences)[0].detach()
    total = torch.zeros(sum(p.numel() for p in policy.parameters()), dtype=torch.float64)
    for batch in torch.cartesian_prod(*[torch.arange(len(sequences))] * rollouts).view(
        -1, rollouts
    ):
        actions = sequences[batch]
        evaluation = policy.evaluate(steps, actions)
        loss, _ = learner.objective(
            evaluation, steps.free, rewards_of(actions), evaluation.log_prob.detach()
        )
        total += log_prob[batch].sum().exp() * gradient_of(policy, loss)
    return total
