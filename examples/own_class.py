"""A class of your own as teacher: hwn2n traces what it computes, whatever it is made of.

    python examples/own_class.py own.pt
    hwn2n inspect own.pt --arch examples.own_class:Net --input-shape 3,32,32 --svg own.svg
    hwn2n compress own.pt --arch examples.own_class:Net --data imagefolder:photos \
        --image-size 32 --budget examples/budget.yaml --out runs/own

Branches, sums, concatenations and functions of torch are all followed. What has no rule keeps its
channels; `hwn2n inspect` says where and why.
"""

import sys

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Net(nn.Module):
    """Two branches that are concatenated, a residual sum, and a linear classifier."""

    def __init__(self, classes: int = 3) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, stride=2, padding=1)
        self.left = nn.Conv2d(16, 16, 3, padding=1)
        self.right = nn.Conv2d(16, 16, 1)
        self.norm = nn.BatchNorm2d(32)
        self.block = nn.Sequential(
            nn.Conv2d(32, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 32, 3, padding=1)
        )
        self.classifier = nn.Linear(32, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Images (N, 3, H, W) to logits (N, classes)."""
        x = F.relu(self.stem(x))
        x = F.relu(self.norm(torch.cat([self.left(x), self.right(x)], dim=1)))
        x = F.relu(x + self.block(x))
        logits: Tensor = self.classifier(x.mean((2, 3)))
        return logits


if __name__ == "__main__":
    # Where you have trained. Pickled modules (torch.save of the model itself) run code when they
    # are loaded: save the state dict instead.
    torch.save(Net().state_dict(), sys.argv[1])
