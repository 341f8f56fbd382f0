"""`hwn2n budget`: validate, explain, schema."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from hwn2n.cli import options
from hwn2n.cli.console import print_json, show
from hwn2n.errors import InputError, one_line

budget = typer.Typer(rich_markup_mode=None, add_completion=False)


@budget.callback(invoke_without_command=True)
def group(context: typer.Context) -> None:
    """Check, explain and describe budget and target files.

    \b
    Example:
      hwn2n budget validate budgets/*.yaml profiles/*.yaml
      hwn2n budget explain budgets/demo.yaml
      hwn2n budget schema
    """
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@budget.command()
def validate(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help="Budget or target files (YAML).")
    ],
) -> int:
    """Say of each file whether it is a valid budget or target.

    One line for each: what a valid one holds on stdout, what is wrong and where on stderr. Needs
    no network and imports no torch. Exit codes: 0 all are valid; 2 one is not.

    \b
    Example:
      hwn2n budget validate budgets/demo.yaml profiles/cpu-1-thread.yaml
    """
    from hwn2n.cli.budget_text import valid_line
    from hwn2n.commands.budget import validate as run

    bad = False
    for file in files:
        try:
            found = run(file)
        except InputError as error:
            bad = True
            print(f"error: {one_line(error, limit=4000)}", file=sys.stderr, flush=True)
        else:
            show(None, [one_line(valid_line(file, found), limit=4000)])
    return 2 if bad else 0


@budget.command()
def explain(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Budget (YAML).")],
    teacher_cost: Annotated[
        Path | None,
        typer.Option(
            "--teacher-cost",
            metavar="PROFILE",
            help="What percentages are of: a file of hwn2n profile -o.",
        ),
    ] = None,
    json: options.AsJson = False,
) -> int:
    """Show a budget as A x <= b, and what it takes to know x.

    Limits relative to the teacher are numbers where --teacher-cost holds the teacher's value.

    \b
    Example:
      hwn2n budget explain budgets/jetson-orin-nano.yaml
      hwn2n budget explain budgets/demo.yaml --teacher-cost teacher.json --json
    """
    context.obj.json = json

    from hwn2n.cli.budget_text import explanation_lines
    from hwn2n.commands.budget import explain as run

    found = run(file, teacher_cost=teacher_cost)
    if json:
        print_json(found.to_json())
    else:
        show(None, explanation_lines(found))
    return 0


@budget.command()
def schema(
    target: Annotated[
        bool, typer.Option("--target", help="That of the files in profiles/ instead.")
    ] = False,
) -> int:
    """Print the JSON Schema of budget files, for editors.

    \b
    Example:
      hwn2n budget schema > budgets/budget.schema.json
      hwn2n budget schema --target > profiles/target.schema.json
    """
    from hwn2n.cli.budget_text import schema_text
    from hwn2n.commands.budget import schema as run

    sys.stdout.write(schema_text(run(target=target)))
    return 0
