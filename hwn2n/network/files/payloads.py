"""The tensors of a `.pt2`: raw bytes with a JSON table of contents, or pickled ones."""

from __future__ import annotations

import io
import json
import math
import posixpath
import re
from typing import Any

import torch
from torch import Tensor

from hwn2n.errors import InputError
from hwn2n.network.files.guard import load_plain, weights_only

_RECORD = re.compile(r"(weight|tensor)_[0-9]+")
_NAME = re.compile(r"[A-Za-z0-9_\-]+(\.[A-Za-z0-9_\-]+)*")


def clean_raw_tensors(members: dict[str, bytes], config: str, where: str) -> dict[str, bytes]:
    """The members that `config` (a path) needs, itself included and written anew.

    Raises InputError where a tensor is marked as a pickle, points to no record or beyond its end:
    torch would run the first and fill the memory for the last.
    """
    folder = posixpath.dirname(config)
    kept: dict[str, bytes] = {}
    table: dict[str, Any] = {}
    try:
        for name, entry in json.loads(members[config])["config"].items():
            record = str(entry["path_name"])
            if entry["use_pickle"] is not False or not _RECORD.fullmatch(record):
                raise InputError(
                    f"{where}: weights must be stored as raw bytes, but {name[:80]!r} is stored as"
                    " a pickle, and loading it could run any code"
                )
            if not _NAME.fullmatch(name):
                raise InputError(
                    f"{where}: names of weights must be dotted names, but one is {name[:80]!r}"
                )
            data = members[f"{folder}/{record}"]
            meta = _clean_meta(entry["tensor_meta"])
            _check_size(meta, len(data), f"{where}: weight {name}")
            kept[f"{folder}/{record}"] = data
            table[name] = {
                "path_name": record,
                "is_param": bool(entry["is_param"]),
                "use_pickle": False,
                "tensor_meta": meta,
            }
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(
            f"{where}: {config} must list tensors as torch.export.save does, but a part is missing"
            f" or of another form ({type(error).__name__}: {error})"
        ) from error
    kept[config] = json.dumps({"config": table}).encode()
    return kept


def clean_pickled_tensors(data: bytes, what: str) -> bytes:
    """A `torch.save` state dict, loaded weights-only and saved again; `what` begins the errors."""
    if not data:
        return data
    tensors = load_plain(data, what)
    if not isinstance(tensors, dict) or not all(
        isinstance(name, str)
        and _NAME.fullmatch(name)
        and type(tensor) in (Tensor, torch.nn.Parameter)
        for name, tensor in tensors.items()
    ):
        raise InputError(f"{what} must hold plain tensors by name, but it holds something else")
    buffer = io.BytesIO()
    with weights_only():
        torch.save(tensors, buffer)
    return buffer.getvalue()


def _clean_meta(meta: dict[str, Any]) -> dict[str, Any]:
    """Fields of a static tensor on the CPU, as torch's schema has them."""

    def sizes(values: list[dict[str, Any]]) -> list[dict[str, int]]:
        return [{"as_int": _natural(value["as_int"])} for value in values]

    return {
        "dtype": _natural(meta["dtype"]),
        "sizes": sizes(meta["sizes"]),
        "requires_grad": bool(meta["requires_grad"]),
        "device": {"type": "cpu", "index": None},
        "strides": sizes(meta["strides"]),
        "storage_offset": sizes([meta["storage_offset"]])[0],
        "layout": _natural(meta["layout"]),
    }


def _natural(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 2**48:
        raise ValueError(f"sizes must be whole numbers, found {value!r}")
    return value


def _check_size(meta: dict[str, Any], size: int, what: str) -> None:
    """A stride of 0 lets a few bytes stand for terabytes; weights have a byte of their own."""
    elements = math.prod(value["as_int"] for value in meta["sizes"])
    if elements > size:
        raise InputError(
            f"{what} must have at least one byte per element, but it has {elements} elements in"
            f" {size} bytes"
        )
