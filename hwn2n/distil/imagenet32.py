"""ImageNet32x32 (Chrabaszcz et al. 2017, arXiv 1707.08819) from its batch files.

The batches are pickles, and a pickle can run code when it is read. `BatchUnpickler` admits what
such a batch is made of, numpy arrays and builtin containers, and nothing else. They are also given
out as `.npz` of the same keys, which are read without pickles.
"""

from __future__ import annotations

import pickle
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hwn2n.distil.images import ImageSet
from hwn2n.distil.source import Source, check_memory, find_folder, resize
from hwn2n.errors import InputError, one_line

PIXELS = 32
CLASSES = 1000
TRAIN = "train_data_batch_"
HELD_OUT = "val_data"
NPZ = ".npz"
HOW = (
    "unpack Imagenet32_train.zip and Imagenet32_val.zip of image-net.org/download-images there "
    "(free after registration; there is no download from here)"
)


def _empty_array(kind: type, shape: tuple[int, ...], typecode: bytes | str) -> np.ndarray:
    """What numpy's own pickles ask for, and only that: an empty array, filled afterwards."""
    if kind is not np.ndarray or tuple(shape) != (0,) or typecode not in (b"b", "b"):
        raise pickle.UnpicklingError("an array is described in an unusual way")
    return np.empty(0, dtype=np.uint8)


def _latin1_bytes(text: str, encoding: str) -> bytes:
    """How protocol 2 writes bytes; other codecs (some decompress) are refused."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"codec {encoding!r} is not admitted")
    return text.encode("latin1")


class BatchUnpickler(pickle.Unpickler):
    """An unpickler that can build numpy arrays and builtin containers only."""

    def find_class(self, module: str, name: str) -> Any:
        """The object that stands for module.name.

        Raises:
            pickle.UnpicklingError: it is not one that image batches need.
        """
        if module in ("numpy.core.multiarray", "numpy._core.multiarray"):
            if name == "_reconstruct":
                return _empty_array
        elif module == "numpy":
            if name in ("ndarray", "dtype"):
                return getattr(np, name)
        elif (module, name) == ("_codecs", "encode"):
            return _latin1_bytes
        raise pickle.UnpicklingError(f"{module}.{name} is not admitted in an image batch")


def read_batch(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """One batch: images uint8 (N, 3, 32, 32) and labels int64 (N,) in 0..999.

    Raises:
        InputError: unreadable, holding anything but arrays, or of other types and shapes.
    """
    try:
        images, labels = _unpacked(path) if path.suffix == NPZ else _unpickled(path)
        ok = isinstance(images, np.ndarray) and images.dtype == np.uint8
        if not ok or images.shape != (len(labels), 3 * PIXELS**2) or labels.dtype.kind not in "iu":
            raise ValueError("data must be uint8 of shape (N, 3072) beside N integer labels")
        if len(labels) and not (labels.min() >= 1 and labels.max() <= CLASSES):
            found = f"{labels.min()}..{labels.max()}"
            raise ValueError(f"labels must be in 1..{CLASSES}, but are in {found}")
    except (  # what a pickle of wrong or hostile contents can raise
        OSError, pickle.UnpicklingError, EOFError, ValueError, TypeError, KeyError, IndexError,
        AttributeError, MemoryError, OverflowError, ImportError, UnicodeError,
        zipfile.BadZipFile, zlib.error, NotImplementedError,
    ) as error:  # fmt: skip
        raise InputError(f"{path} must be an ImageNet32x32 batch: {one_line(error)}") from error
    return images.reshape(-1, 3, PIXELS, PIXELS), labels.astype(np.int64) - 1


def _unpickled(path: Path) -> tuple[np.ndarray, np.ndarray]:
    with path.open("rb") as file:
        batch = BatchUnpickler(file, encoding="latin1").load()
    return batch["data"], np.asarray(batch["labels"])


def _unpacked(path: Path) -> tuple[np.ndarray, np.ndarray]:
    with np.load(path, allow_pickle=False) as batch:
        return batch["data"], np.asarray(batch["labels"])


def load_imagenet32(root: Path, image_size: int | None, download: bool) -> Source:
    """ImageNet32x32 of root/train_data_batch_* and root/val_data (or in root/imagenet32).

    Each file is the pickle or a `.npz`. The numbers of the train batches begin at 1 and leave none
    out; fewer than the ten that there are serve as a smaller set.

    Its 50,000 validation images serve as the test split, since the labels of its own are not
    public.

    Raises:
        InputError: missing or unreadable files.
    """
    folder = find_folder(root, "imagenet32", [f"{TRAIN}1", f"{TRAIN}1{NPZ}"], HOW)
    held_out = _batch(folder, HELD_OUT)
    names = {file.name.removesuffix(NPZ) for file in folder.glob(f"{TRAIN}*")}
    numbers = [int(digits) for name in names if (digits := name[len(TRAIN) :]).isdecimal()]
    files = [_batch(folder, f"{TRAIN}{number}") for number in range(1, max(numbers) + 1)]

    def read(paths: list[Path]) -> ImageSet:
        images, labels = [], []
        for path in paths:
            batch_images, batch_labels = read_batch(path)
            labels.append(torch.from_numpy(batch_labels))
            if image_size is not None:
                so_far = sum(map(len, labels))
                check_memory(so_far, (3, image_size, image_size), folder.as_posix())
            images.append(resize(torch.from_numpy(batch_images), image_size, path.as_posix()))
        return ImageSet(torch.cat(images), torch.cat(labels), CLASSES)

    return Source(
        train=read(files),
        classes=tuple(str(label) for label in range(1, CLASSES + 1)),
        test=lambda: read([held_out]),
    )


def _batch(folder: Path, name: str) -> Path:
    """The file of a batch, whichever way it is packed. Raises InputError if there is none."""
    for path in (folder / name, folder / f"{name}{NPZ}"):
        if path.is_file():
            return path
    raise InputError(f"{folder / name} or {name}{NPZ} must exist, but neither does: {HOW}")
