"""What `inspect` and `export` are given: the folder of a run, a network, or a network's name."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from torch import nn

from hwn2n.commands.subject import load_subject
from hwn2n.errors import InputError
from hwn2n.network.files import Teacher
from hwn2n.network.files.architectures import build_architecture, is_factory
from hwn2n.network.teachers import build_teacher, factory_of
from hwn2n.run.folder import RunFolder

_CLASSES = 10
"""Logits of a built-in architecture that is named without a file."""


def run_of(model: str | os.PathLike[str] | nn.Module | Teacher) -> RunFolder | None:
    """The run that `model` names, None where it is no folder; `InputError` for another folder."""
    if isinstance(model, nn.Module | Teacher) or not Path(model).is_dir():
        return None
    return RunFolder.open(Path(model))


def subject_of(
    model: str | os.PathLike[str] | nn.Module | Teacher,
    arch: str | None,
    input_shape: tuple[int, int, int] | None,
    unsafe_pickle: bool,
) -> Teacher:
    """The network of a file or object; of an architecture's name, with random weights."""
    named = isinstance(model, str) and (factory_of(model) is not None or is_factory(model))
    if named and arch is None and not Path(str(model)).exists():
        return untrained(str(model), input_shape)
    return load_subject(model, arch=arch, input_shape=input_shape, unsafe_pickle=unsafe_pickle)


def untrained(arch: str, input_shape: tuple[int, int, int] | None) -> Teacher:
    """An architecture with random weights, which matter to nobody here."""
    if input_shape is None:
        raise InputError(f"{arch}: an architecture must come with the images' --input-shape C,H,W")
    # the caller's random numbers are the caller's
    with torch.random.fork_rng(devices=[]):
        if is_factory(arch):
            model, _ = build_architecture(arch, arch_kwargs={}, weights={}, input_shape=input_shape)
        else:
            channels, height, width = input_shape
            if height != width:
                raise InputError(f"{arch} must be given square images, but they are {input_shape}")
            model = build_teacher(arch, channels, _CLASSES, height, seed=0)
    return Teacher(model=model.eval(), input_shape=input_shape, source=arch)
