"""A timm model as teacher (pip install timm): its weights in a file, its class by name.

    python examples/timm_model.py timm.pt
    hwn2n inspect timm.pt --arch examples.timm_model:make --input-shape 3,64,64
    hwn2n compress timm.pt --arch examples.timm_model:make --data imagefolder:photos \
        --image-size 64 --budget examples/budget.yaml --out runs/timm

`--arch` takes any function that returns the network without arguments, in a module that Python
finds from the folder where you type the command. It runs that module, so name only your own.
"""

import sys

import timm
import torch
from torch import nn

CLASSES = 3


def make() -> nn.Module:
    """The network, with the number of classes that it was trained for."""
    return timm.create_model("lcnet_050", pretrained=False, num_classes=CLASSES)


if __name__ == "__main__":
    # Where you have trained: with `pretrained=True` above, and then on your own images.
    torch.save(make().state_dict(), sys.argv[1])
