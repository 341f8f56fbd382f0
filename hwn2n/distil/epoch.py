"""One epoch of training: order, augmentation, steps, and what is measured after it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hwn2n.distil.accuracy import Accuracy, accuracy
from hwn2n.distil.augment import augment
from hwn2n.distil.feed import DivergedError, Feed
from hwn2n.distil.images import ImageSet
from hwn2n.distil.losses import Loss
from hwn2n.distil.optim import (
    epoch_seed,
    learning_rate,
    seed_global_generators,
    set_rates,
    weight_decay,
)
from hwn2n.distil.recipes import TrainSettings
from hwn2n.distil.state import EpochReport
from hwn2n.distil.views import shared_epoch, worth_sharing

# Looking at the loss waits for a GPU, so it is done once in so many steps. None is missed: the sum
# of the losses stays NaN or infinite.
CHECK_EVERY = 16


@dataclass(frozen=True, eq=False, kw_only=True)
class Lesson:
    """What all epochs of a training share.

    Attributes:
        images: to train on, on the feed's device.
        teacher: in eval mode on that device, or None.
        teacher_logits: float (len(images), K) on that device, or None.
        loss_fn: what to minimise.
        settings: everything else.
        feed: how batches reach the networks.
        seed: of order, augmentation and dropout.
    """

    images: ImageSet
    teacher: nn.Module | None
    teacher_logits: Tensor | None
    loss_fn: Loss
    settings: TrainSettings
    feed: Feed
    seed: int

    @property
    def steps(self) -> int:
        """Steps of an epoch; a last batch of one image is left out, for batch norm's sake."""
        full, rest = divmod(self.count, self.settings.batch_size)
        return full + (rest > 1)

    @property
    def count(self) -> int:
        """Images of an epoch."""
        most = self.settings.max_images if self.settings.fresh else None
        return len(self.images) if most is None else min(most, len(self.images))

    @property
    def shares_views(self) -> bool:
        """Whether all trainings see an epoch's images in the same views."""
        settings = self.settings
        wanted = settings.shared_views and settings.augment != "none" and self.teacher is not None
        return wanted and worth_sharing(self.images, self.count)

    def chosen(self, epoch: int, generator: torch.Generator) -> Tensor:
        """(count,) indices of the images of an epoch, in the order in which they are learned.

        With `fresh` images those of the next part of one order that all trainings share, so that
        candidates with different seeds are compared on the same images.
        """
        if self.count == len(self.images):
            return torch.randperm(len(self.images), generator=generator)
        shared = torch.randperm(len(self.images), generator=torch.Generator().manual_seed(0))
        places = torch.arange(epoch * self.count, (epoch + 1) * self.count) % len(shared)
        return shared[places][torch.randperm(self.count, generator=generator)]


def run_epoch(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    lesson: Lesson,
    validation: ImageSet | None,
    history: Sequence[EpochReport],
) -> EpochReport:
    """Train the epoch after those of `history`, and validate.

    All its randomness follows from the seed and its number.

    Raises:
        DivergedError: a loss, a weight or a validation logit is NaN or infinite.
    """
    started = time.perf_counter()
    epoch, settings, feed = len(history), lesson.settings, lesson.feed
    # of the CPU whatever the device, so that all devices see the same batches
    draw = epoch_seed(lesson.seed, epoch)
    generator = torch.Generator().manual_seed(draw)
    seed_global_generators(feed.device, draw)
    order = lesson.chosen(epoch, generator).to(feed.device)
    images, known, policy = lesson.images, lesson.teacher_logits, settings.augment
    if lesson.shares_views:
        assert lesson.teacher is not None
        images, known, order = shared_epoch(
            images,
            order,
            policy,
            epoch,
            lesson.teacher,
            mean=feed.mean,
            std=feed.std,
            device=feed.device,
            precision=feed.precision,
        )
        policy = "none"
    model.train()
    loss_sum = torch.zeros((), device=feed.device)
    correct = torch.zeros((), dtype=torch.int64, device=feed.device)
    seen, rate = 0, 0.0
    for step, index in enumerate(order.split(settings.batch_size)[: lesson.steps]):
        rate = learning_rate(settings, epoch * lesson.steps + step, lesson.steps)
        set_rates(optimizer, rate, weight_decay(settings, epoch))
        labels = images.labels[index]
        pixels = feed.pixels(augment(images.images[index], policy, generator))
        wanted = known[index] if known is not None else _teacher_logits(lesson, pixels)
        logits = feed.logits(model, pixels, images.num_classes)
        loss = lesson.loss_fn(logits, wanted, labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if settings.clip_norm is not None:
            nn.utils.clip_grad_norm_(model.parameters(), settings.clip_norm)
        optimizer.step()
        loss_sum += loss.detach() * len(index)
        correct += (logits.detach().argmax(1) == labels).sum()
        seen += len(index)
        if step % CHECK_EVERY == 0 or step == lesson.steps - 1:
            _check_finite(loss_sum, epoch, step, "the loss")
    _check_finite(
        sum(p.detach().sum() for p in model.parameters()), epoch, lesson.steps, "a weight"
    )
    measured = None
    if validation is not None:
        measured = accuracy(
            model, validation, feed.mean, feed.std, feed.device, precision=feed.precision
        )
    return EpochReport(
        epoch=epoch + 1,
        epochs=settings.epochs,
        loss=float(loss_sum) / seen,
        train_accuracy=int(correct) / seen,
        lr=rate,
        validation=measured,
        best_epoch=_best_epoch(history, measured),
        seconds=time.perf_counter() - started,
    )


def _teacher_logits(lesson: Lesson, pixels: Tensor) -> Tensor | None:
    if lesson.teacher is None:
        return None
    with torch.no_grad():
        return lesson.feed.logits(lesson.teacher, pixels, lesson.images.num_classes)


def _check_finite(value: Tensor | int, epoch: int, step: int, what: str) -> None:
    if not torch.isfinite(torch.as_tensor(value)):
        raise DivergedError(
            f"{what} must be finite, but is NaN or infinite at step {step + 1} of epoch {epoch + 1}"
        )


def _best_epoch(history: Sequence[EpochReport], measured: Accuracy | None) -> int | None:
    if measured is None:
        return None
    before = history[-1].best_epoch if history else None
    if before is not None:
        best = history[before - 1].validation
        if best is not None and measured.top1 <= best.top1:
            return before
    return len(history) + 1
