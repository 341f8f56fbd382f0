"""What every kind of data set is read into before it is split and described."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from hwn2n.distil.images import ImageSet
from hwn2n.errors import InputError

# More bytes of images than this are refused instead of filling the memory: a set lives in one
# tensor, and ImageNet32x32, the largest of the paper's sets, has 3.9 GB.
MAX_SET_BYTES = 16 * 2**30


@dataclass(frozen=True, eq=False, kw_only=True)
class Source:
    """A data set as it lies on disk.

    Attributes:
        train: the labelled images to learn from.
        classes: name of each class.
        validation: the set's own validation split, where it has one.
        test: reads the set's own test split; None where it has none, and one must be split off.
    """

    train: ImageSet
    classes: tuple[str, ...]
    validation: ImageSet | None = None
    test: Callable[[], ImageSet] | None = None


def find_folder(root: Path, subfolder: str, inside: Sequence[str], how: str) -> Path:
    """The first of root and root/subfolder in which one of the files or folders `inside` exists.

    Raises:
        InputError: neither; says which is expected, and `how` to get it.
    """
    for base in (root, root / subfolder):
        if any((base / name).exists() for name in inside):
            return base
    raise InputError(f"{root / inside[0]} must exist, but it does not: {how}")


def resize(images: Tensor, size: int | None, where: str) -> Tensor:
    """Images uint8 (N, C, H, W) of `where` resized to (N, C, size, size) with antialiasing.

    The same tensor if `size` is None or theirs.

    Raises:
        InputError: they would not fit (`check_memory`).
    """
    if size is None or tuple(images.shape[2:]) == (size, size):
        return images
    check_memory(len(images), (images.shape[1], size, size), where)
    chunks = [
        F.interpolate(chunk, size=(size, size), mode="bilinear", antialias=True)
        for chunk in images.split(4096)
    ]
    return torch.cat(chunks)


def check_memory(n: int, shape: tuple[int, int, int], where: str) -> None:
    """Refuse a set that would not fit.

    Raises:
        InputError: n images of `shape` (C, H, W) take more than `MAX_SET_BYTES`.
    """
    channels, height, width = shape
    needed = n * channels * height * width
    if needed > MAX_SET_BYTES:
        raise InputError(
            f"images must take at most {MAX_SET_BYTES / 2**30:.0f} GiB as bytes, but {n} images of "
            f"{channels}x{height}x{width} take {needed / 2**30:.1f} GiB: "
            f"choose a smaller image_size for {where}"
        )
