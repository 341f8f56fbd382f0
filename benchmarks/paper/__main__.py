"""The command line: lists rows, runs them, goes on with them, and prints their tables."""

from __future__ import annotations

import argparse
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarks.paper.lab import RUNS, Lab
from benchmarks.paper.listing import listing
from benchmarks.paper.registry import ROWS, chosen
from benchmarks.paper.results import COMMAND, entries_of, is_finished, keep, page, path_of, shown
from benchmarks.paper.rows import Row
from benchmarks.paper.sizes import FULL, NARROW, SMALL, TINY
from benchmarks.runs import RESULTS
from hwn2n.errors import Hwn2nError, InterruptedRunError
from hwn2n.run.progress import PlainLines
from hwn2n.run.stop import Stop

MORE = 75
"""Exit code where the time was up and there is more to do (sysexits' EX_TEMPFAIL)."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code: 0 all rows are finished, 75 time was up, others as of `hwn2n`."""
    options = _parser().parse_args(arguments)
    if options.threads:
        torch.set_num_threads(options.threads)
    size = options.size
    results = options.results or (options.runs / "tiny-results" if size is TINY else RESULTS)
    stop = Stop()
    lab = Lab(
        data_root=options.data_root,
        runs=options.runs,
        device=options.device,
        size=size,
        cifar_images=options.cifar_images,
        reporter=PlainLines(sys.stderr, every=30),
        stop=stop,
    )
    try:
        rows = chosen(options.rows) if options.rows else list(ROWS.values())
        if options.page:
            print(page(rows, results))
            return 0
        if options.list or not options.rows:
            print(listing(rows, lab, results))
            return 0
        clock = threading.Timer(60 * options.minutes, stop.request) if options.minutes else None
        if clock is not None:
            clock.daemon = True
            clock.start()
        recipes = ["fast", "paper"] if options.recipe == "both" else [options.recipe]
        with stop.on_ctrl_c():
            return run(rows, lab, recipes, options.seeds, results)
    except Hwn2nError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code


def run(
    rows: Sequence[Row],
    lab: Lab,
    recipes: Sequence[str],
    seeds: Sequence[int] | None,
    results: Path,
) -> int:
    """Run what is not finished, row by row; a row that cannot be run does not stop the next one."""
    code = 0
    for row in rows:
        wanted = tuple(seeds) if seeds else row.seeds
        entries = entries_of(row, results, earlier=False)
        try:
            for recipe in recipes:
                if not is_finished(entries.get(recipe), lab.size.name, wanted):
                    entries = keep(row, row.entry(lab, recipe, wanted), results)
                    print(f"wrote {path_of(row, results)}", file=sys.stderr)
        except InterruptedRunError:
            print(f"{row.name}: stopped; the same command goes on with it", file=sys.stderr)
            return MORE
        except Hwn2nError as error:
            print(f"{row.name}: not run ({error})", file=sys.stderr)
            code = error.exit_code
        if entries:
            print(shown(row, entries), flush=True)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=COMMAND,
        description="The experiments of the paper: what is finished, and running what is not.",
    )
    add = parser.add_argument
    add("rows", nargs="*", metavar="ROW", help="rows or patterns (table1-*); none lists them all")
    add("--list", action="store_true", help="show rows and their states; run nothing")
    add("--page", action="store_true", help="show the finished rows' tables, as docs/paper.md does")
    add("--recipe", choices=["fast", "paper", "both"], default="fast")
    add("--seeds", type=int, nargs="+", help="instead of the row's own")
    sizes = parser.add_mutually_exclusive_group()
    parser.set_defaults(size=FULL)
    for name, size, said in (
        ("--reduced", SMALL, f"less of it: {SMALL.describe()}"),
        ("--narrow", NARROW, f"less still of VGGs and ResNets: {NARROW.describe()}"),
        ("--tiny", TINY, "only to see that it works; published nowhere"),
    ):
        sizes.add_argument(name, dest="size", action="store_const", const=size, help=said)
    add("--data-root", type=Path, default=Path("data"), help="the folder of all data sets")
    add("--cifar-images", type=Path, help="a folder or .zip of CIFAR-10's images (JPEG)")
    add("--device", default="cpu", help="what trains and what is measured: cpu, cuda")
    add("--minutes", type=float, help="stop so that the next call goes on (exit code 75)")
    add("--threads", type=int, help="of torch on the CPU")
    add("--runs", type=Path, default=RUNS, help="where teachers and runs lie")
    add("--results", type=Path, help="where finished rows lie; benchmarks/results by default")
    return parser


if __name__ == "__main__":
    sys.exit(main())
