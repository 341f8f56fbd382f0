"""Small networks that people designed, for images of 32x32 pixels (smaller ones work too).

- FitNet-4 (Romero et al. 2015, arXiv 1412.6550, appendix): 17 convolutions of two maxout pieces in
  three stages of 32/48, 80 and 128 channels, then a maxout layer of 500 units in five pieces. Batch
  norm follows each convolution, as it does in later reproductions: without it so deep a maxout
  network hardly trains.
- SqueezeNet 1.1 (Iandola et al. 2016, arXiv 1602.07360): torchvision's, whose first convolution
  has stride 1 and padding 1 instead of stride 2, so that 32x32 pixels arrive at the last fire
  module as 4x4.
- VGG-small: six convolutions of 128, 256 and 512 channels and one linear layer, as it is called in
  the quantisation literature (Cai et al. 2017, arXiv 1702.00953). The paper does not define its
  own, as far as we know.

Each can be built narrower: with so many times fewer channels in every layer.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any

import torch
from torch import Tensor, nn

from hwn2n.errors import InputError


class Maxout(nn.Module):
    """The largest of several linear pieces, each a layer of its own."""

    def __init__(self, make: Callable[[], nn.Module], pieces: int) -> None:
        super().__init__()
        self.pieces = nn.ModuleList(make() for _ in range(pieces))

    def forward(self, features: Tensor) -> Tensor:
        """What every piece gives, (N, ...), elementwise the largest."""
        return reduce(torch.maximum, (piece(features) for piece in self.pieces))


class FitNet4(nn.Module):
    """Shapes: (N, in_channels, H, W) to (N, num_classes)."""

    STAGES = ((32, 32, 32, 48, 48), (80,) * 6, (128,) * 6)
    PIECES, UNITS, UNIT_PIECES = 2, 500, 5

    def __init__(self, in_channels: int, num_classes: int, narrower: int = 1) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        width = in_channels
        for stage, widths in enumerate(self.STAGES):
            for full in widths:
                outputs = full // narrower
                layers += [_piece(width, outputs, self.PIECES), nn.BatchNorm2d(outputs)]
                width = outputs
            if stage < 2:
                layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.pool = nn.AdaptiveMaxPool2d(1)
        self.flatten = nn.Flatten()
        units = self.UNITS // narrower
        self.hidden = Maxout(lambda: nn.Linear(width, units), self.UNIT_PIECES)
        self.classifier = nn.Linear(units, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, num_classes)."""
        features = self.flatten(self.pool(self.features(images)))
        logits: Tensor = self.classifier(self.hidden(features))
        return logits


def _piece(inputs: int, outputs: int, pieces: int) -> Maxout:
    return Maxout(lambda: nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), pieces)


def squeezenet(in_channels: int, num_classes: int, narrower: int = 1) -> nn.Module:
    """SqueezeNet 1.1 with a stem for small images."""
    from torchvision.models import squeezenet1_1  # takes a second to import
    from torchvision.models.squeezenet import Fire

    model: Any = squeezenet1_1(num_classes=num_classes)
    width = 64 // narrower
    model.features[0] = _initialised(nn.Conv2d(in_channels, width, 3, padding=1))
    if narrower > 1:
        for index, layer in enumerate(model.features):
            if isinstance(layer, Fire):
                squeezed = layer.squeeze.out_channels // narrower
                expanded = layer.expand1x1.out_channels // narrower
                model.features[index] = _initialised(Fire(width, squeezed, expanded, expanded))
                width = 2 * expanded
        last = model.classifier[1] = nn.Conv2d(width, num_classes, 1)
        nn.init.normal_(last.weight, std=0.01)
        nn.init.zeros_(last.bias)  # type: ignore[arg-type]
    return model  # type: ignore[no-any-return]


def _initialised(part: nn.Module) -> nn.Module:
    """With weights drawn as SqueezeNet's are."""
    for layer in part.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return part


def vgg_small(in_channels: int, num_classes: int, narrower: int = 1) -> nn.Module:
    """VGG-small with batch norm."""
    layers: list[nn.Module] = []
    width = in_channels
    for full in (128, 256, 512):
        outputs = full // narrower
        for _ in range(2):
            conv = nn.Conv2d(width, outputs, 3, padding=1, bias=False)
            layers += [conv, nn.BatchNorm2d(outputs), nn.ReLU()]
            width = outputs
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(
        *layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, num_classes)
    )


STUDENTS: dict[str, Callable[[int, int, int], nn.Module]] = {
    "fitnet4": FitNet4,
    "squeezenet": squeezenet,
    "vgg-small": vgg_small,
}


def build_student(
    name: str, in_channels: int, num_classes: int, *, seed: int, narrower: int = 1
) -> nn.Module:
    """A designed network with fresh weights, on the CPU; the caller's generator is left alone.

    Raises `InputError` for an unknown name.
    """
    if name not in STUDENTS:
        raise InputError(f"a designed student must be one of {', '.join(STUDENTS)}; found {name!r}")
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return STUDENTS[name](in_channels, num_classes, narrower)
