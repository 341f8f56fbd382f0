"""The small teachers: the paper's four-convolution MNIST network and a smaller one for 8x8 digits.

Departures of `Conv4` from the network in the authors' public code (model/mnistnet.py), whose
widths, kernel sizes and dropout it keeps:
1. batch norm and ReLU stand in the usual order (conv, batch norm, ReLU, pool), so that a policy
   can remove each of them alone;
2. no ReLU follows the last linear layer: logits that cannot be negative distil badly;
3. the last average pool is adaptive, so that other image sizes than 28 work;
4. convolutions carry no bias, since the batch norm behind each has one.
"""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn

from hwn2n.errors import InputError


class Conv4(nn.Module):
    """Four convolutions (32 5x5, 64, 64, 128) and one linear layer, the paper's MNIST Conv4.

    Args:
        in_channels: channels of an image, 1 for MNIST.
        num_classes: number of logits.
        image_size: height and width in pixels, at least 6; 28 is the paper's.

    Shapes: (N, in_channels, image_size, image_size) to (N, num_classes).
    """

    def __init__(self, in_channels: int = 1, num_classes: int = 10, image_size: int = 28) -> None:
        super().__init__()
        if image_size < 6:
            raise InputError(f"conv4 needs images of at least 6 pixels, but got {image_size}")
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        # (outputs, kernel, pooled); the authors' 5x5 pads by 1: 28 becomes 26 and pools to 13
        plan = [(32, 5, True), (64, 3, False), (64, 3, True), (128, 3, False)]
        width = in_channels
        for number, (outputs, kernel, pooled) in enumerate(plan, start=1):
            layers[f"conv{number}"] = nn.Conv2d(width, outputs, kernel, padding=1, bias=False)
            layers[f"bn{number}"] = nn.BatchNorm2d(outputs)
            layers[f"relu{number}"] = nn.ReLU()
            if pooled:
                layers[f"pool{number}"] = nn.MaxPool2d(2)
            width = outputs
        self.features = nn.Sequential(layers)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.dropout = nn.Dropout(0.2)
        self.classifier = nn.Linear(width, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, num_classes) of images (N, C, H, W)."""
        features: Tensor = self.flatten(self.pool(self.features(images)))
        logits: Tensor = self.classifier(self.dropout(features))
        return logits


class DigitsCNN(nn.Module):
    """A plain network for 8x8 digits: convolutions of 32, 32, 64 and 128 channels, then linear.

    Ours, not the paper's: about 103,000 parameters, trained in seconds on one core.

    Shapes: (N, in_channels, image_size, image_size), image_size >= 2, to (N, num_classes).
    """

    def __init__(self, in_channels: int = 1, num_classes: int = 10, image_size: int = 8) -> None:
        super().__init__()
        if image_size < 2:
            raise InputError(f"digits-cnn needs images of at least 2 pixels, but got {image_size}")
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        width = in_channels
        for number, outputs in enumerate((32, 32, 64, 128), start=1):
            layers[f"conv{number}"] = nn.Conv2d(width, outputs, 3, padding=1, bias=False)
            layers[f"bn{number}"] = nn.BatchNorm2d(outputs)
            layers[f"relu{number}"] = nn.ReLU()
            if number == 2:
                layers["pool2"] = nn.MaxPool2d(2)
            width = outputs
        self.features = nn.Sequential(layers)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.classifier = nn.Linear(width, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, num_classes) of images (N, C, H, W)."""
        features: Tensor = self.flatten(self.pool(self.features(images)))
        logits: Tensor = self.classifier(features)
        return logits
