"""Names in the generated file: attributes of the layers, variables of the forward pass."""

from __future__ import annotations

import keyword
import re
from collections.abc import Mapping

from torch import nn

_TAKEN = frozenset(dir(nn.Module())) | frozenset(keyword.kwlist) | {"Student"}
_FIRST = ("x", "y", "z", "u", "v", "w")


def attributes(paths: Mapping[str, str]) -> dict[str, str]:
    """An attribute for each operation, by the path it is to be named after.

    `layer1.0.conv1` becomes `layer1_0_conv1`. Whatever stands in a path, the attribute is a plain
    identifier of its own.
    """
    found: dict[str, str] = {}
    used: set[str] = set(_TAKEN)
    for operation, path in paths.items():
        wanted = re.sub(r"[^0-9A-Za-z_]", "_", path)
        if not wanted or not wanted[0].isalpha():
            wanted = f"layer_{wanted.lstrip('_')}"
        name, count = wanted, 1
        while name in used:
            count += 1
            name = f"{wanted}_{count}"
        used.add(name)
        found[operation] = name
    return found


def identifier(name: str) -> str:
    """The name, if it is one that may stand in a program; ValueError otherwise."""
    if not name.isidentifier() or keyword.iskeyword(name):
        raise ValueError(f"{name!r} is no name in a program")
    return name


class Variables:
    """Hands out the fewest variables that hold all values that are still to be read."""

    def __init__(self) -> None:
        self._live: dict[str, str] = {}

    def hold(self, value: str) -> str:
        """A variable for a value: the first in line that holds none."""
        used = set(self._live.values())
        count, name = 0, _FIRST[0]
        while name in used:
            count += 1
            name = _FIRST[count] if count < len(_FIRST) else f"x{count - len(_FIRST) + 1}"
        self._live[value] = name
        return name

    def drop(self, value: str) -> None:
        """The value is not read again."""
        self._live.pop(value, None)
