"""Which candidates an update imitates: the best of the stage so far (`base.py` says how)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import torch
from torch import Tensor

from hwn2n.run.candidate import Candidate, latest


def best_actions(
    candidates: Iterable[Candidate],
    k: int,
    *,
    by: Literal["reward", "accuracy"],
    until: int,
) -> Tensor | None:
    """The actions (at most k, T) of the best candidates inside the budget; None without any.

    candidates: of one stage, in the order of the ledger; those of iterations after `until` do not
    count, so that an update which a resume repeats imitates what it imitated before. Of candidates
    with one key, which are one network, only the last counts, whose accuracy is the mean of all its
    trainings: copies of a network that is sampled often must not crowd out the others. Of equals,
    the earlier network first.
    """
    if k < 1:
        return None
    inside = [
        c for c in candidates if c.satisfied and c.accuracy is not None and c.iteration <= until
    ]
    ranked = sorted(latest(inside), key=lambda c: -(c.expected if by == "accuracy" else c.reward))
    best = [list(candidate.actions) for candidate in ranked[:k]]
    return torch.tensor(best, dtype=torch.int64) if best else None
