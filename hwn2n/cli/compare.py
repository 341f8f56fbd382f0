"""`hwn2n compare`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated

import typer

from hwn2n.cli import options
from hwn2n.cli.console import print_json, show
from hwn2n.errors import InputError

if TYPE_CHECKING:
    from rich.table import Table

    from hwn2n.commands.compare import Compared

_FILE = "A file of hwn2n teach, a .pt2 of torch.export.save, or weights with --arch"


def compare(
    context: typer.Context,
    a: Annotated[str, typer.Argument(metavar="A", help=f"{_FILE}.")],
    b: Annotated[str, typer.Argument(metavar="B", help=f"{_FILE}; compared with A.")],
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
        typer.Option("--batch", metavar="N", min=1, help="Images of one inference.  [default: 1]"),
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
    json: options.AsJson = False,
) -> int:
    """Time two networks in turns: is B faster or slower than A?

    The answer may be that nobody can tell here and now. Exit codes: 0 done; 2 bad usage or input;
    3 could not measure. With --max-slowdown: 0 certainly not slower by more; 1 certainly slower by
    more; 4 inconclusive.

    \b
    Example:
      hwn2n compare teacher.pt student.pt2 --threads 1
      hwn2n compare main.pt2 change.pt2 --input-shape 3,224,224 --max-slowdown 5%
    """
    context.obj.json = json
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
