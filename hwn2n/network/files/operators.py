"""Which operators a `.pt2` may call.

The file names each operator as a dotted path, and torch resolves it with `getattr` from the
`torch`, `operator` and `math` modules: `torch.os.system` is such a path. So only aten operators
are let through, and of those only what `find_operator` allows.
"""

from __future__ import annotations

import re

import torch

from hwn2n.network.operators.aten import find_operator

_ATEN = re.compile(r"torch\.ops\.aten\.([A-Za-z0-9_]+)\.([A-Za-z0-9_]+)")

# Arithmetic on sizes. Powers and shifts are missing on purpose: on Python's integers they can
# fill the memory.
_ON_SIZES = re.compile(
    r"_operator\.(add|sub|mul|floordiv|truediv|mod|neg|pos|eq|ne|le|ge|lt|gt|and_|or_)"
    r"|torch\.sym_(int|float|max|min|not|ite|sqrt)|math\.trunc"
)


def check_operator(target: str) -> None:
    """Raise ValueError unless `target` is an operator that only computes."""
    if _ON_SIZES.fullmatch(target):
        return
    if (match := _ATEN.fullmatch(target)) is None:
        raise ValueError(f"operators must be aten's own, found {target[:80]!r}")
    try:
        find_operator(*match.groups())
    except PermissionError:
        raise ValueError(f"operators must only compute on tensors, found {target[:80]!r}") from None
    except LookupError:
        raise ValueError(
            f"operators must exist in torch {torch.__version__}, found {target[:80]!r}"
        ) from None
