"""A `.pt2` of torch.export as teacher: the file is enough, nobody's code is needed any more.

    python examples/exported_program.py program.pt2
    hwn2n inspect program.pt2
    hwn2n compress program.pt2 --data imagefolder:photos --image-size 32 \
        --budget examples/budget.yaml --out runs/program
    hwn2n export runs/program --to torch-export -o student.pt2

The batch must be dynamic. `hwn2n.json` inside the file is optional: it says how images are
normalised, and what the classes are called.
"""

import json
import sys

import torch
from own_class import Net
from torch.export import Dim, export, save

CLASSES = ["gradients", "noise", "stripes"]


def main(path: str) -> None:
    """Export a network and save it."""
    model = Net(classes=len(CLASSES)).eval()
    images = torch.zeros(2, 3, 32, 32)
    program = export(model, (images,), dynamic_shapes=({0: Dim("batch")},), strict=False)
    said = {"classes": CLASSES, "mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]}
    save(program, path, extra_files={"hwn2n.json": json.dumps(said)})


if __name__ == "__main__":
    main(sys.argv[1])
