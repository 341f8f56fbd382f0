"""`load_teacher`: from a file of any known format to a `Teacher`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from hwn2n.errors import InputError
from hwn2n.network.files.architectures import build_architecture, is_factory
from hwn2n.network.files.description import read_description
from hwn2n.network.files.detect import FileFormat, detect_format
from hwn2n.network.files.exported import load_exported
from hwn2n.network.files.guard import UnsafePickleError, load_plain
from hwn2n.network.files.own import read_own_file
from hwn2n.network.files.pickled import load_pickle, refuse_pickle
from hwn2n.network.files.stored import Stored, stored_in
from hwn2n.network.files.teacher import Teacher, check_classifier, check_weights
from hwn2n.network.files.tensors import load_tensors
from hwn2n.network.files.weights import load_weights, unwrap_state_dict

BESIDE = "hwn2n"
"""Key beside a checkpoint's state dict under which users may say classes, mean and std, as in the
`hwn2n.json` of a `.pt2`."""


def load_teacher(
    path: str | os.PathLike[str],
    *,
    arch: str | None = None,
    arch_kwargs: Mapping[str, Any] | None = None,
    input_shape: tuple[int, int, int] | None = None,
    unsafe_pickle: bool = False,
) -> Teacher:
    """The teacher in the file at `path`, whose format is told from its content.

    `arch` names the architecture of a file that holds only weights: a name of
    `hwn2n.network.teachers.TEACHERS`, or "package.module:factory", imported with the current
    directory on the path and called with `arch_kwargs`. `input_shape` is (C, H, W) of one image.
    `unsafe_pickle` lets a pickled module run its code; without it nothing in a file runs.

    Raises InputError, with one line that says what must hold and what was found, for a file that
    is missing, damaged, unsafe, of another architecture, with weights that are not finite, or
    not an image classifier.
    """
    path = Path(path)
    if input_shape is not None and (len(input_shape) != 3 or min(input_shape) < 1):
        raise InputError(f"input_shape must be 3 positive numbers (C, H, W), found {input_shape}")
    kwargs = dict(arch_kwargs or {})
    match detect_format(path):
        case FileFormat.EXPORTED:
            if arch is not None:
                raise InputError(
                    f"{path}: --arch must not be given with an exported program, which holds its"
                    f" own architecture, but it is {arch!r}"
                )
            return load_exported(path, input_shape=input_shape)
        case FileFormat.TORCHSCRIPT:
            raise InputError(
                f"{path}: the teacher must not be TorchScript, which hides its layers; export the"
                " original model by torch.export.export and save it by torch.export.save"
            )
        case FileFormat.SAFETENSORS:
            weights, texts = load_tensors(path)
            if arch is None and (stored := stored_in(path, weights, texts)) is not None:
                return _from_stored(stored, input_shape)
            weights = unwrap_state_dict(weights, str(path))
            return _assemble(path, weights, arch, kwargs, input_shape, {"metadata": dict(texts)})
        case FileFormat.CHECKPOINT:
            return _load_checkpoint(path, arch, kwargs, input_shape, unsafe_pickle)


def _load_checkpoint(
    path: Path,
    arch: str | None,
    arch_kwargs: dict[str, Any],
    input_shape: tuple[int, int, int] | None,
    unsafe_pickle: bool,
) -> Teacher:
    try:
        content = load_plain(path, f"{path}: a teacher file")
    except UnsafePickleError as error:
        if not unsafe_pickle:
            raise refuse_pickle(error) from error
        content = load_pickle(path)
    if isinstance(content, nn.Module):
        return _from_module(content, path, input_shape)
    own = read_own_file(content, str(path))
    if own is None:
        weights = unwrap_state_dict(content, str(path))
        said = {} if BESIDE in weights else content.get(BESIDE, {})
        described = read_description(said, f"{path}: {BESIDE}")
        return _assemble(path, weights, arch, arch_kwargs, input_shape, described)
    if arch is None and is_factory(own.arch):
        raise InputError(
            f"{path}: the architecture of this file is code outside it; pass --arch {own.arch} if"
            " you trust that module"
        )
    arch = arch or own.arch
    if not is_factory(arch):
        arch_kwargs = {**own.arch_kwargs, **arch_kwargs}
    elif input_shape is None:  # a factory's arguments are the user's, the images are the file's
        input_shape = _stored_shape(own.arch_kwargs)
    return _assemble(path, own.weights, arch, arch_kwargs, input_shape, own.description)


def _assemble(
    path: Path,
    weights: dict[str, Tensor],
    arch: str | None,
    arch_kwargs: dict[str, Any],
    input_shape: tuple[int, int, int] | None,
    description: dict[str, Any],
) -> Teacher:
    """A teacher from weights, an architecture, and what the file says beside them."""
    source = str(path)
    if arch is None:
        raise InputError(
            f"{path}: a file that holds only weights must come with its architecture; name it by"
            " --arch, as a built-in name or package.module:factory"
        )
    try:
        model, input_shape = build_architecture(
            arch, arch_kwargs=arch_kwargs, weights=weights, input_shape=input_shape
        )
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    load_weights(model, weights, arch, source)
    if input_shape is not None:
        check_classifier(model, input_shape, description.get("classes"), source)
    return Teacher(model=model, arch=arch, input_shape=input_shape, source=source, **description)


def _from_module(model: nn.Module, path: Path, input_shape: tuple[int, int, int] | None) -> Teacher:
    source = str(path)
    model = model.to("cpu").float().eval()
    check_weights(model, source)
    if input_shape is not None:
        check_classifier(model, input_shape, None, source)
    return Teacher(model=model, input_shape=input_shape, source=source)


def _from_stored(stored: Stored, input_shape: tuple[int, int, int] | None) -> Teacher:
    """A student that hwn2n wrote, rebuilt from its architecture."""
    shape = stored.architecture.input_shape
    if input_shape not in (None, shape):
        raise InputError(
            f"{stored.source}: the input shape must be that of the network, {shape}, but"
            f" {input_shape} was asked for"
        )
    model = stored.module()
    check_weights(model, stored.source)
    check_classifier(model, shape, stored.description.get("classes"), stored.source)
    return Teacher(model=model, input_shape=shape, source=stored.source, **stored.description)


def _stored_shape(arch_kwargs: dict[str, Any]) -> tuple[int, int, int] | None:
    sizes = [arch_kwargs.get(name) for name in ("in_channels", "image_size", "image_size")]
    if all(type(size) is int and 0 < size <= 8192 for size in sizes):
        return sizes[0], sizes[1], sizes[2]  # type: ignore[return-value]
    return None
