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
        typer.Option("--batch", metavar="N", min=1, help="Images of one inference.  [default: 1]"),
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
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="FILE", help="Write the profile there, as JSON."),
    ] = None,
    json: options.AsJson = False,
) -> int:
    """Measure what a network costs on a target.

    Counts are exact; latencies come with their 95 % interval and the machine's fingerprint; what
    cannot be measured here is listed with the reason.

    \b
    Example:
      hwn2n profile teacher.pt
      hwn2n profile student.pt2 --target cpu --threads 1 --columns params,latency_p99 --json
    """
    context.obj.json = json
    shape = options.image_shape(input_shape)

    from hwn2n.cli.tables import profile_lines, profile_table
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
    )
    if out is not None:
        found.save(out)
    if json:
        print_json(found.to_json())
    else:
        show(lambda plain: profile_table(found, plain=plain), profile_lines(found, out))
    return 0
