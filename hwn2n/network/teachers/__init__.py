"""The teachers that hwn2n can train itself: those of the paper, smaller ones and a demo network.

`TEACHERS` names them, and a VGG or ResNet of another width is called `resnet18-w16`: 16 channels in
its first stage instead of 64, and in all others in proportion. `build_teacher` makes one for a data
set. Every layer that a policy may
remove is a module of its own, and every teacher goes through `torch.export` with a free batch.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial

import torch
from torch import nn

from hwn2n.errors import InputError
from hwn2n.network.teachers import resnet, vgg
from hwn2n.network.teachers.conv4 import Conv4, DigitsCNN
from hwn2n.network.teachers.resnet import ResNet
from hwn2n.network.teachers.vgg import VGG

__all__ = ["TEACHERS", "Factory", "build_teacher", "factory_of"]


Factory = Callable[..., nn.Module]
"""(in_channels, num_classes, image_size) to the untrained network; of VGG and ResNet with `width`
too, the channels of the first stage."""


def _vgg(
    name: str, in_channels: int, num_classes: int, image_size: int, width: int = vgg.WIDTH
) -> nn.Module:
    return VGG(vgg.STAGES[name], in_channels, num_classes, image_size, width)


def _resnet(
    name: str, in_channels: int, num_classes: int, image_size: int, width: int | None = None
) -> nn.Module:
    usual, blocks = resnet.STAGES[name]
    return ResNet(width or usual, blocks, in_channels, num_classes)


TEACHERS: dict[str, Factory] = {
    "conv4": Conv4,
    "digits-cnn": DigitsCNN,
    "vgg11": partial(_vgg, "vgg11"),
    "vgg13": partial(_vgg, "vgg13"),
    "vgg16": partial(_vgg, "vgg16"),
    "vgg19": partial(_vgg, "vgg19"),
    "resnet18": partial(_resnet, "resnet18"),
    "resnet34": partial(_resnet, "resnet34"),
    "resnet20": partial(_resnet, "resnet20"),
    "resnet32": partial(_resnet, "resnet32"),
    "resnet56": partial(_resnet, "resnet56"),
}

_OF_WIDTH = re.compile(r"(?P<name>(vgg|resnet)\d+)-w(?P<width>[1-9]\d{0,3})")


def factory_of(arch: str) -> Factory | None:
    """What builds the architecture of that name, None where there is none of it."""
    if found := _OF_WIDTH.fullmatch(arch):
        usual = TEACHERS.get(found["name"])
        return None if usual is None else partial(usual, width=int(found["width"]))
    return TEACHERS.get(arch)


def build_teacher(
    arch: str, in_channels: int, num_classes: int, image_size: int, *, seed: int | None = None
) -> nn.Module:
    """An untrained teacher, in train mode, on the CPU.

    Args:
        arch: a name in `TEACHERS`, or one such as `vgg19-w16`.
        in_channels: channels of an image, at least 1.
        num_classes: number of logits, at least 2.
        image_size: height and width of an image in pixels.
        seed: of the initial weights, without touching the global generator; None draws from it.

    Raises:
        InputError: unknown name, or numbers that the network cannot take.
    """
    factory = factory_of(arch)
    if factory is None:
        known = ", ".join(sorted(TEACHERS))
        raise InputError(
            f"arch must be one of {known}, or a width such as resnet18-w16, but got {arch!r}"
        )
    if in_channels < 1:
        raise InputError(f"in_channels must be at least 1, but got {in_channels}")
    if num_classes < 2:
        raise InputError(f"num_classes must be at least 2, but got {num_classes}")
    if image_size < 1:
        raise InputError(f"image_size must be at least 1 pixel, but got {image_size}")
    if seed is None:
        return factory(in_channels, num_classes, image_size)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return factory(in_channels, num_classes, image_size)
