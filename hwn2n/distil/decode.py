"""Decode image files into one tensor, in parallel, and keep the result in the cache folder."""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from hwn2n.atomic import write_atomic
from hwn2n.distil.cache import cache_folder
from hwn2n.distil.image_files import ImageFile
from hwn2n.distil.source import check_memory
from hwn2n.errors import InputError, one_line

# Part of every cache key: raise it when decoding changes what comes out, or stamps what they hold.
CACHE_VERSION = 2
# Larger decoded sets are not kept: a cache should not fill a disk unasked.
MAX_CACHED_BYTES = 4 * 2**30
SMALL_FILE_BYTES = 8 * 2**10
GREY_MODES = ("1", "L", "LA")
DEEP_MODES = ("I", "F", "I;16", "I;16B", "I;16L", "I;16N")


def decode_images(files: Sequence[ImageFile], image_size: int | None) -> Tensor:
    """All images as one tensor; the second time from the cache.

    Without `image_size` all must have the same size. With it, the shorter side is resized to it
    and the middle is cropped out. Grey images stay one channel if all are grey; else all have
    three, as with torchvision's ImageFolder.

    Args:
        files: at least one.
        image_size: height and width in pixels, or None.

    Returns:
        uint8 (len(files), C, H, W).

    Raises:
        InputError: a file that is not a readable 8-bit image, or of another size.
    """
    stored = _cache_path(files, image_size)
    if (cached := _read_cache(stored, len(files))) is not None:
        return cached
    first = _decode_one(files[0], image_size)
    check_memory(len(files), (3, *first.shape[:2]), Path(files[0].where).parent.as_posix())
    # threads help while Pillow decodes; with thumbnails they would only queue for Python's lock
    small = sum(file.size for file in files) < SMALL_FILE_BYTES * len(files)
    workers = 1 if small else min(8, os.cpu_count() or 1)
    with ThreadPoolExecutor(max_workers=workers) as pool:
        arrays = list(pool.map(lambda file: _decode_one(file, image_size), files))
    for file, array in zip(files, arrays, strict=True):
        if array.shape[:2] != first.shape[:2]:
            (height, width), (others, other) = array.shape[:2], first.shape[:2]
            raise InputError(
                f"images must have one size unless image_size is given, but {file.where} has "
                f"{width}x{height} pixels and {files[0].where} {other}x{others}"
            )
    images = torch.from_numpy(_stack(arrays))
    _write_cache(stored, images)
    return images


def first_in_colour(files: Sequence[ImageFile]) -> ImageFile:
    """The first of `files` that is not grey, or, if all are, the first.

    Raises:
        InputError: a file that is not a readable 8-bit image.
    """
    return next((file for file in files if _decode_one(file, None).ndim == 3), files[0])


def _stack(arrays: list[np.ndarray]) -> np.ndarray:
    """(N, C, H, W) of arrays (H, W) and (H, W, 3); grey ones are repeated if there is a colour."""
    channels = 3 if any(array.ndim == 3 for array in arrays) else 1
    stacked = np.empty((len(arrays), channels, *arrays[0].shape[:2]), dtype=np.uint8)
    for image, array in zip(stacked, arrays, strict=True):
        image[:] = array.transpose(2, 0, 1) if array.ndim == 3 else array[None]
    return stacked


def _decode_one(file: ImageFile, image_size: int | None) -> np.ndarray:
    """One image as uint8 (H, W) if it is grey, else (H, W, 3)."""
    try:
        with Image.open(io.BytesIO(file.read())) as opened:
            image = plain_mode(opened, file.where)
    except UnidentifiedImageError as error:  # whose text is of a buffer in memory
        raise InputError(f"{file.where} must be a readable image, but it is none") from error
    except (InputError, MemoryError):
        raise
    except Exception as error:  # Pillow's readers of damaged files raise of almost any kind
        raise InputError(f"{file.where} must be a readable image: {one_line(error)}") from error
    if image_size is not None and image.size != (image_size, image_size):
        image = _resize_and_crop(image, image_size)
    return np.asarray(image)


def plain_mode(image: Image.Image, where: str) -> Image.Image:
    """An image in mode L (8-bit grey) if it is grey, else in mode RGB; transparency is dropped.

    Raises:
        InputError: more than 8 bits per channel; the message names `where`.
    """
    if image.mode in DEEP_MODES:
        raise InputError(f"{where} must have 8 bits per channel, but its mode is {image.mode}")
    return image.convert("L" if image.mode in GREY_MODES else "RGB")


def _resize_and_crop(image: Image.Image, size: int) -> Image.Image:
    width, height = image.size
    scale = size / min(width, height)
    # max: rounding must not make the shorter side smaller than what is cropped from it
    width, height = max(size, round(width * scale)), max(size, round(height * scale))
    image = image.resize((width, height), Image.Resampling.BILINEAR)
    left, top = (width - size) // 2, (height - size) // 2
    return image.crop((left, top, left + size, top + size))


def _cache_path(files: Sequence[ImageFile], image_size: int | None) -> Path:
    key = hashlib.sha256(json.dumps([CACHE_VERSION, image_size, len(files)]).encode())
    for file in files:
        key.update(f"{file.stamp}\n".encode(errors="surrogateescape"))
    return cache_folder() / "images" / f"{key.hexdigest()[:32]}.safetensors"


def _read_cache(path: Path, n: int) -> Tensor | None:
    try:
        images = load_file(path)["images"]
    except (OSError, SafetensorError, KeyError):
        return None  # absent or damaged: decode again
    return images if images.dtype == torch.uint8 and len(images) == n else None


def _write_cache(path: Path, images: Tensor) -> None:
    if images.numel() > MAX_CACHED_BYTES:
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, lambda temporary: save_file({"images": images}, temporary))
    except (OSError, SafetensorError):
        return  # a cache that cannot be written (read-only, full) only costs time
