"""Accuracy, in all and by class, and logits of a whole set."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hwn2n.distil.feed import DivergedError, Feed, evaluating
from hwn2n.distil.images import ImageSet
from hwn2n.errors import InputError

Watch = Callable[[int, int], None]
"""Called with how many images of how many are classified; what it raises ends that."""


@dataclass(frozen=True)
class Accuracy:
    """Shares of correctly classified images, each 0..1.

    Attributes:
        top1: of all images.
        per_class: of the images of each class; NaN for a class that the set does not show.
        n: number of images, from which a standard error can be had.
    """

    top1: float
    per_class: tuple[float, ...]
    n: int

    @property
    def worst_class(self) -> float:
        """The lowest accuracy among the classes that the set shows."""
        return min(value for value in self.per_class if value == value)


def accuracy(
    model: nn.Module,
    images: ImageSet,
    mean: Sequence[float],
    std: Sequence[float],
    device: torch.device | str = "cpu",
    batch_size: int = 1000,
    *,
    precision: str = "fp32",
) -> Accuracy:
    """Classify every image, in eval mode; the network's modes are as before afterwards.

    Args:
        model: maps (N, C, H, W) to logits (N, K); moved to `device`.
        images: on any device; batches are moved.
        mean: of each channel, in units of 0..1.
        std: deviation of each channel, in units of 0..1.
        device: where to compute.
        batch_size: images of a batch; changes nothing but speed and memory.
        precision: "fp32", "bf16" or "auto".

    Raises:
        InputError: the number of logits is not the number of classes.
        DivergedError: some logits are NaN or infinite.
    """
    feed = Feed.make(mean, std, device, precision)
    model.to(feed.device)
    counted = _Counted(images)
    with evaluating(model), torch.inference_mode():
        for batch, labels in _batches(images, batch_size):
            logits = feed.logits(model, feed.pixels(batch), images.num_classes)
            counted.add(logits, labels.to(feed.device))
    return counted.accuracy()


def accuracy_of(logits: Tensor, images: ImageSet) -> Accuracy:
    """What logits (N, K) that are known already say of the images; errors as of `accuracy`."""
    counted = _Counted(images)
    counted.add(logits, images.labels.to(logits.device))
    return counted.accuracy()


class _Counted:
    """Right answers by class, summed on the device: looking at them would wait for a GPU."""

    def __init__(self, images: ImageSet) -> None:
        self.images = images
        self.correct: Tensor | None = None
        self.total = self.broken = torch.zeros(0)

    def add(self, logits: Tensor, labels: Tensor) -> None:
        if self.correct is None:
            _check_labels(self.images, logits.shape[1])
            self.correct = torch.zeros(logits.shape[1], dtype=torch.int64, device=logits.device)
            self.total = torch.zeros_like(self.correct)
            self.broken = torch.zeros((), dtype=torch.int64, device=logits.device)
        self.broken += (~logits.isfinite()).any(1).sum()
        hit = (logits.argmax(1) == labels).long()
        self.correct.scatter_add_(0, labels, hit)
        self.total.scatter_add_(0, labels, torch.ones_like(labels))

    def accuracy(self) -> Accuracy:
        assert self.correct is not None  # an image set is never empty
        _check_finite(int(self.broken), len(self.images))
        pairs = list(zip(self.correct.tolist(), self.total.tolist(), strict=True))
        return Accuracy(
            top1=sum(right for right, _ in pairs) / len(self.images),
            per_class=tuple(right / of if of else float("nan") for right, of in pairs),
            n=len(self.images),
        )


def predict_logits(
    model: nn.Module,
    images: ImageSet,
    mean: Sequence[float],
    std: Sequence[float],
    device: torch.device | str = "cpu",
    batch_size: int = 1000,
    *,
    precision: str = "fp32",
    watch: Watch | None = None,
) -> Tensor:
    """The logits of every image, for `train(teacher_logits=...)`: float32 (N, K) on `device`.

    `watch` is called before each batch. Other arguments and errors as of `accuracy`.
    """
    feed = Feed.make(mean, std, device, precision)
    model.to(feed.device)
    found: list[Tensor] = []
    with evaluating(model), torch.no_grad():
        for batch, _ in _batches(images, batch_size):
            if watch is not None:
                watch(sum(map(len, found)), len(images))
            found.append(feed.logits(model, feed.pixels(batch), images.num_classes))
    logits = torch.cat(found)
    _check_finite(int((~logits.isfinite()).any(1).sum()), len(images))
    return logits


def _batches(images: ImageSet, batch_size: int) -> zip[tuple[Tensor, Tensor]]:
    if batch_size < 1:
        raise InputError(f"batch_size must be at least 1, but got {batch_size}")
    return zip(images.images.split(batch_size), images.labels.split(batch_size), strict=True)


def _check_labels(images: ImageSet, outputs: int) -> None:
    highest = int(images.labels.max())
    if highest >= outputs:
        raise InputError(
            f"a network must have an output for each class, but has {outputs} and a label is "
            f"{highest}"
        )


def _check_finite(broken: int, n: int) -> None:
    if broken:
        raise DivergedError(
            f"logits must be finite, but those of {broken} of {n} images are NaN or infinite"
        )
