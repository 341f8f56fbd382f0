"""Images of your own: a folder (or .zip) with one folder for each class.

    python examples/image_folder.py photos
    hwn2n teach digits-cnn --data imagefolder:photos --image-size 16 -o folder.pt
    hwn2n compress folder.pt --data imagefolder:photos --image-size 16 \
        --budget examples/budget.yaml --out runs/folder

`photos/CLASS/*.png` is split into training, validation and test images, always in the same way;
`photos/train/CLASS`, `photos/val/CLASS` and `photos/test/CLASS` are taken as they are. This script
makes such a folder of synthetic images.
"""

import sys
from pathlib import Path

import torch
from torchvision.transforms.functional import to_pil_image

SIZE = 40


def picture(kind: str, generator: torch.Generator) -> torch.Tensor:
    """A noisy uint8 image (3, SIZE, SIZE) with stripes, a gradient, or neither."""
    pixels = torch.rand(3, SIZE, SIZE, generator=generator) * 80
    if kind == "stripes":
        pixels[:, :: int(torch.randint(2, 5, (), generator=generator))] += 150
    if kind == "gradients":
        pixels += torch.linspace(0, 170, SIZE)
    return pixels.to(torch.uint8)


def main(folder: Path, count: int = 40) -> None:
    """Write `count` images of each of three classes."""
    generator = torch.Generator().manual_seed(0)
    for kind in ("gradients", "noise", "stripes"):
        (folder / kind).mkdir(parents=True)
        for i in range(count):
            to_pil_image(picture(kind, generator)).save(folder / kind / f"{i:03}.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
