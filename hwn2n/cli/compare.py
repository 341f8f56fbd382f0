"""`hwn2n compare`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hwn2n.cli import options
from hwn2n.cli.console import print_json, show
from hwn2n.errors import InputError

if TYPE_CHECKING:
    from rich.table import Table

    from hwn2n.commands.compare import Compared

_FILE = "A file of hwn2n teach, a .pt2 of torch.export.save, or weights with --arch"
_WITH_RUNS = frozenset({"context", "given", "html", "json"})


def compare(
    context: typer.Context,
    given: Annotated[
        list[str],
        typer.Argument(metavar="A B | RUN RUN...", help=f"{_FILE}; or folders of runs."),
    ],
    target: options.TargetName = None,
    input_shape: options.InputShape = None,
    arch: options.Arch = None,
    arch_b: Annotated[
        str | None,
        typer.Option(
            "--arch-b", metavar="NAME|MODULE:FACTORY", help="As --arch, for B if it differs."
        ),
    ] = None,
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
    confidence: Annotated[
        float,
        typer.Option("--confidence", metavar="P", help="Of the interval, such as 0.95."),
    ] = 0.95,
    margin: Annotated[
        str, typer.Option("--margin", metavar="P%", help="Differences up to this count as none.")
    ] = "1%",
    max_slowdown: Annotated[
        str | None,
        typer.Option(
            "--max-slowdown", metavar="P%", help="Fail where B is slower than A by more than this."
        ),
    ] = None,
    seconds: Annotated[
        float,
        typer.Option("--seconds", metavar="S", help="How long it may take, about."),
    ] = 25.0,
    html: Annotated[
        Path | None,
        typer.Option("--html", metavar="FILE", help="Of runs: draw them, as a page."),
    ] = None,
    json: options.AsJson = False,
) -> int:
    """Time two networks in turns: is B faster or slower than A?

    The answer may be that nobody can tell here and now. Exit codes: 0 done; 2 bad usage or input;
    3 could not measure. With --max-slowdown: 0 certainly not slower by more; 1 certainly slower by
    more; 4 inconclusive.

    Of folders of runs it shows what they found, in one table and, with --html, one page; nothing
    is measured then.

    \b
    Example:
      hwn2n compare teacher.pt student.pt2 --threads 1
      hwn2n compare main.pt2 change.pt2 --input-shape 3,224,224 --max-slowdown 5%
      hwn2n compare runs/first runs/second --html runs.html
    """
    context.obj.json = json
    if _runs(given):
        return _compare_runs(context, given, html, json=json)
    if html is not None:
        raise InputError("--html is for folders of runs, but these are networks")
    if len(given) != 2:
        raise InputError(f"two networks must be given to time them in turns; found {len(given)}")
    a, b = given
    shape = options.image_shape(input_shape)
    indifferent = share("--margin", margin)
    most = None if max_slowdown is None else share("--max-slowdown", max_slowdown)

    from hwn2n.commands.compare import compare as run

    options.use_threads(threads)
    compared = run(
        a,
        b,
        target=target,
        input_shape=shape,
        arch=arch,
        arch_b=arch_b,
        unsafe_pickle=unsafe_pickle,
        batch=batch,
        threads=threads,
        confidence=confidence,
        margin=indifferent,
        max_slowdown=most,
        max_seconds=seconds,
    )
    if json:
        print_json(compared.to_json())
    else:
        show(lambda plain: table(compared, plain=plain), lines(compared))
    return compared.exit_code


def _runs(given: Sequence[str]) -> bool:
    """Whether they are folders of runs. Raises InputError for some of each."""
    folders = [Path(path).is_dir() for path in given]
    if any(folders) and not all(folders):
        odd = next(path for path, folder in zip(given, folders, strict=True) if not folder)
        raise InputError(f"{odd}: must be the folder of a run, as the others are, or none of them")
    return all(folders)


def _compare_runs(
    context: typer.Context, runs: Sequence[str], html: Path | None, *, json: bool
) -> int:
    alone(context, _WITH_RUNS, "folders of runs must stand without {}: nothing is measured of them")

    from hwn2n.cli.tables import ruled_table
    from hwn2n.commands.compare_runs import compare_runs
    from hwn2n.reporting.runs import common
    from hwn2n.reporting.runs import table as runs_table

    found = compare_runs(runs, html=html)
    if json:
        print_json(found.to_json())
        return 0
    headings, cells = runs_table(found.lines)
    shared = ", ".join(f"{name} {text}" for name, text in common(found.lines).items())
    below = ["", f"the same for all: {shared}"] if shared else []
    below += [] if found.html is None else [f"page: {found.html}"]
    show(lambda plain: ruled_table(headings, cells, plain=plain), below)
    return 0


def alone(context: typer.Context, allowed: frozenset[str], message: str) -> None:
    """Raise InputError with `message` for an option of the command line that is not `allowed`."""
    for parameter in context.command.params:
        name: Any = parameter.name
        source = context.get_parameter_source(name)
        if name not in allowed and source is not None and source.name == "COMMANDLINE":
            raise InputError(message.format(parameter.opts[0]))


def share(option: str, text: str) -> float:
    """0.05 of "5%". Raises InputError for any other text."""
    if not re.fullmatch(r"\d{1,3}(\.\d{1,6})?%", text, re.ASCII):
        raise InputError(f"{option} must be a percentage such as 5%; found {text!r}")
    return float(text[:-1]) / 100


def table(compared: Compared, *, plain: bool) -> Table:
    """Both networks with their medians."""
    from hwn2n.budget.units import format_quantity
    from hwn2n.cli.tables import ruled_table

    found = compared.found
    interval = f"[{found.low:.4f}, {found.high:.4f}]"
    rows = [
        ("A", compared.a, format_quantity(found.median_a_s, "latency_p50"), "1", ""),
        (
            "B",
            compared.b,
            format_quantity(found.median_b_s, "latency_p50"),
            f"{found.ratio:.4f}",
            interval,
        ),
    ]
    headings = ("", "network", "median latency", "ratio", f"{100 * found.confidence:.4g} %")
    return ruled_table(headings, rows, plain=plain)


def lines(compared: Compared) -> list[str]:
    """The verdict, how it was found, and where."""
    found = compared.found
    images = "x".join(str(size) for size in (compared.batch, *compared.input_shape))
    how = (
        f"{found.rounds} rounds in {len(found.placements)} placements, {found.seconds:.1f} s, on "
        f"images of {images}, target {compared.target}, {compared.quiet.threads} threads"
    )
    if compared.quiet.pinned is not None:
        how += f" on CPUs {','.join(map(str, compared.quiet.pinned))}"
    machine = compared.machine
    parts = [str(machine[key]) for key in ("cpu", "os") if machine.get(key)]
    parts += [f"GPU {name}" for name in machine.get("gpu") or ()]
    load = compared.conditions.get("before", {}).get("load")
    parts += [f"load {load[0]:g} before"] if load else []
    governors = compared.conditions.get("before", {}).get("cpu", {}).get("governors")
    parts += [f"governor {'/'.join(governors)}"] if governors else []
    told = [found.sentence] + ([found.limit_sentence] if found.limit_sentence else [])
    thrown = []
    if found.discarded:
        reasons = ", ".join(found.throttle_reasons)
        thrown = [f"{found.discarded} rounds were thrown away because of {reasons}"]
    return ["", *told, how, *thrown, *compared.notes, f"machine: {', '.join(parts)}"]
