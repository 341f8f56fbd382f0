"""`hwn2n check`."""

from __future__ import annotations

from typing import Annotated

import typer

from hwn2n.cli import options
from hwn2n.cli.console import print_json, show


def check(
    context: typer.Context,
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="A .pt2 of torch.export.save, a file of hwn2n teach, or weights with --arch.",
        ),
    ],
    budget: Annotated[str, typer.Option("--budget", metavar="FILE", help="Budget (YAML).")],
    teacher: Annotated[
        str | None,
        typer.Option(
            "--teacher", metavar="FILE", help="What percentages in the budget are relative to."
        ),
    ] = None,
    static_only: Annotated[
        bool,
        typer.Option(
            "--static-only", help="Judge only what can be counted, the same on every machine."
        ),
    ] = False,
    target: options.TargetName = None,
    input_shape: options.InputShape = None,
    arch: options.Arch = None,
    teacher_arch: Annotated[
        str | None,
        typer.Option(
            "--teacher-arch", metavar="NAME|MODULE:FACTORY", help="As --arch, for --teacher."
        ),
    ] = None,
    unsafe_pickle: options.UnsafePickle = False,
    threads: options.Threads = None,
    json: options.AsJson = False,
) -> int:
    """Judge a network by a budget, for continuous integration.

    Exit codes: 0 inside; 1 a limit is violated; 2 bad usage or input; 3 a row could not be
    measured; 4 the interval of a measured value holds the limit, so nobody can tell.

    \b
    Example:
      hwn2n check student.pt2 --budget budgets/mnist-20k.yaml --static-only
      hwn2n check student.pt2 --budget budgets/demo.yaml --teacher teacher.pt --json
    """
    context.obj.json = json
    shape = options.image_shape(input_shape)

    from hwn2n.cli.tables import check_lines, check_table
    from hwn2n.commands.check import check as run

    found = run(
        model,
        budget=budget,
        teacher=teacher,
        static_only=static_only,
        target=target,
        input_shape=shape,
        arch=arch,
        teacher_arch=teacher_arch,
        unsafe_pickle=unsafe_pickle,
        threads=threads,
    )
    if json:
        print_json(found.to_json())
    else:
        show(lambda plain: check_table(found, plain=plain), check_lines(found))
    return found.exit_code
