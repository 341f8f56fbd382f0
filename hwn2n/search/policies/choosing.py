"""From logits to actions: forced, tied, masked or drawn."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from hwn2n.errors import InputError
from hwn2n.search.choices.steps import FREE, Steps


def act(
    steps: Steps, t: int, taken: Sequence[Tensor], logits: Tensor, uniforms: Tensor | None
) -> Tensor:
    """Return the settled actions (B,) of step t: picked if it is free, by `logits` (B, A).

    taken: the actions (B,) of each step before it. uniforms: (B, T) or None, as in `pick`.
    """
    tied, forced = int(steps.tied[t]), int(steps.forced[t])
    if tied != FREE:
        return taken[tied]
    if forced != FREE:
        return torch.full(logits.shape[:1], forced, device=logits.device)
    if steps.mask is not None:
        allowed = steps.allowed_next(taken, logits.shape[0])
        logits = logits.masked_fill(~allowed.to(logits.device), -math.inf)
    return pick(logits, None if uniforms is None else uniforms[:, t])


def pick(logits: Tensor, uniforms: Tensor | None) -> Tensor:
    """Return one action (...) int64 for each row of logits (..., A).

    uniforms: (...) numbers in [0, 1), turned into actions by the inverse of the cumulative
    distribution; None takes the likeliest action, of equals the first. Logits of -inf are never
    taken; one in each row must be finite.
    """
    if uniforms is None:
        return logits.argmax(dim=-1)
    cumulative = torch.softmax(logits.double(), dim=-1).cumsum(dim=-1)
    below = cumulative <= uniforms.to(logits.device).unsqueeze(-1)
    # A cumulative sum may end a hair under 1, with the uniform number above it: then it is the
    # last action that can be taken.
    possible = torch.arange(logits.shape[-1], device=logits.device) * ~logits.isneginf()
    return below.sum(dim=-1).minimum(possible.amax(dim=-1))


def check_allowed(steps: Steps, actions: Tensor, allowed: Tensor) -> None:
    """Raise InputError if an action of `actions` (B, T) is not among `allowed` (B, T, A)."""
    taken = allowed.gather(-1, actions.unsqueeze(-1)).squeeze(-1)
    if not bool(taken.all()):
        row, t = (~taken).nonzero()[0].tolist()
        raise InputError(
            f"rollout {row} must take actions that the mask allows, but took action "
            f"{int(actions[row, t])} at step {steps.names[t]!r}"
        )
