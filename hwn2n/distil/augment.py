"""Augmentation and normalisation of whole batches on the device where the images live.

The paper's augmentation of CIFAR (and the authors' public code, datasets/cifar10.py): pad with 4
black pixels, crop at a random place, flip horizontally half of the time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from hwn2n.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Policy:
    """What an augmentation policy does to each image of a batch, independently."""

    crop: bool = False
    flip: bool = False


AUGMENTATIONS: dict[str, Policy] = {
    "none": Policy(),
    "flip": Policy(flip=True),
    "crop": Policy(crop=True),
    "crop-flip": Policy(crop=True, flip=True),
}

# The policy that suits a data set: digits must not be flipped, photographs may be. The authors'
# code leaves MNIST and SVHN as they are. Sets that are not named here are left as they are.
AUGMENT_BY_DATA: dict[str, str] = {
    "mnist": "none",
    "digits": "none",
    "svhn": "none",
    "fashion-mnist": "flip",
    "cifar10": "crop-flip",
    "cifar100": "crop-flip",
    "caltech256": "crop-flip",
    "imagenet32": "crop-flip",
    "imagefolder": "crop-flip",
}


def crop_padding(height: int, width: int) -> tuple[int, int]:
    """Black pixels added above and below, left and right: 4 for the paper's 32 pixels.

    The same share, an eighth, of other sizes: 4 for 28 pixels, 1 for 8, 28 for 224.
    """
    return max(1, round(height / 8)), max(1, round(width / 8))


def augment(images: Tensor, policy: str, generator: torch.Generator) -> Tensor:
    """A batch with each image cropped and flipped at random.

    Args:
        images: uint8 (N, C, H, W) on any device; not changed.
        policy: a name in `AUGMENTATIONS`.
        generator: of the CPU, whatever the device: so all devices see the same images.

    Returns:
        uint8 (N, C, H, W); `images` itself for "none", which draws nothing.

    Raises:
        InputError: unknown policy.
    """
    if policy not in AUGMENTATIONS:
        raise InputError(f"augment must be one of {', '.join(AUGMENTATIONS)}, but got {policy!r}")
    wanted = AUGMENTATIONS[policy]
    n, _, height, width = images.shape
    if wanted.crop:
        above, left = crop_padding(height, width)
        top = torch.randint(2 * above + 1, (n,), generator=generator).to(images.device)
        start = torch.randint(2 * left + 1, (n,), generator=generator).to(images.device)
        padded = F.pad(images, (left, left, above, above))
        # all windows of all images as a view (N, C, 2*above+1, 2*left+1, H, W): one is copied each
        windows = padded.unfold(2, height, 1).unfold(3, width, 1)
        images = windows[torch.arange(n, device=images.device), :, top, start]
    if wanted.flip:
        flipped = (torch.rand(n, generator=generator) < 0.5).to(images.device)
        images = torch.where(flipped[:, None, None, None], images.flip(3), images)
    return images


def normalise(
    images: Tensor,
    mean: Sequence[float],
    std: Sequence[float],
    dtype: torch.dtype = torch.float32,
    *,
    channels_last: bool = False,
) -> Tensor:
    """(images / 255 - mean) / std.

    Args:
        images: uint8 (N, C, H, W).
        mean: of each channel, in units of 0..1.
        std: of each channel, in units of 0..1.
        dtype: of the result.
        channels_last: memory format of the result.

    Returns:
        (N, C, H, W) of `dtype` on the device of `images`.

    Raises:
        InputError: the number of channels differs.
    """
    channels = images.shape[1]
    if len(mean) != channels or len(std) != channels:
        raise InputError(
            f"mean and std must have one value for each of {channels} channels, "
            f"but got {len(mean)} and {len(std)}"
        )
    # one multiplication and one addition per pixel: x / (255 std) - mean / std
    scale = torch.tensor([1 / (255 * s) for s in std], device=images.device)
    shift = torch.tensor([-m / s for m, s in zip(mean, std, strict=True)], device=images.device)
    memory_format = torch.channels_last if channels_last else torch.contiguous_format
    result = images.to(torch.float32, memory_format=memory_format)
    result.mul_(scale[:, None, None]).add_(shift[:, None, None])
    return result.to(dtype)
