"""Options that several commands share, and how their texts are read."""

from __future__ import annotations

import errno
import math
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from hwn2n.atomic import destination, writing
from hwn2n.errors import InputError

LARGEST_SEED = 2**31 - 1

_DATA: Any = typer.Option(
    "--data",
    metavar="NAME",
    help="mnist, fashion-mnist, cifar10, cifar100, svhn, caltech256, imagenet32, digits, "
    "imagefolder:PATH, or module:function.",
)
DataName = Annotated[str, _DATA]
DataNameOrNone = Annotated[str | None, _DATA]
DataRoot = Annotated[
    Path | None,
    typer.Option("--data-root", metavar="DIR", help="Folder of the data sets.  [default: data]"),
]
Download = Annotated[
    bool, typer.Option("--download", help="Fetch the data set if it is missing (torchvision's).")
]
ImageSize = Annotated[
    int | None,
    typer.Option("--image-size", metavar="N", help="Height and width to bring images to."),
]
Validation = Annotated[
    str | None,
    typer.Option(
        "--validation",
        metavar="N|SHARE",
        help="Images to choose by, a number or a share such as 0.2.  [default: a tenth]",
    ),
]
SplitSeed = Annotated[
    int | None,
    typer.Option(
        "--split-seed",
        metavar="N",
        min=0,
        max=LARGEST_SEED,
        help="Seed that chooses the validation images.",
    ),
]
Threads = Annotated[
    int | None,
    typer.Option(
        "--threads", metavar="N", min=1, max=4096, help="CPU threads.  [default: as torch is set]"
    ),
]
AsJson = Annotated[
    bool, typer.Option("--json", help="Print one JSON document to stdout instead of a table.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")]
Arch = Annotated[
    str | None,
    typer.Option(
        "--arch",
        metavar="NAME|MODULE:FACTORY",
        help="Architecture of a file that holds only weights. Imports and runs MODULE.",
    ),
]
InputShape = Annotated[
    str | None,
    typer.Option("--input-shape", metavar="C,H,W", help="Shape of one image, such as 3,32,32."),
]
UnsafePickle = Annotated[
    bool,
    typer.Option(
        "--unsafe-pickle",
        help="Load a pickled module, which RUNS CODE from the file. Only for files you trust.",
    ),
]
TargetName = Annotated[
    str | None,
    typer.Option(
        "--target",
        metavar="T",
        help="What measures: cpu, cuda, cuda:N, or a file of profiles/.  [default: what the budget "
        "names, or cpu]",
    ),
]
RayAddress = Annotated[
    str | None,
    typer.Option(
        "--ray",
        metavar="local|ADDRESS",
        help="Train candidates side by side with Ray (pip install 'hwn2n[ray]'): on this machine, "
        "or on the cluster at HOST:PORT.",
    ),
]
RayCpus = Annotated[
    float | None,
    typer.Option(
        "--ray-cpus", metavar="N", help="CPUs of one training.  [default: its --threads; 1 on cuda]"
    ),
]
RayGpus = Annotated[
    float | None,
    typer.Option(
        "--ray-gpus", metavar="N", help="GPUs of one training, such as 0.25.  [default: 1 on cuda]"
    ),
]
RayMeasureResource = Annotated[
    str | None,
    typer.Option(
        "--ray-measure-resource",
        metavar="NAME",
        help="Custom resource of the nodes that measure, one at a time.  [default: the target's "
        "name, if a node has it; else this process measures]",
    ),
]


def ray_options(
    address: str | None,
    *,
    cpus: float | None,
    gpus: float | None,
    measure_resource: str | None,
) -> Any:
    """The `RayOptions` of a command line, None without --ray; InputError for what does not fit."""
    given = {"cpus": cpus, "gpus": gpus, "measure-resource": measure_resource}
    if address is None:
        for name, value in given.items():
            if value is not None:
                raise InputError(f"--ray-{name} must come with --ray local or --ray HOST:PORT")
        return None
    from hwn2n.search.executors import RayOptions

    return RayOptions(address=address, cpus=cpus, gpus=gpus, measure_resource=measure_resource)


def image_shape(text: str | None) -> tuple[int, int, int] | None:
    """(C, H, W) of a text such as "3,32,32"; InputError for any other."""
    if text is None:
        return None
    try:
        channels, height, width = (int(part) for part in text.split(","))
    except ValueError:
        channels = height = width = 0
    if min(channels, height, width) < 1:
        raise InputError(
            f"--input-shape must be C,H,W, three positive numbers such as 3,32,32; found {text!r}"
        )
    return channels, height, width


def output_file(path: Path | None) -> None:
    """Raises InputError for a file that cannot be written, before anything is measured for it."""
    if path is None:
        return
    if not path.parent.is_dir():
        raise InputError(f"{path}: must lie in a folder that exists, and {path.parent} does not")
    with writing(path):
        folder = destination(path).parent
        if not os.access(folder, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


def validation_size(text: str | None) -> int | float | None:
    """A number of images ("500") or a share ("0.2"); InputError for any other text."""
    if text is None:
        return None
    try:
        return int(text)
    except ValueError:
        pass
    try:
        share = float(text)
    except ValueError:
        share = math.nan
    if not math.isfinite(share):
        raise InputError(
            f"--validation must be a number of images or a share such as 0.2; found {text!r}"
        )
    return share


def assignments(texts: Iterable[str]) -> dict[str, Any]:
    """The settings in texts "name=value", values read as YAML; a later one wins over an earlier.

    Raises InputError for a text of another form.
    """
    from hwn2n.budget.strict_yaml import parse_yaml

    found: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        name, value = name.strip(), value.strip()
        if not (name and equals and value):
            raise InputError(f"--set must be name=value, such as train.epochs=2; found {text!r}")
        try:
            found[name] = parse_yaml(value, name="--set").data
        except InputError as error:
            reason = str(error).removeprefix("--set:1: ")
            raise InputError(
                f"--set {name} must have a YAML value; found {value!r}: {reason}"
            ) from error
    return found


def use_threads(threads: int | None) -> None:
    """Let torch use so many CPU threads in this process; None leaves it as it is. Raises InputError
    for more than this machine can start."""
    if threads is not None:
        import torch

        from hwn2n.hardware.matching import most_threads

        if threads > most_threads():
            raise InputError(
                f"--threads must be {most_threads()} at most on this machine; found {threads}"
            )
        torch.set_num_threads(threads)
