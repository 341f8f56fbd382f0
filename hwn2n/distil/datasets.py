"""Data sets by name, split once and for all: `load_data` and the `Data` that it returns.

Who may see what: the train split trains, the validation split chooses, and the test split gives
the final figures. `Data.test()` reads it from disk: at the end, and before anything is trained only
to see that it can be read. A set without a test split of its
own gives up a fifth of its images, chosen by a constant seed whatever `seed` is: with another
seed a test image must not become a training image of a teacher made before.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch

from hwn2n.distil.augment import AUGMENT_BY_DATA, AUGMENTATIONS
from hwn2n.distil.data_options import IMAGE_FOLDER, check_options, expanded, validation_count
from hwn2n.distil.image_tree import load_image_tree
from hwn2n.distil.imagenet32 import load_imagenet32
from hwn2n.distil.images import ImageSet, split_off
from hwn2n.distil.source import Source, resize
from hwn2n.distil.torchvision_sets import load_caltech256, load_cifar, load_mnist, load_svhn
from hwn2n.distil.user_data import call_function, source_of
from hwn2n.errors import InputError

TEST_SEED = 1709_06030
TEST_SHARE = 5  # one image of so many


@dataclass(frozen=True, eq=False, kw_only=True)
class Data:
    """A data set, split and described.

    Attributes:
        name: as given to `load_data`.
        train: images to learn from.
        validation: images to choose by, from the same source, disjoint from `train`.
        classes: name of each class.
        mean: of each channel of the train images, in units of 0..1.
        std: deviation of each channel of the train images, in units of 0..1.
        augment: the augmentation policy that suits the images, a name in `AUGMENTATIONS`.
        load_test: reads the test images; call `test()` instead, which checks them.

    Raises:
        InputError: fewer than two classes, or splits that don't fit together.
    """

    name: str
    train: ImageSet
    validation: ImageSet
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    augment: str = "none"
    load_test: Callable[[], ImageSet] = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.classes) < 2 or len(torch.unique(self.train.labels)) < 2:
            raise InputError(f"{self.name} must have train images of at least 2 classes")
        if self.augment not in AUGMENTATIONS:
            raise InputError(
                f"augment must be one of {', '.join(AUGMENTATIONS)}, but got {self.augment!r}"
            )
        self._check(self.train, "train")
        self._check(self.validation, "validation")

    def _check(self, images: ImageSet, split: str) -> None:
        if images.image_shape != self.train.image_shape:
            raise InputError(
                f"{split} images of {self.name} must have the (channels, height, width) of its "
                f"train images, {self.train.image_shape}, but have {images.image_shape}"
            )
        if int(images.labels.max()) >= len(self.classes):
            raise InputError(
                f"{split} labels of {self.name} must be in 0..{len(self.classes) - 1}, "
                f"but got {int(images.labels.max())}"
            )

    def check_asked(self, image_size: int | None, validation: int | float | None) -> None:
        """Refuse options of `load_data` that come too late, since the images are sized and split.

        Args:
            image_size: height and width in pixels that were asked for, or None.
            validation: the number or share of validation images that was asked for, or None.

        Raises:
            InputError: the images are not so, and would silently be taken as they are.
        """
        if image_size is not None and self.image_shape[1:] != (image_size, image_size):
            _, height, width = self.image_shape
            raise InputError(
                f"image_size must be left out for {self.name}, which is Data of {height}x{width} "
                f"pixels already, but got {image_size}"
            )
        if validation is not None and validation != len(self.validation):
            raise InputError(
                f"validation must be left out for {self.name}, which is Data with "
                f"{len(self.validation)} validation images already, but got {validation}"
            )

    def test(self) -> ImageSet:
        """Read the test images: for the final figures.

        Raises:
            InputError: they cannot be read, or are not of the train images' shape and classes.
        """
        images = self.load_test()
        self._check(images, "test")
        return images

    @property
    def num_classes(self) -> int:
        """How many classes, and so logits."""
        return len(self.classes)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of one image."""
        return self.train.image_shape

    @property
    def in_channels(self) -> int:
        """Channels of one image."""
        return self.image_shape[0]

    @property
    def image_size(self) -> int:
        """Height and width of one image in pixels.

        Raises:
            InputError: the images are not square.
        """
        _, height, width = self.image_shape
        if height != width:
            raise InputError(
                f"images of {self.name} must be square, but have {height}x{width} pixels: "
                "give image_size"
            )
        return height


def load_digits(root: Path, image_size: int | None, download: bool) -> Source:
    """scikit-learn's 1,797 handwritten digits of 8x8 pixels; they come with the package."""
    from sklearn.datasets import load_digits as sklearn_digits  # takes a second to import

    bunch = sklearn_digits()
    # grey levels 0..16, as bytes
    images = torch.from_numpy((bunch.images * (255 / 16)).round()).to(torch.uint8)[:, None]
    labels = torch.from_numpy(bunch.target).long()
    classes = tuple(str(digit) for digit in range(10))
    return Source(train=ImageSet(resize(images, image_size, "digits"), labels, 10), classes=classes)


# name -> reader called with (root, image_size, download)
SOURCES: dict[str, Callable[[Path, int | None, bool], Source]] = {
    "mnist": partial(load_mnist, "MNIST"),
    "fashion-mnist": partial(load_mnist, "FashionMNIST"),
    "cifar10": partial(load_cifar, "CIFAR10"),
    "cifar100": partial(load_cifar, "CIFAR100"),
    "svhn": load_svhn,
    "caltech256": load_caltech256,
    "imagenet32": load_imagenet32,
    "digits": load_digits,
}


def load_data(
    name: str,
    *,
    root: str | Path | None = None,
    validation: int | float | None = None,
    seed: int = 0,
    image_size: int | None = None,
    download: bool = False,
) -> Data:
    """Read, split and describe a data set.

    Args:
        name: a name in `SOURCES`; `imagefolder:PATH` of a folder or .zip with a folder per class;
            or `module:function`, which returns `Data` or what `user_data.source_of` describes.
            `Data` stays as it is, whatever `seed` is.
        root: the folder in which torchvision's standard folders lie; `data` by default.
        validation: images to split off for validation: a whole number (int), or a share (float)
            between 0 and 1, neither included. By default a tenth, at most 5,000; the set's own
            validation split where it has one.
        seed: chooses the validation images. The same seed, the same split, on every machine.
        image_size: height and width in pixels, 1 to 8192, to bring images to.
        download: fetch what is missing (torchvision's sets only).

    Raises:
        InputError: unknown name, missing or unreadable files, unusable images or splits, or an
            `image_size` or `validation` that `Data` of a function does not have.
    """
    check_options(image_size, validation)
    if name in SOURCES:
        folder = expanded(root if root is not None else "data", "root (--data-root)")
        source, kind = SOURCES[name](folder, image_size, download), name
    elif name.startswith(IMAGE_FOLDER):
        if not (named := name.removeprefix(IMAGE_FOLDER)):
            raise InputError(f"data {name!r} must name a folder or an archive after the colon")
        path = expanded(named, f"data {name!r}")
        source, kind = load_image_tree(path, image_size), "imagefolder"
    elif ":" in name:
        returned = call_function(name)
        if isinstance(returned, Data):
            returned.check_asked(image_size, validation)
            return returned
        source, kind = source_of(returned, name, image_size), name
    else:
        raise InputError(
            f"data must be one of {', '.join(SOURCES)}, imagefolder:PATH or module:function, "
            f"but got {name!r}"
        )
    return _split(source, name, AUGMENT_BY_DATA.get(kind, "none"), validation, seed)


def _split(
    source: Source, name: str, augment: str, validation: int | float | None, seed: int
) -> Data:
    train, load_test = source.train, source.test
    if load_test is None:
        train, test = split_off(train, max(1, len(train) // TEST_SHARE), TEST_SEED)
        load_test = partial(_same, test)
    if validation is None and source.validation is not None:
        chosen = source.validation
    else:
        train, chosen = split_off(train, validation_count(validation, len(train)), seed)
    mean, std = train.mean_and_std()
    return Data(
        name=name,
        train=train,
        validation=chosen,
        classes=source.classes,
        mean=mean,
        std=std,
        augment=augment,
        load_test=load_test,
    )


def _same(images: ImageSet) -> ImageSet:
    return images
