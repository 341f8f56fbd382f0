"""Labelled images as two tensors, and seeded stratified choices among them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from hwn2n.errors import InputError


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images and their classes; small enough to live on one device as bytes.

    Attributes:
        images: uint8 (N, C, H, W), C is 1 or 3 in most sets, 0 is black.
        labels: int64 (N,), each in [0, num_classes).
        num_classes: classes of the whole data set, of which a subset may show only some;
            None where it is not known, and then a network's outputs are only checked to be enough.

    Raises:
        InputError: wrong types or shapes, no image, or a label outside the classes.
    """

    images: Tensor
    labels: Tensor
    num_classes: int | None = None

    def __post_init__(self) -> None:
        if self.images.dtype != torch.uint8 or self.images.ndim != 4:
            raise InputError(
                "images must be uint8 of shape (N, C, H, W), but got "
                f"{self.images.dtype} of shape {tuple(self.images.shape)}"
            )
        if self.labels.dtype != torch.int64 or self.labels.shape != self.images.shape[:1]:
            raise InputError(
                f"labels must be int64 of shape ({len(self.images)},), but got "
                f"{self.labels.dtype} of shape {tuple(self.labels.shape)}"
            )
        if self.images.numel() == 0:
            raise InputError(
                f"an image set must not be empty, but got shape {tuple(self.images.shape)}"
            )
        low, high = (int(bound) for bound in torch.aminmax(self.labels))
        if low < 0 or (self.num_classes is not None and high >= self.num_classes):
            allowed = (
                "not negative" if self.num_classes is None else f"in 0..{self.num_classes - 1}"
            )
            raise InputError(f"labels must be {allowed}, but got {low if low < 0 else high}")

    def __len__(self) -> int:
        return len(self.images)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of one image."""
        _, channels, height, width = self.images.shape
        return channels, height, width

    def to(self, device: torch.device | str) -> ImageSet:
        """The same images on another device (itself, if they are there already)."""
        images, labels = self.images.to(device), self.labels.to(device)
        if images is self.images and labels is self.labels:
            return self
        return ImageSet(images, labels, self.num_classes)

    def subset(self, index: Tensor) -> ImageSet:
        """The images at `index`, int64 (n,), in that order (copied)."""
        index = index.to(self.images.device)
        return ImageSet(self.images[index], self.labels[index], self.num_classes)

    def mean_and_std(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and (population) standard deviation of each channel, in units of 0..1.

        Computed from exact histograms of the bytes, so that neither order nor device matters.
        A channel that never varies gets a deviation of 1, since it will be divided by it.
        """
        levels = torch.arange(256, dtype=torch.float64) / 255
        means, deviations = [], []
        for channel in range(self.images.shape[1]):
            counts = torch.zeros(256, dtype=torch.int64)
            for chunk in self.images[:, channel].split(8192):  # bincount copies what it counts
                counts += torch.bincount(chunk.reshape(-1), minlength=256).cpu()
            weights = counts.double() / counts.sum()
            mean = float((weights * levels).sum())
            variance = float((weights * (levels - mean) ** 2).sum())
            means.append(mean)
            # 1e-12: below any variance that bytes can have, above rounding of a constant channel
            deviations.append(variance**0.5 if variance > 1e-12 else 1.0)
        return tuple(means), tuple(deviations)


def stratified_sample(labels: Tensor, n: int, seed: int, *, leave: int = 0) -> Tensor:
    """Choose n images so that every class keeps its share as nearly as whole images allow.

    Quotas n * N_c / N are rounded down and the rest goes to the largest remainders.

    Args:
        labels: int64 (N,), on any device.
        n: how many to choose.
        seed: decides which images of a class are chosen; the same on every machine.
        leave: how many images of each class must stay unchosen (where it has as many).

    Returns:
        int64 (n,) on the CPU, ascending.

    Raises:
        InputError: fewer than n images may be chosen.
    """
    labels = labels.cpu()
    counts = torch.bincount(labels).numpy()
    available = np.maximum(counts - leave, 0)
    if not 0 <= n <= available.sum():
        left = f" with {leave} of each class left over" if leave else ""
        raise InputError(
            f"the number of images to choose must be in 0..{available.sum()}{left}, but got {n}"
        )
    exact = n * counts / counts.sum()
    quotas = np.minimum(np.floor(exact).astype(np.int64), available)
    while quotas.sum() < n:
        # argmax takes the first of equals, which keeps the choice deterministic
        quotas[np.argmax(np.where(quotas < available, exact - quotas, -np.inf))] += 1
    generator = torch.Generator().manual_seed(seed)
    chosen = [
        of_class[torch.randperm(len(of_class), generator=generator)[:quota]]
        for label, quota in enumerate(quotas.tolist())
        if len(of_class := torch.nonzero(labels == label).reshape(-1))
    ]
    return torch.cat(chosen).sort().values


def split_off(images: ImageSet, n: int, seed: int) -> tuple[ImageSet, ImageSet]:
    """Split into (the rest, n images), both stratified; every class keeps an image in the rest.

    Raises:
        InputError: n is not in 1 to what the rest can spare.
    """
    if n < 1:
        raise InputError(f"a split must have at least 1 image, but got {n}")
    index = stratified_sample(images.labels, n, seed, leave=1)
    in_rest = torch.ones(len(images), dtype=torch.bool)
    in_rest[index] = False
    return images.subset(torch.nonzero(in_rest).reshape(-1)), images.subset(index)
