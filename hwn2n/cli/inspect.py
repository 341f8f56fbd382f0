"""`hwn2n inspect`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hwn2n.cli import options
from hwn2n.cli.console import print_json, show


def inspect(
    context: typer.Context,
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL|RUN",
            help="A network's file, a built-in name, MODULE:FACTORY, or the folder of a run.",
        ),
    ],
    svg: Annotated[
        Path | None,
        typer.Option("--svg", metavar="FILE", help="Draw the graph there, as SVG."),
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option(
            "--budget", metavar="FILE", help="Ask whether the smallest student is inside (YAML)."
        ),
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            "--recipe",
            metavar="paper|fast",
            help="How far a search could shrink.  [default: fast, or the run's own]",
        ),
    ] = None,
    granularity: Annotated[
        str | None,
        typer.Option(
            "--granularity",
            metavar="G",
            help="What one removal takes out, as in --set granularity=G.  [default: the recipe's, "
            "block in fast, or the run's own]",
        ),
    ] = None,
    teacher: Annotated[
        str | None,
        typer.Option(
            "--teacher", metavar="FILE", help="Of a run, where it is not where the run found it."
        ),
    ] = None,
    arch: options.Arch = None,
    input_shape: options.InputShape = None,
    unsafe_pickle: options.UnsafePickle = False,
    json: options.AsJson = False,
) -> int:
    """Show what could be removed and shrunk of a network.

    Layer by layer, with the reasons why not; what share of it a search can reach, and how small
    it could get. Nothing is trained or measured. Of a run it shows what was removed and shrunk.
    Exit code 1: not even the smallest student is inside the budget.

    \b
    Example:
      hwn2n inspect teacher.pt --svg teacher.svg
      hwn2n inspect torchvision.models:resnet50 --input-shape 3,224,224
      hwn2n inspect runs/first --svg student.svg --budget budgets/demo.yaml
    """
    context.obj.json = json
    options.output_file(svg)
    shape = options.image_shape(input_shape)

    from hwn2n.cli.inspect_tables import inspect_lines, inspect_table
    from hwn2n.commands.inspect import inspect as run

    found = run(
        model,
        budget=budget,
        recipe=recipe,
        granularity=granularity,
        teacher=teacher,
        arch=arch,
        input_shape=shape,
        unsafe_pickle=unsafe_pickle,
    )
    if svg is not None:
        found.save_svg(svg)
    if json:
        print_json(found.to_json())
    else:
        show(lambda plain: inspect_table(found, plain=plain), inspect_lines(found, svg))
    return found.exit_code
