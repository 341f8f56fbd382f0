"""The call of a constructor that makes a given module of torch.nn again."""

from __future__ import annotations

import inspect
from typing import Any

from torch import nn

from hwn2n.exporting.code.syntax import Bracket, call, literal

_PLACES = frozenset({"device", "dtype", "inplace"})
"""Arguments that say where a tensor lies, or only how it is written: left out."""

_ANY = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)

_PAIRS = frozenset(
    {"kernel_size", "stride", "padding", "dilation", "output_padding", "output_size"}
)
"""Arguments that take one number for all dimensions."""


def is_plain(module: Any) -> bool:
    """Is it a module that torch itself comes with?"""
    return isinstance(module, nn.Module) and type(module).__module__.startswith("torch.nn.modules")


def constructor(module: nn.Module) -> Bracket:
    """`nn.Conv2d(3, 16, 3, padding=1)` of such a module.

    The arguments are the attributes of the same names; those with their default are left out.
    Raises TypeError for a module that does not keep an argument that it needs.
    """
    positional: list[Any] = []
    named: dict[str, Any] = {}
    for name, parameter in inspect.signature(type(module).__init__).parameters.items():
        if name == "self" or name in _PLACES or parameter.kind in _ANY:
            continue
        if name == "bias" and not _is_affine(module):
            continue  # without weights there is none, whatever was asked for
        required = parameter.default is parameter.empty
        if not hasattr(module, name):
            if required:
                raise TypeError(f"{type(module).__name__} keeps no {name}")
            continue
        value = _argument(name, getattr(module, name), parameter.default)
        if required:
            positional.append(value)
        elif value != parameter.default or type(value) is not type(parameter.default):
            named[name] = value
    return call(
        f"nn.{type(module).__name__}",
        *(literal(value) for value in positional),
        **{name: literal(value) for name, value in named.items()},
    )


def _is_affine(module: nn.Module) -> bool:
    return bool(getattr(module, "affine", getattr(module, "elementwise_affine", True)))


def _argument(name: str, value: Any, default: Any) -> Any:
    if isinstance(default, bool) and not isinstance(value, bool):
        return value is not None  # a bias that is there, or not
    if isinstance(value, list | tuple):
        value = tuple(value)
        if len(value) == 1 or (name in _PAIRS and len(set(value)) == 1):
            return value[0]
    return value
