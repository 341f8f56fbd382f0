"""Small networks and random decisions for the tests of the layer graph."""

import random
from functools import cache

import torch
import torch.nn.functional as F
from torch import nn

from hwn2n.network.capture import Captured, capture
from hwn2n.network.decision import Decision
from hwn2n.network.layers import find_layers
from hwn2n.network.operators import rule
from hwn2n.network.planner import Planner
from hwn2n.network.teachers import build_teacher
from hwn2n.search.choices.actions import SHRINK_VALUES, smaller_kernel
from hwn2n.search.fitting.widths import Widths

PAPER_TEACHERS = {
    "conv4": (1, 28, 28),
    "digits-cnn": (1, 8, 8),
    "vgg11": (3, 32, 32),
    "vgg13": (3, 32, 32),
    "vgg19": (3, 32, 32),
    "resnet18": (3, 32, 32),
    "resnet34": (3, 32, 32),
    "resnet20": (3, 32, 32),
}
"""The teachers of the paper and of the demo, with the shape of their images."""


class Mixed(nn.Module):
    """A stem, a depthwise convolution, a residual sum, a concatenation, a flattened classifier."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.norm = nn.BatchNorm2d(8)
        self.back = nn.Conv2d(8, 8, 1)
        self.left = nn.Conv2d(8, 6, 3, padding=1)
        self.right = nn.Conv2d(8, 10, 1, bias=False)
        self.pool = nn.MaxPool2d(2)
        self.hidden = nn.Linear(16 * 4 * 4, 12)
        self.classifier = nn.Linear(12, 5)

    def forward(self, x):
        x = F.relu(self.stem(x))
        x = x + self.back(F.relu(self.norm(self.depthwise(x))))
        x = self.pool(torch.cat([self.left(x), self.right(x)], dim=1))
        return self.classifier(F.relu(self.hidden(torch.flatten(x, 1))))


class Plain(nn.Module):
    """Two normalised convolutions and two linear layers: every width is a group of its own."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 5, padding=2)
        self.bn1 = nn.BatchNorm2d(8)
        self.conv2 = nn.Conv2d(8, 12, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(12)
        self.pool = nn.MaxPool2d(2)
        self.fc1 = nn.Linear(12 * 16, 20)
        self.fc2 = nn.Linear(20, 5)

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.pool(F.relu(self.bn2(self.conv2(x))))
        return self.fc2(F.relu(self.fc1(x.view(x.size(0), -1))))


class Wrap(nn.Module):
    """A module around a function of (itself, images), with a convolution, a norm and a classifier.

    `conv` makes 4 channels of 3, `head` 5 logits of 4 features.
    """

    def __init__(self, function):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.again = nn.Conv2d(4, 4, 3, padding=1)
        self.bn = nn.BatchNorm2d(4)
        self.scale = nn.Parameter(torch.linspace(0.5, 2.0, 4).view(1, 4, 1, 1))
        self.head = nn.Linear(4, 5)
        self.function = function

    def forward(self, x):
        return self.function(self, x)


def seeded(make, seed=0):
    """A network with reproducible weights and lively batch-norm statistics, in eval mode."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = make()
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d) and module.affine:
                module.running_mean.normal_()
                module.running_var.uniform_(0.5, 2.0)
                module.num_batches_tracked.fill_(7)
                nn.init.normal_(module.weight)
                nn.init.normal_(module.bias)
    return model.eval()


@cache
def captured_teacher(arch: str, pixels: int) -> Captured:
    """A teacher with random weights, captured once for all tests."""
    channels = PAPER_TEACHERS[arch][0]
    return capture(build_teacher(arch, channels, 10, pixels, seed=1), (channels, pixels, pixels))


@cache
def planner_of(arch: str, pixels: int) -> Planner:
    return Planner(captured_teacher(arch, pixels).architecture)


@cache
def removable_layers(planner: Planner) -> tuple[tuple[str, ...], ...]:
    return tuple(layer.operations for layer in find_layers(planner) if layer.removable)


def random_decision(planner: Planner, rng: random.Random, widest: float = 1.0) -> Decision:
    """What the two stages could choose: layers, then shares of the widths and kernels left."""
    share_removed = rng.uniform(0.0, 0.7)
    removed = frozenset(
        name
        for operations in removable_layers(planner)
        if rng.random() < share_removed
        for name in operations
    )
    architecture, channels = planner.left(removed)
    shares = [share for share in SHRINK_VALUES if share <= widest]
    widths = {
        name: Widths().nearest(group, rng.choice(shares))
        for name, group in channels.groups.items()
        if not group.frozen
    }
    kernels = {}
    for op in architecture:
        if rule(op).has_kernel:
            share = rng.choice(SHRINK_VALUES)
            height, width = op.config["kernel_size"]
            kernels[op.name] = (smaller_kernel(height, share), smaller_kernel(width, share))
    return Decision(removed, widths, kernels)


def images(shape, count=2, seed=0):
    return torch.randn((count, *shape), generator=torch.Generator().manual_seed(seed))
