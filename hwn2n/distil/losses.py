"""The losses of teaching and of distillation (section 3.4 of arXiv 1709.06030)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor

from hwn2n.errors import InputError


def logit_l2(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared difference of the logits, 1 / (N K) sum_i ||f(x_i; W) - z_i||^2.

    The paper writes 1 / N (its L_KD, after Ba & Caruana 2014); the mean over the K classes too is
    what the authors' code takes (`nn.MSELoss`), so that learning rates carry over.

    Args:
        student: logits (N, K).
        teacher: logits (N, K).

    Returns:
        A scalar.
    """
    return F.mse_loss(student, teacher)


def cross_entropy_and_l2(student: Tensor, teacher: Tensor, labels: Tensor, lam: float) -> Tensor:
    """Cross-entropy with the labels plus lam times `logit_l2`, the loss of final training.

    Args:
        student: logits (N, K).
        teacher: logits (N, K).
        labels: int64 (N,).
        lam: the weight lambda, dimensionless.

    Returns:
        A scalar.
    """
    return F.cross_entropy(student, labels) + lam * logit_l2(student, teacher)


class Loss(ABC):
    """What `train` minimises, given logits (N, K), the teacher's or None, and labels (N,)."""

    needs_teacher: ClassVar[bool]

    @abstractmethod
    def __call__(self, logits: Tensor, teacher: Tensor | None, labels: Tensor) -> Tensor:
        """The mean loss of a batch, a scalar."""


@dataclass(frozen=True, kw_only=True)
class CrossEntropy(Loss):
    """Cross-entropy with the labels, for teachers and for training without a teacher.

    Attributes:
        label_smoothing: share of the target spread over all classes, in [0, 1).
    """

    label_smoothing: float = 0.0
    needs_teacher: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not 0 <= self.label_smoothing < 1:
            raise InputError(f"label_smoothing must be in [0, 1), but got {self.label_smoothing}")

    def __call__(self, logits: Tensor, teacher: Tensor | None, labels: Tensor) -> Tensor:
        """The mean cross-entropy, a scalar."""
        return F.cross_entropy(logits, labels, label_smoothing=self.label_smoothing)


@dataclass(frozen=True, kw_only=True)
class LogitL2(Loss):
    """`logit_l2`, the loss of search training."""

    needs_teacher: ClassVar[bool] = True

    def __call__(self, logits: Tensor, teacher: Tensor | None, labels: Tensor) -> Tensor:
        """The mean squared difference, a scalar."""
        return logit_l2(logits, _present(teacher))


@dataclass(frozen=True, kw_only=True)
class CrossEntropyAndL2(Loss):
    """`cross_entropy_and_l2`, the loss of final training.

    Attributes:
        lam: the weight lambda of the distillation term, not negative.
    """

    lam: float = 1.0
    needs_teacher: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not 0 <= self.lam < float("inf"):
            raise InputError(f"lam must be finite and not negative, but got {self.lam}")

    def __call__(self, logits: Tensor, teacher: Tensor | None, labels: Tensor) -> Tensor:
        """The weighted sum, a scalar."""
        return cross_entropy_and_l2(logits, _present(teacher), labels, self.lam)


def _present(teacher: Tensor | None) -> Tensor:
    if teacher is None:
        raise InputError("a distillation loss needs the teacher's logits, but got none")
    return teacher
