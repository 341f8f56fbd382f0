"""`hwn2n profile`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hwn2n.cli import options
from hwn2n.cli.console import print_json, show


def profile(
    context: typer.Context,
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="A file of hwn2n teach, a .pt2 of torch.export.save, or weights with --arch.",
        ),
    ],
    target: options.TargetName = None,
    input_shape: options.InputShape = None,
    arch: options.Arch = None,
    unsafe_pickle: options.UnsafePickle = False,
    batch: Annotated[
        int | None,
        typer.Option(
            "--batch",
            metavar="N",
            min=1,
            max=1_000_000,
            help="Images of one inference.  [default: 1]",
        ),
    ] = None,
    threads: options.Threads = None,
    columns: Annotated[
        str | None,
        typer.Option(
            "--columns",
            metavar="A,B,...",
            help="Columns such as params,latency_p99, or all.  [default: the usual ones]",
        ),
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option(
            "--budget",
            metavar="FILE",
            help="Measure what this budget needs as well, on its target and as surely as it asks.",
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            "--data",
            metavar="NAME",
            help="Run on images of this data set, as of hwn2n teach.  [default: noise]",
        ),
    ] = None,
    data_root: options.DataRoot = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="FILE", help="Write the profile there, as JSON."),
    ] = None,
    save_baseline: Annotated[
        Path | None,
        typer.Option(
            "--save-baseline",
            metavar="FILE",
            help="The same as --out, for hwn2n check --baseline or --profile.",
        ),
    ] = None,
    json: options.AsJson = False,
) -> int:
    """Measure what a network costs on a target.

    Counts are exact; what is measured comes with its 95 % interval, the machine's fingerprint and
    what the machine was doing; what cannot be measured here is listed with the reason.

    \b
    Example:
      hwn2n profile teacher.pt
      hwn2n profile student.pt2 --target cpu --threads 1 --columns params,latency_p99 --json
      hwn2n profile teacher.pt --target datacenter-gpu --data cifar10 -o teacher-profile.json
      hwn2n profile student.pt2 --budget budgets/demo.yaml --save-baseline main.json
    """
    context.obj.json = json
    written = [path for path in (out, save_baseline) if path is not None]
    for path in written:
        options.output_file(path)
    shape = options.image_shape(input_shape)

    from hwn2n.cli.profile_tables import profile_lines, profile_table
    from hwn2n.commands.profile import profile as run

    names = None if columns is None else [name.strip() for name in columns.split(",")]
    found = run(
        model,
        target=target,
        input_shape=shape,
        columns=names,
        arch=arch,
        unsafe_pickle=unsafe_pickle,
        batch=batch,
        threads=threads,
        budget=budget,
        data=data,
        data_root=data_root,
    )
    for path in written:
        found.save(path)
    if json:
        print_json(found.to_json())
    else:
        show(lambda plain: profile_table(found, plain=plain), profile_lines(found, written))
    return 0
