"""The teachers that hwn2n can train itself: those of the paper, smaller ones and a demo network.

`TEACHERS` names them; `build_teacher` makes one for a data set. Every layer that a policy may
remove is a module of its own, and every teacher goes through `torch.export` with a free batch.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import nn

from hwn2n.errors import InputError
from hwn2n.network.teachers import resnet, vgg
from hwn2n.network.teachers.conv4 import Conv4, DigitsCNN
from hwn2n.network.teachers.resnet import ResNet
from hwn2n.network.teachers.vgg import VGG

__all__ = ["TEACHERS", "Factory", "build_teacher"]


# (in_channels, num_classes, image_size) -> the untrained network
Factory = Callable[[int, int, int], nn.Module]


def _vgg(name: str, in_channels: int, num_classes: int, image_size: int) -> nn.Module:
    return VGG(vgg.STAGES[name], in_channels, num_classes, image_size)


def _resnet(name: str, in_channels: int, num_classes: int, image_size: int) -> nn.Module:
    width, blocks = resnet.STAGES[name]
    return ResNet(width, blocks, in_channels, num_classes)


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


def build_teacher(
    arch: str, in_channels: int, num_classes: int, image_size: int, *, seed: int | None = None
) -> nn.Module:
    """An untrained teacher, in train mode, on the CPU.

    Args:
        arch: a name in `TEACHERS`.
        in_channels: channels of an image, at least 1.
        num_classes: number of logits, at least 2.
        image_size: height and width of an image in pixels.
        seed: of the initial weights, without touching the global generator; None draws from it.

    Raises:
        InputError: unknown name, or numbers that the network cannot take.
    """
    if arch not in TEACHERS:
        raise InputError(f"arch must be one of {', '.join(sorted(TEACHERS))}, but got {arch!r}")
    if in_channels < 1:
        raise InputError(f"in_channels must be at least 1, but got {in_channels}")
    if num_classes < 2:
        raise InputError(f"num_classes must be at least 2, but got {num_classes}")
    if image_size < 1:
        raise InputError(f"image_size must be at least 1 pixel, but got {image_size}")
    if seed is None:
        return TEACHERS[arch](in_channels, num_classes, image_size)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return TEACHERS[arch](in_channels, num_classes, image_size)
