"""`imagefolder:PATH`: images sorted into one folder per class, in a folder or a .zip.

Two layouts are understood. With split folders, `train/CLASS/...` and `test/CLASS/...`, and
`val/CLASS/...` if there is one. Without, `CLASS/...`, and the test split is taken from it. Leading
folders that all files share are skipped, so a zip of a folder works like one of its contents.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from hwn2n.distil.decode import decode_images, first_in_colour
from hwn2n.distil.image_files import IMG_EXTENSIONS, Tree, list_folder, list_zip
from hwn2n.distil.images import ImageSet
from hwn2n.distil.source import Source
from hwn2n.errors import InputError, one_line

SPLIT_NAMES = {
    "train": ("train", "training"),
    "validation": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}


def load_image_tree(path: Path, image_size: int | None) -> Source:
    """Read the train (and validation) images of a folder or .zip; the test images only later.

    All images have the channels of the train images: one if all of those are grey, else three.

    Args:
        path: of the folder or the .zip.
        image_size: height and width in pixels to bring images to; None if all have one size.

    Raises:
        InputError: nothing there, fewer than two classes, an empty class, a class of the other
            splits that the train images lack, colour in another split where all train images are
            grey, or an image that cannot be read.
    """
    tree = _strip_common_folders(list_images(path))
    splits = _splits(tree, path)
    train = splits.pop("train", tree)
    classes = _classes(train, path)
    for part in splits.values():  # the test images are read last, but a wrong class is seen now
        _check_classes(part, classes)

    def read(part: Tree) -> Tensor:
        return decode_images([file for _, file in part], image_size)

    def labelled(part: Tree, images: Tensor) -> ImageSet:
        labels = torch.tensor([classes.index(parts[0]) for parts, _ in part])
        return ImageSet(images, labels, len(classes))

    images = read(train)
    channels = images.shape[1]

    def read_alike(part: Tree) -> ImageSet:
        return labelled(part, _alike(read(part), part, channels, train))

    validation, test = splits.get("validation"), splits.get("test")
    return Source(
        train=labelled(train, images),
        classes=classes,
        validation=read_alike(validation) if validation else None,
        test=(lambda: read_alike(test)) if test else None,
    )


def _alike(images: Tensor, part: Tree, channels: int, train: Tree) -> Tensor:
    """Images uint8 (N, C, H, W) of `part` as (N, channels, H, W), as those of `train` are."""
    if images.shape[1] > channels:
        colour = first_in_colour([file for _, file in part])
        raise InputError(
            f"{colour.where} must be grey, as all train images ({train[0][1].where}, ...) are, "
            "but is in colour"
        )
    # of fewer channels only if all are grey: then they are repeated, as beside a colour image
    return images.expand(-1, channels, -1, -1).contiguous()


def list_images(path: Path) -> Tree:
    """All image files below a folder or in a .zip, by name.

    Raises:
        InputError: there is none, or the path is neither a folder nor a readable zip.
    """
    try:
        is_folder, is_file = path.is_dir(), path.is_file()
    except OSError as error:  # such as a name that is too long
        raise InputError(
            f"{one_line(str(path), 100)} must be a folder of images or a .zip of one: "
            f"{error.strerror or one_line(error)}"
        ) from error
    if is_folder:
        tree = list_folder(path)
    elif is_file:
        tree = list_zip(path)
    else:
        raise InputError(f"{path} must be a folder of images or a .zip of one, but does not exist")
    if not tree:
        raise InputError(f"{path} must contain images ({', '.join(IMG_EXTENSIONS)}), but has none")
    return sorted(tree, key=lambda item: item[0])


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
    """The names of the folders below the top, by name."""
    _check_folders(train)
    classes = tuple(sorted({parts[0] for parts, _ in train}))
    if len(classes) < 2:
        raise InputError(f"{path} must have at least 2 classes, but only {classes[0]!r} has images")
    return classes


def _check_folders(part: Tree) -> None:
    for parts, file in part:
        if len(parts) < 2:
            raise InputError(f"{file.where} must lie in the folder of its class")


def _check_classes(part: Tree, classes: tuple[str, ...]) -> None:
    _check_folders(part)
    known = set(classes)
    for parts, file in part:
        if parts[0] not in known:
            raise InputError(
                f"{file.where} must be of a class of the train images, but {parts[0]!r} is none of "
                f"{one_line(', '.join(classes), 80)}"
            )
