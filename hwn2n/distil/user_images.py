"""Images and labels of the user's own, in any usual type and layout, as tensors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from hwn2n.distil.decode import plain_mode
from hwn2n.distil.source import check_memory
from hwn2n.errors import InputError, one_line

MOST_CHANNELS_LAST = 4  # RGBA
KINDS = {"O": "Python objects", "U": "strings", "S": "byte strings"}  # of numpy's dtypes


def number_tensor(values: Any, what: str) -> Tensor:
    """A tensor, an array, or anything that numpy makes an array of, as a tensor on the CPU.

    Args:
        values: numbers of any shape, strides, byte order and device.
        what: begins the message of an error.

    Returns:
        a tensor of the same shape and, up to byte order, the same dtype.

    Raises:
        InputError: not numbers, or nested lists that are not of one shape.
    """
    if isinstance(values, Tensor):
        return values.detach().cpu()
    if isinstance(values, list | tuple):  # numpy reads no tensor of a GPU or with a gradient
        values = [v.detach().cpu() if isinstance(v, Tensor) else v for v in values]
    try:
        array = np.array(values, order="C")  # torch takes no negative strides
        if array.dtype.kind in "biuf":
            # nor another byte order than the machine's
            return torch.from_numpy(array.astype(array.dtype.newbyteorder("="), copy=False))
    except Exception as error:  # the values are the user's: reading them may raise anything
        raise InputError(f"{what} must be an array of numbers, but: {one_line(error)}") from error
    found = KINDS.get(array.dtype.kind, str(array.dtype))
    if array.ndim == 0:
        found = type(values).__name__
    elif array.dtype.kind == "O" and array.size:
        found += f", the first of type {type(array.flat[0]).__name__}"
    raise InputError(f"{what} must be an array of numbers, but got {found}")


def image_bytes(image: Any, what: str) -> Tensor:
    """One image or many as bytes.

    Args:
        image: a tensor or an array of any shape, uint8 or floats in 0..1; or a PIL image, which
            `decode.plain_mode` makes grey or RGB, so that a palette's numbers or an alpha channel
            are not taken for colours.
        what: begins the message of an error.

    Returns:
        uint8 of the same shape; (H, W) or (H, W, 3) of a PIL image.

    Raises:
        InputError: other types, floats outside 0..1, or a PIL image of more than 8 bits.
    """
    if isinstance(image, Image.Image):
        try:
            image = plain_mode(image, what)
        except InputError:
            raise
        except Exception as error:  # PIL reads the user's file only now
            raise InputError(f"{what} must be readable, but: {one_line(error)}") from error
    tensor = number_tensor(image, what)
    if tensor.dtype == torch.uint8:
        return tensor
    if not tensor.is_floating_point():
        raise InputError(f"{what} must be bytes or floats, but got {tensor.dtype}")
    if tensor.numel():
        low, high = (float(bound) for bound in torch.aminmax(tensor))
        if not (low >= 0 and high <= 1):  # not: NaN compares as false
            # as many digits as tell any two values apart: 1.0000001 must not read as 1
            digits = 17 if tensor.dtype == torch.float64 else 9
            raise InputError(
                f"{what} must be bytes or floats in 0..1 (hwn2n normalises them), "
                f"but got floats in {low:.{digits}g}..{high:.{digits}g}"
            )
    return (tensor * 255).round().to(torch.uint8)


def stack_images(read: Callable[[int], Any], n: int, where: str) -> Tensor:
    """The images read(0) to read(n - 1), each as for `image_bytes`, in one tensor.

    Returns:
        uint8 (n, ...), as the images are shaped.

    Raises:
        InputError: no image, images of different shapes, unusable ones, or more than fit.
    """
    images: list[Tensor] = []
    for index in range(n):
        images.append(image_bytes(read(index), f"image {index} of {where}"))
        if images[-1].shape != images[0].shape:
            raise InputError(
                f"images of {where} must have one shape, but image {index} has "
                f"{tuple(images[-1].shape)} and image 0 {tuple(images[0].shape)}"
            )
        if index == 0:
            check_memory(n, (1, 1, images[0].numel()), where)
    if not images:
        raise InputError(f"{where} must have at least one image, but has none")
    return torch.stack(images)


def channels_first(images: Tensor, where: str) -> Tensor:
    """Images of any usual layout as (N, C, H, W).

    The last axis is the channels where it has at most 4 entries and axis 1 has more; else axis 1
    is. So (N, 32, 32, 4) has 4 channels, and (N, 3, 32, 32) and (N, 16, 32, 32) have 3 and 16.
    What fits both ways is refused, which only happens to images at most 4 pixels high or wide:
    (N, 3, 5, 3), and (N, 8, 4, 4), which would be square with 8 channels.

    Args:
        images: (N, C, H, W), (N, H, W, C), or (N, H, W), which has one channel.
        where: named in messages.

    Raises:
        InputError: another number of axes, or a layout that fits both ways.
    """
    if images.ndim == 3:
        return images[:, None]
    if images.ndim != 4:
        raise InputError(
            f"images of {where} must be of shape (N, C, H, W), (N, H, W, C) or (N, H, W), "
            f"but got {tuple(images.shape)}"
        )
    _, first, middle, last = images.shape
    if last > MOST_CHANNELS_LAST or first < last or first == middle == last == 1:
        return images
    if first == last or middle == last:
        raise InputError(
            f"images of {where} must be clearly (N, C, H, W) or (N, H, W, C), but "
            f"{tuple(images.shape)} may be either: return an ImageSet, which is (N, C, H, W)"
        )
    return images.permute(0, 3, 1, 2).contiguous()
