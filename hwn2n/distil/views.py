"""Augmented images that all trainings share, and the teacher's logits of exactly these.

Distillation compares student and teacher on the same view of an image. Where each training draws
its own views the teacher has to classify every batch of every training, which costs more than
training a small student does. Here the views of an epoch follow from its number alone, and
`teacher_logits` keeps what the teacher says of them for later trainings and later runs.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from hwn2n.distil.augment import augment
from hwn2n.distil.images import ImageSet
from hwn2n.distil.logits import teacher_logits
from hwn2n.distil.optim import epoch_seed

MOST_BYTES = 2**30
"""Larger epochs are not held a second time in memory: each training then draws its own views."""

_CHUNK = 1000
_VIEWS = 7_919
"""In place of a training's seed."""


def worth_sharing(images: ImageSet, count: int) -> bool:
    """Whether an epoch of `count` images is small enough to be held as views."""
    return images.images[0].numel() * count <= MOST_BYTES


def views_of_epoch(images: ImageSet, policy: str, epoch: int) -> ImageSet:
    """The images, uint8 (N, C, H, W), each in its view of that epoch (counted from 0)."""
    generator = torch.Generator().manual_seed(epoch_seed(_VIEWS, epoch))
    viewed = [augment(part, policy, generator) for part in images.images.split(_CHUNK)]
    return ImageSet(torch.cat(viewed), images.labels, images.num_classes)


def shared_epoch(
    images: ImageSet,
    order: Tensor,
    policy: str,
    epoch: int,
    teacher: nn.Module,
    *,
    mean: Sequence[float],
    std: Sequence[float],
    device: torch.device,
    precision: str,
) -> tuple[ImageSet, Tensor, Tensor]:
    """What an epoch learns from: (views, the teacher's logits (n, K), the order among them).

    Args:
        images: all that there are, (N, C, H, W).
        order: int64 (n,), which of them the epoch learns, in this order.
        policy: a name in `AUGMENTATIONS`.
        epoch: its number, from 0.
        teacher: in eval mode.
        mean: of each channel, in units of 0..1.
        std: deviation of each channel, in units of 0..1.
        device: where to classify them.
        precision: in which to classify them, "fp32" or "bf16".
    """
    chosen, places = order.sort()  # the same images and the same views, whatever their order
    views = views_of_epoch(images.subset(chosen), policy, epoch)
    logits = teacher_logits(teacher, views, mean=mean, std=std, device=device, precision=precision)
    among = torch.empty_like(places)
    among[places] = torch.arange(len(places), device=places.device)
    return views, logits, among
