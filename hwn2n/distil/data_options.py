"""What a caller of `datasets.load_data` may ask for: sizes, shares and paths, checked."""

from __future__ import annotations

from numbers import Integral, Real
from pathlib import Path

from hwn2n.errors import InputError, one_line

IMAGE_FOLDER = "imagefolder:"
"""What names of folders and archives of images begin with."""
LARGEST_VALIDATION = 5000  # the paper's number
LARGEST_IMAGE_SIZE = 8192  # pixels; that of the architectures (network/files/architectures.py)


def plain_options(
    image_size: int | None, validation: int | float | None
) -> tuple[int | None, int | float | None]:
    """Both as numbers of Python's own: those of NumPy cannot be written as JSON.

    Raises:
        InputError: `image_size` is no integer.
    """
    if image_size is not None:
        image_size = whole_number(image_size, "image_size")
    if isinstance(validation, Integral):
        return image_size, int(validation)
    return image_size, float(validation) if isinstance(validation, Real) else validation


def whole_number(value: int, what: str) -> int:
    """The same as a Python int. Raises InputError, which says `what`, for what is no integer."""
    if not isinstance(value, Integral):
        raise InputError(f"{what} must be a whole number, but got {one_line(str(value), 40)}")
    return int(value)


def check_options(image_size: int | None, validation: int | float | None) -> None:
    """Refuse, before any image is read, what no data set allows.

    Raises:
        InputError: `image_size` is not 1 to 8192 pixels, or `validation` is not a whole number and
            no share between 0 and 1.
    """
    if image_size is not None and not 1 <= image_size <= LARGEST_IMAGE_SIZE:
        raise InputError(
            f"image_size must be 1 to {LARGEST_IMAGE_SIZE} pixels, "
            f"but got {one_line(str(image_size), 40)}"
        )
    if validation is None or isinstance(validation, Integral):
        return
    # 1.0 is refused since it could mean all images as well as one; nan fails any comparison
    if not (isinstance(validation, Real) and 0 < validation < 1):
        raise InputError(
            "validation must be a share between 0 and 1, or a number of images without a point, "
            f"but got {one_line(str(validation), 40)}"
        )


def validation_count(validation: int | float | None, n: int) -> int:
    """How many of n images become validation images; `validation` as `check_options` admits it.

    Raises:
        InputError: a number that would leave no image to train on, or is below 1.
    """
    if validation is None:
        return min(LARGEST_VALIDATION, max(1, n // 10))
    if not isinstance(validation, Integral):
        return max(1, round(validation * n))
    if not 1 <= validation < n:
        raise InputError(
            "validation must be a share between 0 and 1, or a number of images in "
            f"1..{n - 1}, but got {one_line(str(validation), 40)}"
        )
    return int(validation)


def expanded(path: str | Path, what: str) -> Path:
    """The path with a leading ~ or ~user replaced by that home.

    Raises:
        InputError: there is no such home; `what` says whose path it is.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise InputError(
            f"{what} must not begin with ~ and a name that is no user here: "
            f"{one_line(str(path), 200)!r} (./ before it names a file)"
        ) from error


def is_same_data(one: str | None, other: str | None) -> bool:
    """Whether two names as `load_data` takes them are of one data set: of folders and archives the
    paths count, however they are written."""
    if one is None or other is None or one == other:
        return one == other
    if not (one.startswith(IMAGE_FOLDER) and other.startswith(IMAGE_FOLDER)):
        return False
    paths = (expanded(name.removeprefix(IMAGE_FOLDER), "data") for name in (one, other))
    return len({path.resolve() for path in paths}) == 1
