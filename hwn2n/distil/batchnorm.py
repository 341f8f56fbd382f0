"""Estimate batch-norm statistics again, as inherited or pruned weights need it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from hwn2n.distil.augment import augment as augment_batch
from hwn2n.distil.feed import Feed, evaluating
from hwn2n.distil.images import ImageSet, stratified_sample
from hwn2n.errors import InputError


def recalibrate_batch_norm(
    model: nn.Module,
    images: ImageSet,
    *,
    mean: Sequence[float],
    std: Sequence[float],
    n_images: int = 2000,
    batch_size: int = 200,
    augment: str = "none",
    device: torch.device | str = "cpu",
    precision: str = "fp32",
    seed: int = 0,
) -> int:
    """Replace running means and variances by their plain average over batches of images.

    Only batch-norm layers are put into train mode, so dropout stays off; weights are not touched;
    modes and momenta are as before afterwards.

    Args:
        model: changed in place, and moved to `device`.
        images: of the train split.
        mean: of each channel, in units of 0..1.
        std: deviation of each channel, in units of 0..1.
        n_images: how many images to use, a stratified choice by `seed`; at most all.
        batch_size: images of a batch. All batches have that many, since each counts the same: the
            rest is left out, unless there is no full batch.
        augment: a name in `AUGMENTATIONS`: that of the training, to see the same distribution.
        device: where to compute.
        precision: "fp32", "bf16" or "auto".
        seed: of the choice and the augmentation.

    Returns:
        Number of images used; 0 if there is no layer to recalibrate.

    Raises:
        InputError: fewer than 2 images, or a batch of fewer.
    """
    layers = [
        module
        for module in model.modules()
        if isinstance(module, _BatchNorm) and module.track_running_stats
    ]
    if not layers:
        return 0
    n = min(n_images, len(images))
    if n < 2 or batch_size < 2:
        raise InputError(
            f"batch norm needs at least 2 images in a batch, but got {n} images, {batch_size} each"
        )
    generator = torch.Generator().manual_seed(seed)
    chosen = stratified_sample(images.labels, n, seed)
    # stratified_sample answers in the order of the set, which may be sorted by class
    chosen = chosen[torch.randperm(n, generator=generator)]
    size = min(batch_size, n)
    feed = Feed.make(mean, std, device, precision)
    model.to(feed.device)
    momenta = [layer.momentum for layer in layers]
    used = 0
    with evaluating(model), torch.no_grad():
        try:
            for layer in layers:
                layer.reset_running_stats()
                layer.momentum = None  # torch's way to say cumulative average
                layer.train()
            for index in chosen[: n - n % size].split(size):
                batch = images.subset(index).images.to(feed.device)
                pixels = feed.pixels(augment_batch(batch, augment, generator))
                feed.logits(model, pixels, images.num_classes)
                used += len(index)
        finally:
            for layer, momentum in zip(layers, momenta, strict=True):
                layer.momentum = momentum
    return used
