"""`hwn2n teach`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hwn2n.cli import options
from hwn2n.cli.console import AnnouncedStop, print_json, progress, show
from hwn2n.errors import InterruptedRunError


def teach(
    context: typer.Context,
    arch: Annotated[
        str,
        typer.Argument(
            metavar="ARCH",
            help="conv4, digits-cnn, vgg11/13/16/19, resnet18/34 (paper) or resnet20/32/56; "
            "resnet18-w16 begins with 16 channels instead of 64.",
        ),
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="FILE", help="Where to write the teacher.")
    ],
    data: options.DataName,
    data_root: options.DataRoot = None,
    download: options.Download = False,
    recipe: Annotated[
        str | None,
        typer.Option(
            "--recipe",
            metavar="NAME",
            help="paper-mnist, paper-cifar, paper-resnet or fast.  [default: fast, by data set]",
        ),
    ] = None,
    epochs: Annotated[
        int | None, typer.Option("--epochs", metavar="N", help="Instead of the recipe's.")
    ] = None,
    image_size: options.ImageSize = None,
    validation: options.Validation = None,
    device: Annotated[
        str, typer.Option("--device", metavar="D", help="cpu, cuda or cuda:N.")
    ] = "cpu",
    seed: Annotated[
        int,
        typer.Option(
            "--seed",
            metavar="N",
            min=0,
            max=options.LARGEST_SEED,
            help="Seed of weights and image order.",
        ),
    ] = 0,
    split_seed: options.SplitSeed = None,
    threads: options.Threads = None,
    json: options.AsJson = False,
    quiet: options.Quiet = False,
) -> int:
    """Train a teacher, for those who bring none.

    Ctrl-C finishes the epoch in hand and exits with 130; the same command goes on.

    \b
    Example:
      hwn2n teach digits-cnn --data digits -o runs/digits.pt
      hwn2n teach vgg13 --data mnist --data-root data --recipe fast --epochs 3 -o vgg13.pt
    """
    context.obj.json = json
    size = options.validation_size(validation)

    from hwn2n.cli.tables import taught_lines
    from hwn2n.commands.teach import teach as run

    options.use_threads(threads)
    reporter, stop = progress(quiet=quiet), AnnouncedStop()
    try:
        with stop.on_ctrl_c():
            taught = run(
                arch,
                data=data,
                out=out,
                data_root=data_root,
                download=download,
                recipe=recipe,
                epochs=epochs,
                image_size=image_size,
                validation=size,
                device=device,
                seed=seed,
                split_seed=split_seed or 0,
                reporter=reporter,
                checkpoint=out.parent / f"{out.name}.training",
                stop=stop,
            )
    except InterruptedRunError as error:
        raise InterruptedRunError("interrupted; go on with the same command") from error
    finally:
        reporter.close()
    if json:
        print_json(taught.to_json())
    else:
        show(None, taught_lines(taught, data_root))
    return 0
