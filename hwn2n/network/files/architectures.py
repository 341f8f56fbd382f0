"""From the name of an architecture to an `nn.Module` with fresh weights."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from hwn2n.errors import InputError, one_line
from hwn2n.importing import import_user_module
from hwn2n.network.files.weights import check_names_and_shapes
from hwn2n.network.teachers import TEACHERS, build_teacher, factory_of

_FACTORY = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")

# The sizes may come from a file: they must not make hwn2n allocate a whole memory.
_LARGEST = {"in_channels": 4096, "num_classes": 1_000_000, "image_size": 8192}


def is_factory(arch: str) -> bool:
    """Whether `arch` has the form "package.module:factory", code that the user brings."""
    return ":" in arch


def build_architecture(
    arch: str,
    *,
    arch_kwargs: Mapping[str, Any],
    weights: Mapping[str, Tensor],
    input_shape: tuple[int, int, int] | None,
) -> tuple[nn.Module, tuple[int, int, int] | None]:
    """The module that `arch` names, and the shape (C, H, W) of its images where that is known.

    A factory is called with `arch_kwargs`. For a name that `factory_of` knows, `in_channels`,
    `num_classes` and `image_size` come from `arch_kwargs`; else the first two from the shapes of
    `weights`, the last from `input_shape`.
    """
    if is_factory(arch):
        return _call_factory(arch, arch_kwargs), input_shape
    if factory_of(arch) is None:
        known = ", ".join(sorted(TEACHERS))
        raise InputError(
            f"--arch must be one of {known}, or package.module:factory, but it is {arch!r}"
        )
    sizes = _sizes(arch, arch_kwargs, weights, input_shape)
    try:
        # First without memory, so that sizes from a file that do not fit its weights cost nothing.
        with torch.device("meta"):
            probe = build_teacher(arch, **sizes)
        check_names_and_shapes(probe, weights, arch)
        # The fixed seed keeps the caller's random numbers out of it: the weights are replaced.
        model = build_teacher(arch, **sizes, seed=0)
    except InputError:
        raise
    except Exception as error:
        raise InputError(
            f"--arch {arch} must be buildable with {sizes}, but: {one_line(error)}"
        ) from error
    return model, (sizes["in_channels"], sizes["image_size"], sizes["image_size"])


def _sizes(
    arch: str,
    arch_kwargs: Mapping[str, Any],
    weights: Mapping[str, Tensor],
    input_shape: tuple[int, int, int] | None,
) -> dict[str, int]:
    if unknown := set(arch_kwargs) - set(_LARGEST):
        raise InputError(
            f"{arch} must be given {', '.join(_LARGEST)}, but also got"
            f" {one_line(', '.join(map(str, unknown)), 80)}"
        )
    sizes: dict[str, Any] = {
        "in_channels": next((w.shape[1] for w in weights.values() if w.ndim == 4), None),
        "num_classes": next(
            (w.shape[0] for w in reversed(list(weights.values())) if w.ndim == 2), None
        ),
    }
    if input_shape is not None:
        if input_shape[1] != input_shape[2]:
            raise InputError(f"{arch} must be given square images, but they are {input_shape}")
        sizes |= {"in_channels": input_shape[0], "image_size": input_shape[1]}
    sizes |= arch_kwargs
    for name, largest in _LARGEST.items():
        size = sizes.get(name)
        if size is None:
            raise InputError(f"{arch} must know its {name}: give the images' --input-shape C,H,W")
        if type(size) is not int or not 1 <= size <= largest:
            raise InputError(
                f"{name} of {arch} must be 1 to {largest}, but it is {one_line(repr(size), 40)}"
            )
    if input_shape is not None and (sizes["in_channels"], sizes["image_size"]) != input_shape[:2]:
        raise InputError(
            f"the input shape must be that of the teacher, ({sizes['in_channels']},"
            f" {sizes['image_size']}, {sizes['image_size']}), but {input_shape} was asked for"
        )
    return sizes


def _call_factory(arch: str, arch_kwargs: Mapping[str, Any]) -> nn.Module:
    if not _FACTORY.fullmatch(arch):
        raise InputError(f"--arch must have the form package.module:factory, but it is {arch!r}")
    module_name, _, attribute = arch.partition(":")
    factory: Any = _import(module_name, arch)
    for part in attribute.split("."):
        if not hasattr(factory, part):
            raise InputError(
                f"--arch {arch}: {module_name} must have a factory {attribute}, but it has none"
            )
        factory = getattr(factory, part)
    if not callable(factory):
        raise InputError(
            f"--arch {arch} must name a callable, but it names a {type(factory).__name__}"
        )
    try:
        model = factory(**arch_kwargs)
    except (Exception, SystemExit) as error:  # it is the user's
        raise InputError(
            f"--arch {arch} must build the network when called with {dict(arch_kwargs)}, but it"
            f" raises {type(error).__name__}: {one_line(error)}"
        ) from error
    if not isinstance(model, nn.Module):
        raise InputError(
            f"--arch {arch} must return a torch.nn.Module, but it returns a {type(model).__name__}"
        )
    return model


def _import(name: str, arch: str) -> Any:
    try:
        return import_user_module(name)
    except Exception as error:
        raise InputError(
            f"--arch {arch}: {name} must be importable from the current directory or the"
            f" environment, but: {type(error).__name__}: {one_line(error)}"
        ) from error
