"""The image files of a folder or of a .zip: where each lies, what identifies it, how it is read."""

from __future__ import annotations

import lzma
import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from hwn2n.errors import InputError, one_line

# Those that torchvision's ImageFolder reads.
IMG_EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
# An image of more bytes in an archive is taken for an archive bomb.
MAX_ZIP_MEMBER_BYTES = 64 * 2**20
# What a damaged, encrypted or unusual archive makes zipfile and its decoders raise.
ZIP_ERRORS = (
    OSError, ValueError, RuntimeError, NotImplementedError, EOFError, MemoryError, OverflowError,
    struct.error, zipfile.BadZipFile, zlib.error, lzma.LZMAError,
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class ImageFile:
    """One image file, in a folder or in an archive.

    Attributes:
        where: the name that an error message gives.
        size: of the contents, in bytes.
        stamp: tells the file from every other, and changes when the contents do.
        read: returns the contents.
    """

    where: str
    size: int
    stamp: str
    read: Callable[[], bytes]


# The folders and the name below the tree's top, and the file.
Tree = list[tuple[tuple[str, ...], ImageFile]]


def stamp(resolved: str, status: os.stat_result) -> str:
    """What tells the file at a path without links, with its contents, from every other.

    Size and time of change stay when files are renamed, or written by a tool that sets their time
    back. The inode moves along with a renamed file, and no tool sets st_ctime_ns.
    """
    times = f"{status.st_mtime_ns} {status.st_ctime_ns}"
    return f"{resolved}\0{status.st_ino} {status.st_size} {times}"


def disk_file(file: Path, resolved: str) -> ImageFile:
    """An image file on disk.

    Args:
        file: its path, as an error message should give it.
        resolved: the same below a folder whose links are resolved; of links below that folder the
            inode tells where they lead.

    Raises:
        InputError: there is no such file, it is a broken link, or something else than a file.
    """
    try:
        status = file.stat()
    except OSError as error:
        found = "is a broken link" if file.is_symlink() else "cannot be read"
        raise InputError(
            f"{file} must be an image file, but {found}: {error.strerror or one_line(error)}"
        ) from error
    if not stat.S_ISREG(status.st_mode):  # reading from a pipe would wait forever
        raise InputError(f"{file} must be an image file, but is a folder, a pipe or a device")
    return ImageFile(
        where=str(file),
        size=status.st_size,
        stamp=stamp(resolved, status),
        read=file.read_bytes,
    )


def list_folder(top: Path) -> Tree:
    """All image files below a folder, in any order; links to folders are followed.

    Raises:
        InputError: a folder without images or without a right to read it, a broken link, or a link
            to a folder that contains it.
    """
    tree: Tree = []
    resolved = top.resolve()
    # of each folder still to visit: those that it lies in and itself, as (st_dev, st_ino) -> path
    inside = {top: {_identity(top): top}}
    for name, subfolders, names in os.walk(top, onerror=_refuse, followlinks=True):
        folder = Path(name)
        subfolders[:] = [name for name in subfolders if not _is_hidden(name)]
        holding = inside.pop(folder)
        for subfolder in (folder / name for name in subfolders):
            identity = _identity(subfolder)
            if identity in holding:  # a loop would be followed until the path gets too long
                raise InputError(
                    f"{subfolder} must not contain itself, but is a link to {holding[identity]}"
                )
            inside[subfolder] = {**holding, identity: subfolder}
        below = folder.relative_to(top).parts
        images = [name for name in names if _is_image((*below, name))]
        for other in (folder / name for name in names if not _is_image((*below, name))):
            if not _is_hidden(other.name) and other.is_symlink() and not other.exists():
                # it may stand for the folder of a class
                raise InputError(f"{other} must lead to a file or a folder, but is a broken link")
        if below and not images and not subfolders:
            # it would silently shift the numbers of the classes behind it
            raise InputError(f"{folder} must contain images, but has none")
        place = resolved.joinpath(*below)
        for name in images:
            tree.append(((*below, name), disk_file(folder / name, f"{place}/{name}")))
    return tree


def _refuse(error: OSError) -> NoReturn:
    """What os.walk would leave out, and with it perhaps a class."""
    raise InputError(
        f"{error.filename} must be a folder that can be read: {error.strerror or one_line(error)}"
    ) from error


def _identity(folder: Path) -> tuple[int, int]:
    try:
        status = folder.stat()
    except OSError as error:
        _refuse(error)
    return status.st_dev, status.st_ino


def _is_hidden(name: str) -> bool:
    """Whether it is no image of the user's; `__MACOSX` is what a Mac packs beside the files."""
    return name.startswith(".") or name == "__MACOSX"


def _is_image(parts: Sequence[str]) -> bool:
    return parts[-1].lower().endswith(IMG_EXTENSIONS) and not any(map(_is_hidden, parts))


def list_zip(path: Path) -> Tree:
    """All image files in a .zip, in any order; of several with one name the last, as unzip does.

    Raises:
        InputError: no readable .zip, or an image of more than `MAX_ZIP_MEMBER_BYTES`.
    """
    try:
        archive = zipfile.ZipFile(path)
    except ZIP_ERRORS as error:
        raise InputError(
            f"{path} must be a folder or a readable .zip: {one_line(error)}"
        ) from error
    tree: Tree = []
    resolved = path.resolve()
    members = {_parts(info): info for info in archive.infolist() if not info.is_dir()}
    for parts, info in members.items():
        if not _is_image(parts):
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
            # the checksum is of the contents, so times are not needed
            stamp=f"{resolved}/{info.filename}\0{info.file_size} {info.CRC}",
            read=_zip_reader(archive, info, where),
        )
        tree.append((parts, file))
    return tree


def _parts(info: zipfile.ZipInfo) -> tuple[str, ...]:
    """The folders and the name of a member; ("",) of one without a name."""
    name = info.filename  # pathlib takes seconds for 60,000
    if info.create_system == 0 and "/" not in name:
        name = name.replace("\\", "/")  # as old .NET wrote its separators; unzip tells them so, too
    # "./cat/1.png" is what archives of "." have; two dots are kept, and hide the member
    return tuple(part for part in name.split("/") if part not in ("", ".")) or ("",)


def _zip_reader(archive: zipfile.ZipFile, info: zipfile.ZipInfo, where: str) -> Callable[[], bytes]:
    def read() -> bytes:
        try:
            return archive.read(info)
        except ZIP_ERRORS as error:  # encrypted, of an unknown method, or damaged
            raise InputError(f"{where} must be readable: {one_line(error)}") from error

    return read
