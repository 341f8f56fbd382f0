"""Where the data sets lie, and which of them are here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hwn2n.errors import InputError

FILES: dict[str, tuple[str, ...]] = {
    "mnist": ("MNIST/raw",),
    "cifar10": ("cifar-10-batches-py",),
    "cifar100": ("cifar-100-python",),
    "svhn": ("train_32x32.mat",),
    "caltech256": ("caltech256/256_ObjectCategories",),
    "imagenet32": ("train_data_batch_1", "train_data_batch_1.npz"),
    "digits": (),
}
"""What must be in the data root, or in a folder of the set's name in it (see `load_data`)."""

TITLES: dict[str, str] = {
    "mnist": "MNIST",
    "cifar10": "CIFAR-10",
    "cifar100": "CIFAR-100",
    "svhn": "SVHN",
    "caltech256": "Caltech-256",
    "imagenet32": "ImageNet32x32",
    "digits": "8x8 digits",
}

JPEG = ("cifar10-jpeg.zip", "cifar10-jpeg")
"""CIFAR-10 as JPEG copies of its images: lossy, so it is named whenever it is used."""


@dataclass(frozen=True, kw_only=True)
class Images:
    """A data set that is here. `argument` and `root` are what `load_data` takes."""

    name: str
    argument: str
    root: Path | None
    title: str


def find_images(name: str, root: Path, cifar_images: Path | None = None) -> Images:
    """The data set `name` under `root`; `cifar_images` is a folder or .zip of CIFAR-10's images.

    Raises `InputError` that says what is missing, and where it was looked for.
    """
    title = TITLES[name]
    if name == "digits":
        return Images(name=name, argument=name, root=None, title=title)
    folders = (root, root / name)
    for folder in folders:
        if any((folder / file).exists() for file in FILES[name]):
            return Images(name=name, argument=name, root=root, title=title)
    if name == "cifar10":
        for path in (cifar_images, *(root / copy for copy in JPEG)):
            if path is not None and path.exists():
                # the name of a run's data must mean the same wherever it is resumed from
                argument = f"imagefolder:{path.resolve()}"
                return Images(name=name, argument=argument, root=None, title=f"{title} (JPEG)")
    raise InputError(f"data set {title} is not at {folders[0] / FILES[name][0]}")


def missing(name: str, root: Path, cifar_images: Path | None = None) -> str | None:
    """Why a data set cannot be used, None where it can; nothing is read."""
    try:
        find_images(name, root, cifar_images)
    except InputError as error:
        return str(error)
    return None
