"""The sequence of choices that a policy reads: one step per layer, or per variable of a layer.

A step is *free* (the policy chooses), *forced* (the action is given, such as the last
classifier that must be kept) or *tied* (it copies an earlier step, such as two widths of one
channel group). Forced and tied steps stay in the sequence, because the policy should see the
whole network, but they never enter a log-probability, an entropy or a gradient: reinforcing
an action that the policy did not choose is a known fault of the authors' code.

A mask (`Mask`) forbids actions of free steps. It belongs to the steps, as the prior does, so that
sampling and scoring can never disagree on it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hwn2n.errors import InputError

FREE = -1
"""The mark in `Steps.forced` and `Steps.tied` of a step that is not forced, or not tied."""


class Mask(ABC):
    """What free steps may do, given what was done before them.

    It must be a function of these actions alone: then whoever scores a rollout, now or after a
    resume, finds the mask that it was sampled under, and nobody has to store it.
    """

    n_actions: int

    @abstractmethod
    def allowed(self, taken: tuple[int, ...]) -> tuple[bool, ...]:
        """For each of the actions of step `len(taken)`, a free one: may it be taken?

        taken: the settled actions of all steps before it. At least one must be allowed.
        """


@dataclass(frozen=True, eq=False)
class Steps:
    """T steps of a policy, in the order in which they are decided.

    names: T distinct names, by which a decision finds its action.
    features: (T, F) float32, what the policy reads about each step.
    forced: (T,) int64, the action that step t must take, or -1.
    tied: (T,) int64, the index of an EARLIER step whose action step t copies, or -1.
        That step may itself be tied or forced; a step is never both forced and tied.
    prior: (T, A) float32 or None, logits added to the policy's own: what is preferred before
        anything was learned. It belongs to the steps and not to a policy, so that a policy which
        moves to another teacher takes what it learned with it, and no prior. The paper has none.
    mask: what free steps may do, or None where nothing is forbidden, as in the paper.

    Raises InputError when these do not hold.
    """

    names: tuple[str, ...]
    features: Tensor
    forced: Tensor
    tied: Tensor
    prior: Tensor | None = None
    mask: Mask | None = None

    def __post_init__(self) -> None:
        count = len(self.names)
        if count == 0:
            raise InputError("a policy needs at least one step, but got none")
        if len(set(self.names)) != count:
            twice = next(name for name in self.names if self.names.count(name) > 1)
            raise InputError(f"names of steps must be distinct, but {twice!r} comes twice")
        if self.features.dtype != torch.float32 or self.features.shape[:-1] != (count,):
            raise InputError(
                f"features of {count} steps must be float32 of shape ({count}, F), "
                f"but got {self.features.dtype} of shape {tuple(self.features.shape)}"
            )
        if not bool(torch.isfinite(self.features).all()):
            row = int((~torch.isfinite(self.features)).any(dim=1).nonzero()[0])
            raise InputError(f"features must be finite, but those of {self.names[row]!r} are not")
        for field in ("forced", "tied"):
            marks = getattr(self, field)
            if marks.dtype != torch.int64 or marks.shape != (count,):
                raise InputError(
                    f"`{field}` of {count} steps must be int64 of shape ({count},), "
                    f"but got {marks.dtype} of shape {tuple(marks.shape)}"
                )
        if self.prior is not None and (
            self.prior.dtype != torch.float32
            or self.prior.dim() != 2
            or self.prior.shape[0] != count
            or not bool(torch.isfinite(self.prior).all())
        ):
            raise InputError(
                f"the prior of {count} steps must be finite float32 of shape ({count}, actions), "
                f"but got {self.prior.dtype} of shape {tuple(self.prior.shape)}"
            )
        for t, (action, source) in enumerate(
            zip(self.forced.tolist(), self.tied.tolist(), strict=True)
        ):
            name = self.names[t]
            if action < FREE:
                raise InputError(
                    f"a forced action must be >= 0, or -1 for none, but {name!r} has {action}"
                )
            if not FREE <= source < t:
                raise InputError(
                    f"a step must be tied to an earlier one, or -1, "
                    f"but step {t} ({name!r}) is tied to {source}"
                )
            if action != FREE and source != FREE:
                raise InputError(f"a step is forced or tied, not both, but {name!r} is both")

    def __len__(self) -> int:
        return len(self.names)

    @property
    def free(self) -> Tensor:
        """(T,) bool: the steps at which the policy itself chooses."""
        return (self.forced == FREE) & (self.tied == FREE)

    @property
    def source(self) -> Tensor:
        """(T,) int64: the free or forced step that settles step t, ties followed to their end."""
        ends: list[int] = []
        for t, tied in enumerate(self.tied.tolist()):
            ends.append(t if tied == FREE else ends[tied])
        return torch.tensor(ends, dtype=torch.int64, device=self.tied.device)

    def settle(self, actions: Tensor) -> Tensor:
        """Return the actions really taken: `actions` with forced and tied steps overwritten.

        actions: (..., T) int64, of which only the free steps are read. Same shape comes back.
        """
        if actions.dtype != torch.int64 or actions.shape[-1:] != (len(self),):
            raise InputError(
                f"actions for {len(self)} steps must be int64 of shape (..., {len(self)}), "
                f"but got {actions.dtype} of shape {tuple(actions.shape)}"
            )
        forced = self.forced.to(actions.device)
        return torch.where(forced == FREE, actions, forced)[..., self.source.to(actions.device)]

    def allowed(self, actions: Tensor) -> Tensor:
        """Return what the mask allowed in rollouts: bool (B, T, A), all true at fixed steps.

        actions: settled, (B, T). There must be a mask. Row t says what step t could do after the
        actions before it.
        """
        assert self.mask is not None
        free, everything = self.free.tolist(), (True,) * self.mask.n_actions
        return torch.tensor(
            [
                [self._may(row[:t]) if free[t] else everything for t in range(len(row))]
                for row in actions.tolist()
            ],
            dtype=torch.bool,
        )

    def allowed_next(self, taken: Sequence[Tensor], count: int) -> Tensor:
        """Return what the mask allows at the step after `taken`, t tensors (count,): (count, A)."""
        rows = torch.stack(list(taken), dim=1).tolist() if taken else [[]] * count
        return torch.tensor([self._may(row) for row in rows], dtype=torch.bool)

    def _may(self, taken: list[int]) -> tuple[bool, ...]:
        assert self.mask is not None
        allowed = self.mask.allowed(tuple(taken))
        if not any(allowed):
            raise InputError(
                f"a mask must allow an action at every step, but allows none at "
                f"{self.names[len(taken)]!r}"
            )
        return allowed
