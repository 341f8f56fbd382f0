"""What a training reports after each epoch, returns at its end, and needs to go on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor

from hwn2n.distil.accuracy import Accuracy
from hwn2n.errors import InputError


@dataclass(frozen=True, kw_only=True)
class EpochReport:
    """One finished epoch.

    Attributes:
        epoch: its number, from 1.
        epochs: number of epochs asked for.
        loss: mean over the images of the epoch, while training.
        train_accuracy: share of correct images while training (augmented, dropout on), 0..1.
        lr: learning rate of its last step.
        validation: accuracy after the epoch, if there are validation images.
        best_epoch: number of the epoch with the best validation so far (the earliest of equals).
        seconds: that the epoch took, validation included.
    """

    epoch: int
    epochs: int
    loss: float
    train_accuracy: float
    lr: float
    validation: Accuracy | None
    best_epoch: int | None
    seconds: float


@dataclass(frozen=True, kw_only=True)
class TrainResult:
    """A finished training; the network itself was changed in place.

    Attributes:
        history: a report for each epoch, those before a resumption included.
        best_epoch: number of the best validation epoch, if there are validation images.
        validation: accuracy of the weights that the network ended with, on those images.
        stopped_early: whether `patience` ended it before the last epoch.
        precision: "fp32" or "bf16", as settled.
        seconds: of all epochs.
    """

    history: tuple[EpochReport, ...]
    best_epoch: int | None
    validation: Accuracy | None
    stopped_early: bool
    precision: str
    seconds: float


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainState:
    """A copy of all that the epochs to come depend on; later epochs do not change it.

    Orders, augmentations and dropout masks follow from the seed and the number of the epoch, so
    no generator needs saving, and the learning rate follows from the step.

    Attributes:
        model: the state dict after the last epoch of `history`.
        optimizer: the optimiser's state dict.
        best: the state dict of the best validation epoch, if `keep_best` is set.
        history: a report for each finished epoch.
        plan: settings, loss, seed, precision, number of images: a resumption must share them.
    """

    model: dict[str, Tensor]
    optimizer: dict[str, Any]
    best: dict[str, Tensor] | None
    history: tuple[EpochReport, ...]
    plan: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Tensors and builtins only, as `torch.load(weights_only=True)` admits them."""
        return {
            "model": dict(self.model),
            "optimizer": self.optimizer,
            "best": None if self.best is None else dict(self.best),
            "history": [asdict(report) for report in self.history],
            "plan": self.plan,
        }

    @staticmethod
    def from_dict(content: Mapping[str, Any]) -> TrainState:
        """The inverse of `to_dict`.

        Raises:
            InputError: something is missing.
        """
        try:
            history = []
            for report in content["history"]:
                seen = report["validation"]
                validation = None
                if seen is not None:
                    validation = Accuracy(seen["top1"], tuple(seen["per_class"]), seen["n"])
                history.append(EpochReport(**{**report, "validation": validation}))
            return TrainState(
                model=content["model"],
                optimizer=content["optimizer"],
                best=content["best"],
                history=tuple(history),
                plan=content["plan"],
            )
        except (KeyError, TypeError) as error:
            raise InputError(f"a training state must be complete, but lacks {error}") from error
