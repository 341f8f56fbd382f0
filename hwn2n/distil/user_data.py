"""Data of the user's own: `module:function`, called without arguments."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hwn2n.distil.images import ImageSet
from hwn2n.distil.source import Source, check_memory, resize
from hwn2n.errors import InputError, one_line
from hwn2n.importing import import_user_module


def import_function(reference: str) -> Callable[..., Any]:
    """The function that "package.module:function" names; modules of the working folder count.

    Raises:
        InputError: no such module or function, or the module cannot be imported.
    """
    module_name, _, function_name = reference.partition(":")
    if not module_name or not function_name:
        raise InputError(f"a function must be named as module:function, but got {reference!r}")
    try:
        module = import_user_module(module_name)
    except Exception as error:  # the module is the user's: it may raise anything
        raise InputError(
            f"module {module_name} of {reference} must be importable: {one_line(error)}"
        ) from error
    function = getattr(module, function_name, None)
    if not callable(function):
        raise InputError(f"{reference} must be a function, but {module_name} has none of that name")
    return function  # type: ignore[no-any-return]


def call_function(reference: str) -> Any:
    """What the function that "package.module:function" names returns, called without arguments.

    Raises:
        InputError: as `import_function`, or the function raises.
    """
    function = import_function(reference)
    try:
        return function()
    except Exception as error:  # it is the user's
        raise InputError(
            f"{reference} must return data when it is called without arguments, but: "
            f"{one_line(error)}"
        ) from error


def source_of(returned: object, reference: str, image_size: int | None) -> Source:
    """What a user's function returned, as a source.

    Args:
        returned: (train, test) or (train, validation, test), each an `ImageSet`, a pair of
            images and labels (tensors or arrays), or a torch `Dataset` of (image, label) with a
            length. Images are uint8 (N, C, H, W), (N, H, W, C) or (N, H, W), or floats in 0..1.
        reference: named in messages.
        image_size: height and width to resize to, or None.

    Raises:
        InputError: anything else.
    """
    if not isinstance(returned, tuple | list) or len(returned) not in (2, 3):
        raise InputError(
            f"{reference} must return Data, (train, test) or (train, validation, test), "
            f"but returned {type(returned).__name__}"
        )
    parts = [_image_set(part, reference, image_size) for part in returned]
    classes = getattr(returned[0], "classes", None)
    known = parts[0].num_classes or max(int(part.labels.max()) for part in parts) + 1
    names = tuple(str(name) for name in (classes if classes is not None else range(known)))
    parts = [ImageSet(part.images, part.labels, len(names)) for part in parts]
    validation = parts[1] if len(parts) == 3 else None
    return Source(train=parts[0], classes=names, validation=validation, test=lambda: parts[-1])


def _image_set(part: Any, reference: str, image_size: int | None) -> ImageSet:
    if isinstance(part, ImageSet):
        return ImageSet(resize(part.images, image_size), part.labels, part.num_classes)
    if isinstance(part, tuple | list) and len(part) == 2:
        images, labels = _bytes(part[0], reference), torch.as_tensor(part[1])
    elif hasattr(part, "__getitem__") and hasattr(part, "__len__"):
        images, labels = _read_dataset(part, reference)
    else:
        raise InputError(
            f"{reference} must return image sets, pairs of images and labels, or datasets with a "
            f"length, but returned {type(part).__name__}"
        )
    if labels.is_floating_point() or labels.ndim != 1:
        raise InputError(f"labels of {reference} must be integers of shape (N,)")
    return ImageSet(resize(_channels_first(images, reference), image_size), labels.long())


def _read_dataset(dataset: Any, reference: str) -> tuple[Tensor, Tensor]:
    images, labels = [], []
    for index in range(len(dataset)):
        try:
            image, label = dataset[index]
            pixels, number = _bytes(image, reference), int(label)
        except InputError:
            raise
        except Exception as error:  # the data set is the user's
            raise InputError(
                f"{reference} must give pairs of an image and a label, but number {index}: "
                f"{one_line(error)}"
            ) from error
        images.append(pixels)
        labels.append(number)
        if images[-1].shape != images[0].shape:
            raise InputError(
                f"images of {reference} must have one shape, but number {index} has "
                f"{tuple(images[-1].shape)} and the first {tuple(images[0].shape)}"
            )
        if index == 0:
            check_memory(len(dataset), (1, 1, images[0].numel()), reference)
    if not images:
        raise InputError(f"{reference} must return at least one image, but a dataset is empty")
    return torch.stack(images), torch.tensor(labels)


def _bytes(image: Any, reference: str) -> Tensor:
    """A tensor, an array or a PIL image as a uint8 tensor of the same shape."""
    tensor = image if isinstance(image, Tensor) else torch.from_numpy(np.array(image))
    if tensor.dtype == torch.uint8:
        return tensor.cpu()
    if tensor.is_floating_point() and tensor.numel():
        low, high = (float(bound) for bound in torch.aminmax(tensor))
        if low >= 0 and high <= 1:
            return (tensor * 255).round().to(torch.uint8).cpu()
        raise InputError(
            f"images of {reference} must be bytes or floats in 0..1 (hwn2n normalises them), "
            f"but got floats in {low:g}..{high:g}"
        )
    raise InputError(f"images of {reference} must be bytes or floats, but got {tensor.dtype}")


def _channels_first(images: Tensor, reference: str) -> Tensor:
    if images.ndim == 3:
        return images[:, None]
    if images.ndim != 4:
        raise InputError(
            f"images of {reference} must be of shape (N, C, H, W), (N, H, W, C) or (N, H, W), "
            f"but got {tuple(images.shape)}"
        )
    if images.shape[1] not in (1, 3) and images.shape[3] in (1, 3):
        return images.permute(0, 3, 1, 2).contiguous()
    return images
