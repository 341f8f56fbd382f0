"""A torchvision model as teacher, from Python.

    python examples/torchvision_model.py photos runs/torchvision

`photos` is a folder with one folder of images for each class. Here the weights are random; yours
are those that you trained: `model.load_state_dict(torch.load("mine.pt", weights_only=True))`.
"""

import argparse

import torchvision
import yaml

import hwn2n
from hwn2n.distil.datasets import load_data
from hwn2n.network.files import Teacher

# What torchvision's own weights were trained with. Without it, hwn2n normalises images by the
# mean and deviation of the data that it is given.
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def main() -> None:
    """Compress a ResNet-18 on a folder of images, and write the student as ONNX."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("photos", help="folder with one folder for each class")
    parser.add_argument("out", help="folder of the run")
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE")
    options = parser.parse_args()

    data = load_data(f"imagefolder:{options.photos}", image_size=options.image_size)
    model = torchvision.models.resnet18(weights=None, num_classes=data.num_classes)
    result = hwn2n.compress(
        Teacher(model=model.eval(), source="resnet18", mean=MEAN, std=STD, classes=data.classes),
        budget="examples/budget.yaml",
        data=data,
        out=options.out,
        overrides={name: yaml.safe_load(v) for name, v in (s.split("=", 1) for s in options.set)},
    )
    print(f"{result.student['cost']['params']['value']:,.0f} parameters")
    exported = hwn2n.export(options.out, to="onnx", out=f"{options.out}/student.onnx")
    print(f"{exported.files[0]} differs by {exported.random.largest:.1g}")


if __name__ == "__main__":
    main()
