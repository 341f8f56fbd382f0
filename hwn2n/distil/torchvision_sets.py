"""The data sets that torchvision knows, read by torchvision's own classes from their own folders.

Nothing is downloaded unless it is asked for. CIFAR's files are pickles; torchvision reads them
only after their MD5 sums are found to be the published ones.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import pickle
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch

from hwn2n.atomic import write_atomic
from hwn2n.distil.cache import cache_folder
from hwn2n.distil.decode import decode_images
from hwn2n.distil.image_files import disk_file, stamp
from hwn2n.distil.images import ImageSet
from hwn2n.distil.source import Source, find_folder, resize
from hwn2n.errors import InputError, one_line

T = TypeVar("T")
CALTECH_SIZE = 224  # as in the authors' code (datasets/caltech256.py)


def _kind(name: str) -> Any:
    """A class of torchvision.datasets."""
    # Not at the top: it brings torch's compiler along, which takes a second or two to import.
    import torchvision.datasets

    return getattr(torchvision.datasets, name)


def _how(kind: type) -> str:
    name = f"torchvision.datasets.{kind.__name__}"
    return f"put the files of {name} there, or allow a download (--download)"


def _open(make: Callable[[], T], what: str, folder: Path, kind: type) -> T:
    """Call torchvision, with its many kinds of failure made one line."""
    try:
        return make()
    except (
        RuntimeError, OSError, ValueError, TypeError, AssertionError, EOFError, KeyError,
        IndexError, pickle.UnpicklingError, zlib.error,
    ) as error:  # fmt: skip
        raise InputError(
            f"{what} in {folder} must be readable: {one_line(error)} ({_how(kind)})"
        ) from error


def load_mnist(name: str, root: Path, image_size: int | None, download: bool) -> Source:
    """`name`, MNIST or FashionMNIST, from root/MNIST/raw or root/FashionMNIST/raw.

    If only the .gz files are there, they are unpacked into the cache folder: the data may lie in a
    folder that cannot be written.
    """
    kind = _kind(name)
    files = [filename.removesuffix(".gz") for filename, _ in kind.resources]
    if download:
        _open(lambda: kind(str(root), download=True), name, root, kind)
    inside = [f"{name}/raw/{file}{suffix}" for suffix in ("", ".gz") for file in files]
    base = find_folder(root, name.lower(), inside, _how(kind))
    raw = base / name / "raw"
    for file in files:
        if not (raw / file).is_file() and not (raw / f"{file}.gz").is_file():
            raise InputError(f"{raw / file} (or .gz) must exist, but it does not: {_how(kind)}")
    if not all((raw / file).is_file() for file in files):
        base = _open(lambda: _unpack(raw, files, name), name, raw, kind)

    def read(train: bool) -> ImageSet:
        data: Any = _open(lambda: kind(str(base), train=train), name, raw, kind)
        if len(data.data) != len(data.targets):
            raise InputError(
                f"{raw} must have a label for each image, but has {len(data.data)} images "
                f"and {len(data.targets)} labels"
            )
        return ImageSet(
            resize(data.data[:, None], image_size, name), data.targets, len(kind.classes)
        )

    classes = tuple(name.split(" - ")[0] for name in kind.classes)
    return Source(train=read(True), classes=classes, test=lambda: read(False))


def _unpack(raw: Path, files: list[str], name: str) -> Path:
    """Unpack raw/*.gz into a folder of the cache, laid out as torchvision expects; its root.

    Raises:
        InputError: the cache cannot be written; unreadable files raise as gzip does.
    """
    key = hashlib.sha256()
    for file in files:
        source = raw / file if (raw / file).is_file() else raw / f"{file}.gz"
        key.update(os.fsencode(f"{stamp(str(source.resolve()), source.stat())}\n"))
    base = cache_folder() / "unpacked" / key.hexdigest()[:32]
    for file in files:
        source = raw / file if (raw / file).is_file() else raw / f"{file}.gz"
        target = base / name / "raw" / file
        if target.is_file():
            continue
        content = source.read_bytes()  # at most 47 MB, unpacked
        if source.suffix == ".gz":
            content = gzip.decompress(content)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(target, partial(Path.write_bytes, data=content))
        except OSError as error:
            raise InputError(
                f"{base} must be writable for what {source.name} unpacks to: "
                f"{error.strerror or one_line(error)} (let HWN2N_CACHE name a folder that is, or "
                f"unpack the files in {raw})"
            ) from error
    return base


def load_cifar(name: str, root: Path, image_size: int | None, download: bool) -> Source:
    """`name`, CIFAR10 or CIFAR100, from root/cifar-10-batches-py or root/cifar-100-python."""
    kind = _kind(name)
    if download:
        _open(lambda: kind(str(root), download=True), name, root, kind)
    base = find_folder(root, name.lower(), [kind.base_folder], _how(kind))

    def read(train: bool) -> tuple[ImageSet, tuple[str, ...]]:
        data: Any = _open(lambda: kind(str(base), train=train), name, base, kind)
        images = torch.from_numpy(data.data).permute(0, 3, 1, 2).contiguous()
        classes = tuple(data.classes)
        return ImageSet(
            resize(images, image_size, name), torch.tensor(data.targets), len(classes)
        ), classes

    train, classes = read(True)
    return Source(train=train, classes=classes, test=lambda: read(False)[0])


def load_svhn(root: Path, image_size: int | None, download: bool) -> Source:
    """SVHN from root/train_32x32.mat and root/test_32x32.mat (without the extra images)."""
    kind = _kind("SVHN")
    if download:
        for split in ("train", "test"):
            _open(partial(kind, str(root), split=split, download=True), "SVHN", root, kind)
    base = find_folder(root, "svhn", ["train_32x32.mat"], _how(kind))

    def read(split: str) -> ImageSet:
        data: Any = _open(lambda: kind(str(base), split=split), "SVHN", base, kind)
        images = torch.from_numpy(data.data).contiguous()
        return ImageSet(resize(images, image_size, "SVHN"), torch.from_numpy(data.labels), 10)

    classes = tuple(str(digit) for digit in range(10))
    return Source(train=read("train"), classes=classes, test=lambda: read("test"))


def load_caltech256(root: Path, image_size: int | None, download: bool) -> Source:
    """Caltech-256 (with its 257th class, clutter) from root/caltech256/256_ObjectCategories.

    It has no test split of its own. Images become `image_size` pixels, by default 224, and RGB.
    """
    kind = _kind("Caltech256")
    if download:
        _open(lambda: kind(str(root), download=True), "Caltech256", root, kind)
    inside = "caltech256/256_ObjectCategories"
    # torchvision would create the folder, and then say that it is corrupted
    base = find_folder(root, "caltech256", [inside], _how(kind))
    data: Any = _open(lambda: kind(str(base)), "Caltech256", base, kind)
    resolved = base.resolve()
    files = []
    for label, number in zip(data.y, data.index, strict=True):
        file = base / inside / data.categories[label] / f"{label + 1:03d}_{number:04d}.jpg"
        if not file.is_file():
            raise InputError(f"{file} must exist, but it does not: {_how(kind)}")
        files.append(disk_file(file, f"{resolved}/{file.relative_to(base).as_posix()}"))
    if not files:
        raise InputError(f"{base / inside} must contain images, but has none")
    images = decode_images(files, image_size or CALTECH_SIZE)
    classes = tuple(category.split(".", 1)[-1] for category in data.categories)
    return Source(train=ImageSet(images, torch.tensor(data.y), len(classes)), classes=classes)
