"""`imagefolder:PATH`: images sorted into one folder per class, in a folder or a .zip.

Two layouts are understood. With split folders, `train/CLASS/...` and `test/CLASS/...`, and
`val/CLASS/...` if there is one. Without, `CLASS/...`, and the test split is taken from it. Leading
folders that all files share are skipped, so a zip of a folder works like one of its contents.
"""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from hwn2n.distil.decode import ImageFile, decode_images
from hwn2n.distil.images import ImageSet
from hwn2n.distil.source import Source
from hwn2n.errors import InputError, one_line

SPLIT_NAMES = {
    "train": ("train", "training"),
    "validation": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}
# Those that torchvision's ImageFolder reads.
IMG_EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
# An image of more bytes in an archive is taken for an archive bomb.
MAX_ZIP_MEMBER_BYTES = 64 * 2**20

# The folders and the name below the tree's top, and the file.
Tree = list[tuple[tuple[str, ...], ImageFile]]


def load_image_tree(path: Path, image_size: int | None) -> Source:
    """Read the train (and validation) images of a folder or .zip; the test images only later.

    Raises:
        InputError: nothing there, fewer than two classes, an empty class, a class of the test
            images that the train images lack, or an image that cannot be read.
    """
    tree = _strip_common_folders(list_images(path))
    splits = _splits(tree, path)
    train = splits.get("train", tree)
    classes = _classes(train, path)

    def read(part: Tree) -> ImageSet:
        for parts, file in part:
            if parts[0] not in classes:
                raise InputError(f"{file.where} must be of a class of the train images, but is not")
        labels = torch.tensor([classes.index(parts[0]) for parts, _ in part])
        images = decode_images([file for _, file in part], image_size)
        return ImageSet(images, labels, len(classes))

    test = splits.get("test")
    return Source(
        train=read(train),
        classes=classes,
        validation=read(splits["validation"]) if "validation" in splits else None,
        test=(lambda: read(test)) if test else None,
    )


def list_images(path: Path) -> Tree:
    """All image files below a folder or in a .zip, by name.

    Raises:
        InputError: there is none, or the path is neither a folder nor a readable zip.
    """
    if path.is_dir():
        tree = _list_folder(path)
    elif path.is_file():
        tree = _list_zip(path)
    else:
        raise InputError(f"{path} must be a folder of images or a .zip of one, but does not exist")
    if not tree:
        raise InputError(f"{path} must contain images ({', '.join(IMG_EXTENSIONS)}), but has none")
    return sorted(tree, key=lambda item: item[0])


def _is_image(parts: Sequence[str]) -> bool:
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in parts)
    return not hidden and parts[-1].lower().endswith(IMG_EXTENSIONS)


def _list_folder(top: Path) -> Tree:
    tree: Tree = []
    for folder, subfolders, names in os.walk(top, followlinks=True):
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        below = Path(folder).relative_to(top).parts
        images = [name for name in names if _is_image((*below, name))]
        if below and not images and not subfolders:
            # it would silently shift the numbers of the classes behind it
            raise InputError(f"{folder} must contain images, but has none")
        for name in images:
            file = Path(folder) / name
            status = file.stat()
            stamp = f"{status.st_size} {status.st_mtime_ns}"
            image = ImageFile(
                where=str(file), size=status.st_size, stamp=stamp, read=file.read_bytes
            )
            tree.append(((*below, name), image))
    return tree


def _list_zip(path: Path) -> Tree:
    try:
        archive = zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile) as error:
        raise InputError(
            f"{path} must be a folder or a readable .zip: {one_line(error)}"
        ) from error
    tree: Tree = []
    for info in archive.infolist():
        parts = tuple(info.filename.strip("/").split("/"))  # pathlib takes seconds for 60,000
        if info.is_dir() or not _is_image(parts):
            continue
        where = f"{path}/{info.filename}"
        if info.file_size > MAX_ZIP_MEMBER_BYTES:
            raise InputError(
                f"{where} must have at most {MAX_ZIP_MEMBER_BYTES / 2**20:.0f} MiB, "
                f"but has {info.file_size / 2**20:.0f} MiB"
            )
        file = ImageFile(
            where=where,
            size=info.file_size,
            stamp=f"{info.file_size} {info.CRC}",
            read=_zip_reader(archive, info, where),
        )
        tree.append((parts, file))
    return tree


def _zip_reader(archive: zipfile.ZipFile, info: zipfile.ZipInfo, where: str) -> Callable[[], bytes]:
    def read() -> bytes:
        try:
            return archive.read(info)
        except (RuntimeError, NotImplementedError, zipfile.BadZipFile, zlib.error) as error:
            # encrypted, of an unknown method, or damaged
            raise InputError(f"{where} must be readable: {one_line(error)}") from error

    return read


def _strip_common_folders(tree: Tree) -> Tree:
    """Drop leading folders shared by all, as long as a class folder is left above each file."""
    while all(len(parts) > 2 for parts, _ in tree) and len({parts[0] for parts, _ in tree}) == 1:
        tree = [(parts[1:], file) for parts, file in tree]
    return tree


def _splits(tree: Tree, path: Path) -> dict[str, Tree]:
    """The files of each split folder at the top; empty if the folders there are classes."""
    split_of = {name: split for split, names in SPLIT_NAMES.items() for name in names}
    tops = {top: split_of.get(top.lower()) for top in {parts[0] for parts, _ in tree}}
    found = {split for split in tops.values() if split is not None}
    # a lone folder "test" or "val" among others is taken for a class of that name
    if len(found) < 2 and None in tops.values():
        return {}
    if "train" not in found:
        raise InputError(f"{path} must have a folder train beside {' and '.join(sorted(tops))}")
    splits: dict[str, Tree] = {split: [] for split in found}
    for parts, file in tree:
        split = tops[parts[0]]
        if split is None:
            raise InputError(f"{file.where} must lie in train, val or test, as others of {path} do")
        splits[split].append((parts[1:], file))
    return splits


def _classes(train: Tree, path: Path) -> tuple[str, ...]:
    for parts, file in train:
        if len(parts) < 2:
            raise InputError(f"{file.where} must lie in the folder of its class")
    classes = tuple(sorted({parts[0] for parts, _ in train}))
    if len(classes) < 2:
        raise InputError(f"{path} must have at least 2 classes, but only {classes[0]!r} has images")
    return classes
