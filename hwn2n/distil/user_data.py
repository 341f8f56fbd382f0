"""Data of the user's own: `module:function`, called without arguments."""

from __future__ import annotations

from collections.abc import Callable
from itertools import zip_longest
from typing import Any

from torch import Tensor
from torch.utils.data import Subset

from hwn2n.distil.images import ImageSet
from hwn2n.distil.source import Source, resize
from hwn2n.distil.user_images import channels_first, image_bytes, number_tensor, stack_images
from hwn2n.errors import InputError, one_line
from hwn2n.importing import import_user_module

SPLITS = {2: ("train", "test"), 3: ("train", "validation", "test")}  # by how many are returned


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
        InputError: as `import_function`, or the function raises or calls `sys.exit`.
    """
    function = import_function(reference)
    try:
        return function()
    except (Exception, SystemExit) as error:  # it is the user's
        raise InputError(
            f"{reference} must return data when it is called without arguments, but: "
            f"{_reason(error)}"
        ) from error


def source_of(returned: object, reference: str, image_size: int | None) -> Source:
    """What a user's function returned, as a source.

    Args:
        returned: (train, test) or (train, validation, test), each an `ImageSet`, a pair of
            images and labels (tensors, arrays or lists), or a torch `Dataset` of (image, label)
            with a length. Images are uint8 or floats in 0..1, of shape (N, C, H, W),
            (N, H, W, C) or (N, H, W), told apart as `user_images.channels_first` says; those of a
            `Dataset` and of a list lack the N, and may be PIL images, which become grey or RGB.
            Labels are whole numbers, places in the attribute `classes` of a `Dataset`, which must
            be the same in each that has one; without any, there may not be more classes than
            images.
        reference: named in messages.
        image_size: height and width in pixels to resize to, or None.

    Raises:
        InputError: anything else.
    """
    if not isinstance(returned, tuple | list) or len(returned) not in SPLITS:
        raise InputError(
            f"{reference} must return Data, (train, test) or (train, validation, test), "
            f"but returned {type(returned).__name__}"
        )
    wheres = [f"{reference} ({split})" for split in SPLITS[len(returned)]]
    named = _common_classes(returned, wheres)
    parts = [
        _image_set(part, where, image_size) for part, where in zip(returned, wheres, strict=True)
    ]
    names = named or tuple(str(number) for number in range(_count_classes(parts, reference)))
    parts = [
        _checked(part.images, part.labels, len(names), where)
        for part, where in zip(parts, wheres, strict=True)
    ]
    validation = parts[1] if len(parts) == 3 else None
    return Source(train=parts[0], classes=names, validation=validation, test=lambda: parts[-1])


def _reason(error: BaseException) -> str:
    if isinstance(error, SystemExit):  # its text is the exit code alone
        return one_line(f"it calls sys.exit({error.code!r})")
    return one_line(error)


def _common_classes(parts: tuple[Any, ...] | list[Any], wheres: list[str]) -> tuple[str, ...]:
    """The names of classes on which all parts agree that have any; empty if none has."""
    common: tuple[str, ...] = ()
    first = ""
    for part, where in zip(parts, wheres, strict=True):
        names = _class_names(part, where)
        if names is None:
            continue
        if not first:
            common, first = names, where
        # a label is a place in this list, so that another order would confuse the classes
        for number, (one, other) in enumerate(zip_longest(common, names)):
            if one != other:
                raise InputError(
                    f"classes of {where} must be those of {first}, in the same order, but "
                    f"class {number} is {_name(other)} and not {_name(one)}"
                )
    return common


def _name(name: str | None) -> str:
    return "missing" if name is None else one_line(repr(name), limit=60)


def _class_names(part: Any, where: str) -> tuple[str, ...] | None:
    while isinstance(part, Subset):  # it keeps its data set's labels
        part = part.dataset
    classes = getattr(part, "classes", None)
    if classes is None:
        return None
    try:
        # a text would give its letters, and the order of a set differs from run to run
        if not isinstance(classes, str | bytes | set | frozenset):
            names = tuple(str(name) for name in classes)
            if names:
                return names
    except (Exception, SystemExit):  # of the user's: not iterable, or fails at it
        pass
    raise InputError(
        f"classes of {where} must be a list of names, but got "
        f"{one_line(repr(classes), limit=60)} of type {type(classes).__name__}"
    )


def _count_classes(parts: list[ImageSet], reference: str) -> int:
    if parts[0].num_classes is not None:
        return parts[0].num_classes
    largest = max(int(part.labels.max()) for part in parts)
    images = sum(len(part) for part in parts)
    if largest >= images:  # identifiers rather than classes, and 10^9 names would fill the memory
        raise InputError(
            f"labels of {reference} without names of classes must be below the number of its "
            f"images, {images}, but got {largest}: number the classes from 0, or return a dataset "
            "with `classes` or an ImageSet with num_classes"
        )
    return largest + 1


def _checked(images: Tensor, labels: Tensor, num_classes: int | None, where: str) -> ImageSet:
    try:
        return ImageSet(images, labels, num_classes)
    except InputError as error:
        raise InputError(f"{where}: {error}") from error


def _image_set(part: Any, where: str, image_size: int | None) -> ImageSet:
    if isinstance(part, ImageSet):
        return ImageSet(resize(part.images, image_size, where), part.labels, part.num_classes)
    if isinstance(part, tuple | list) and len(part) == 2:
        images, labels = _read_pair(part[0], part[1], where)
    elif hasattr(part, "__getitem__") and hasattr(part, "__len__"):
        images, labels = _read_dataset(part, where)
    else:
        raise InputError(
            f"{where} must be an image set, a pair of images and labels, or a dataset with a "
            f"length, but the function returned {type(part).__name__}"
        )
    if labels.is_floating_point() or labels.is_complex() or labels.ndim != 1:
        raise InputError(
            f"labels of {where} must be integers of shape (N,), but got {labels.dtype} of shape "
            f"{tuple(labels.shape)}"
        )
    # checked before it is resized, since an empty set cannot be
    found = _checked(channels_first(images, where), labels.long(), None, where)
    return ImageSet(resize(found.images, image_size, where), found.labels)


def _read_pair(images: Any, labels: Any, where: str) -> tuple[Tensor, Tensor]:
    if isinstance(images, tuple | list):
        stacked = stack_images(images.__getitem__, len(images), where)
    else:
        stacked = image_bytes(images, f"images of {where}")
    return stacked, number_tensor(labels, f"labels of {where}")


def _read_dataset(dataset: Any, where: str) -> tuple[Tensor, Tensor]:
    labels: list[int] = []

    def read(index: int) -> Any:
        try:
            image, label = dataset[index]
            labels.append(_whole(label))
        except (Exception, SystemExit) as error:  # the data set is the user's
            raise InputError(
                f"{where} must give pairs of an image and a label, but number {index}: "
                f"{_reason(error)}"
            ) from error
        return image

    try:
        n = len(dataset)
    except (Exception, SystemExit) as error:
        raise InputError(f"{where} must have a length, but: {_reason(error)}") from error
    return stack_images(read, n, where), number_tensor(labels, f"labels of {where}")


def _whole(label: Any) -> int:
    number = int(label)
    if number != label:  # int() cuts off a fraction, and reads texts
        raise ValueError(f"a label must be a whole number, but got {label!r}")
    return number
