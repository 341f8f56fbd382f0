"""VGG with batch norm and one linear classifier, as used on CIFAR (Simonyan & Zisserman 2015).

The layout is the common CIFAR one: 3x3 convolutions, five max pools, one linear layer of 512
inputs. Convolutions carry no bias, since the batch norm behind each has one: with 10 classes
VGG-13 has 9,413,066 parameters on 3 channels and 9,411,914 on 1 (the paper: 9.4M), VGG-19
20,035,018 (the paper: 20.2M).
"""

from __future__ import annotations

from collections import OrderedDict
from itertools import count

from torch import Tensor, nn

# Convolutions of each of the five stages; a stage ends with a 2x2 max pool.
STAGES: dict[str, tuple[int, int, int, int, int]] = {
    "vgg11": (1, 1, 2, 2, 2),
    "vgg13": (2, 2, 2, 2, 2),
    "vgg16": (2, 2, 3, 3, 3),
    "vgg19": (2, 2, 4, 4, 4),
}
WIDTH = 64
"""Channels of the first stage; the following have 2, 4, 8 and 8 times as many."""


class VGG(nn.Module):
    """One of `STAGES`, for square images of any size.

    A max pool that would leave no pixel is left out: 28x28 images (MNIST) go through four pools,
    28 -> 14 -> 7 -> 3 -> 1, and 32x32 images through all five. An adaptive average pool ends the
    features, which is the identity for both sizes.

    Args:
        stages: number of convolutions in each of the five stages.
        in_channels: channels of an image.
        num_classes: number of logits.
        image_size: height and width of an image in pixels; decides which pools are left out.
        width: channels of the first stage.

    Shapes: (N, in_channels, image_size, image_size) to (N, num_classes).
    """

    def __init__(
        self,
        stages: tuple[int, int, int, int, int],
        in_channels: int = 3,
        num_classes: int = 10,
        image_size: int = 32,
        width: int = WIDTH,
    ) -> None:
        super().__init__()
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        inputs, size, number = in_channels, image_size, count(1)
        for stage, convolutions in enumerate(stages, start=1):
            outputs = width * min(2 ** (stage - 1), 8)
            for _ in range(convolutions):
                n = next(number)
                layers[f"conv{n}"] = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
                layers[f"bn{n}"] = nn.BatchNorm2d(outputs)
                layers[f"relu{n}"] = nn.ReLU()
                inputs = outputs
            if size >= 2:
                layers[f"pool{stage}"] = nn.MaxPool2d(2)
                size //= 2
        self.features = nn.Sequential(layers)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.classifier = nn.Linear(inputs, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, num_classes) of images (N, C, H, W)."""
        logits: Tensor = self.classifier(self.flatten(self.pool(self.features(images))))
        return logits
