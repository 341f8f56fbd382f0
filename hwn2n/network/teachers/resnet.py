"""Residual networks with the CIFAR stem: one 3x3 convolution, no max pool (He et al. 2016).

ResNet-18 and ResNet-34 have the ImageNet widths 64 to 512, as the paper's teachers do (with 10
classes 11,173,962 and 21,282,122 parameters; the paper: 11.17M and 21.28M). ResNet-20, 32 and 56
are those of section 4.2 of arXiv 1512.03385, widths 16 to 64, but with a 1x1 projection with
batch norm where a shortcut changes shape (option B) instead of padding with zeros (option A):
272,474 parameters for ResNet-20 rather than 269,722.
"""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn

# (first width, blocks of each stage); widths double and the image halves from stage to stage.
STAGES: dict[str, tuple[int, tuple[int, ...]]] = {
    "resnet18": (64, (2, 2, 2, 2)),
    "resnet34": (64, (3, 4, 6, 3)),
    "resnet20": (16, (3, 3, 3)),
    "resnet32": (16, (5, 5, 5)),
    "resnet56": (16, (9, 9, 9)),
}


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut, summed, then ReLU.

    Shapes: (N, in_channels, H, W) to (N, out_channels, ceil(H / stride), ceil(W / stride)).
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.shortcut: nn.Module
        if stride == 1 and in_channels == out_channels:
            self.shortcut = nn.Identity()
        else:
            projection = nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=False)
            self.shortcut = nn.Sequential(
                OrderedDict(conv=projection, bn=nn.BatchNorm2d(out_channels))
            )
        self.relu2 = nn.ReLU()

    def forward(self, features: Tensor) -> Tensor:
        """The block's output (N, out_channels, H', W')."""
        branch = self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(features)))))
        output: Tensor = self.relu2(branch + self.shortcut(features))
        return output


class ResNet(nn.Module):
    """One of `STAGES`, for images of any size.

    Args:
        width: channels of the stem and of the first stage.
        blocks: number of `BasicBlock`s in each stage.
        in_channels: channels of an image.
        num_classes: number of logits.

    Shapes: (N, in_channels, H, W) to (N, num_classes).
    """

    def __init__(
        self, width: int, blocks: tuple[int, ...], in_channels: int = 3, num_classes: int = 10
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, width, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(width)
        self.relu = nn.ReLU()
        stages: OrderedDict[str, nn.Module] = OrderedDict()
        inputs = width
        for stage, depth in enumerate(blocks):
            outputs = width * 2**stage
            first = BasicBlock(inputs, outputs, stride=1 if stage == 0 else 2)
            rest = [BasicBlock(outputs, outputs) for _ in range(depth - 1)]
            stages[f"stage{stage + 1}"] = nn.Sequential(first, *rest)
            inputs = outputs
        self.features = nn.Sequential(stages)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.classifier = nn.Linear(inputs, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, num_classes) of images (N, C, H, W)."""
        features = self.features(self.relu(self.bn(self.conv(images))))
        logits: Tensor = self.classifier(self.flatten(self.pool(features)))
        return logits
