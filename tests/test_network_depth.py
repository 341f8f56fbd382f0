"""Depth, against counting by hand."""

from __future__ import annotations

import pytest
import small
import torch
from networks import captured_teacher
from torch import Tensor, nn

from hwn2n.network.capture import capture
from hwn2n.network.depth import depth
from hwn2n.network.planner import Planner


@pytest.mark.parametrize(
    ("arch", "layers"),
    # of a ResNet a stem, two convolutions for each residual block, and a classifier
    [("conv4", 5), ("vgg13", 11), ("resnet20", 20), ("resnet18", 18)],
)
def test_teachers(arch: str, layers: int) -> None:
    assert depth(captured_teacher(arch, 32).architecture) == layers


def test_a_removed_branch_takes_its_layers_along_and_widths_do_not_matter() -> None:
    teacher = captured_teacher("resnet20", 32).architecture
    planner = Planner(teacher)
    block = [op.name for op in teacher if ".stage1.1." in op.name]
    assert (planner.depth(), planner.depth(block)) == (20, 18)


def test_the_longest_way_counts() -> None:
    class Forked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Conv2d(1, 4, 3, padding=1)
            self.left = nn.Sequential(nn.Conv2d(4, 4, 1), nn.ReLU(), nn.Conv2d(4, 4, 1))
            self.right = nn.Conv2d(4, 4, 1)
            self.head = nn.Linear(8, 3)

        def forward(self, x: Tensor) -> Tensor:
            x = self.stem(x)
            both = torch.cat([self.left(x), self.right(x)], 1)
            logits: Tensor = self.head(both.mean((2, 3)))
            return logits

    assert depth(capture(Forked().eval(), (1, 8, 8)).architecture) == 4


def test_a_network_without_layers_has_none() -> None:
    class Bare(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.mean((2, 3))

    assert depth(capture(Bare().eval(), small.SHAPE).architecture) == 0
