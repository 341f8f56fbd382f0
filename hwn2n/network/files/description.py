"""What hwn2n's own files say beside the weights: classes, normalisation, data, metadata."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from hwn2n.errors import InputError, one_line


def read_description(said: Any, where: str) -> dict[str, Any]:
    """`classes`, `mean`, `std`, `data` and `metadata` of `said`, checked, those that are there.

    The result can be passed to `Teacher(**...)`; `where` begins the InputError of a wrong value.
    """
    if not isinstance(said, Mapping):
        raise InputError(f"{where} must be an object, but it is of type {type(said).__name__}")
    found: dict[str, Any] = {}
    if (classes := said.get("classes")) is not None:
        if not isinstance(classes, list | tuple) or not all(isinstance(n, str) for n in classes):
            raise InputError(f"{where}: classes must be a list of names, found {_shown(classes)}")
        found["classes"] = tuple(classes)
    for field in ("mean", "std"):
        if (values := said.get(field)) is None:
            continue
        if not isinstance(values, list | tuple) or not all(_is_finite(value) for value in values):
            raise InputError(
                f"{where}: {field} must be one finite number per channel, found {_shown(values)}"
            )
        found[field] = tuple(float(value) for value in values)
    if any(value <= 0 for value in found.get("std", ())):
        raise InputError(f"{where}: std must be positive, found {found['std']}")
    if (data := said.get("data")) is not None:
        if not isinstance(data, str):
            raise InputError(f"{where}: data must be the name of a data set, found {_shown(data)}")
        found["data"] = data
    found["metadata"] = plain_metadata(said.get("metadata"), where)
    return found


def plain_metadata(metadata: Any, where: str) -> dict[str, Any]:
    """A copy of `metadata` as JSON has it, so that it can be stored in every format; {} for None.

    `where` begins the InputError of metadata that JSON cannot hold.
    """
    try:
        plain = json.loads(json.dumps({} if metadata is None else metadata))
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(
            f"{where}: metadata must be plain JSON data, but: {one_line(error)}"
        ) from error
    if not isinstance(plain, dict):
        raise InputError(f"{where}: metadata must be an object, found {_shown(metadata)}")
    return plain


def _is_finite(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def _shown(value: Any) -> str:
    return one_line(repr(value), 80)
