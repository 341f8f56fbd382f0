"""How the cost of a search grows: candidates, workers, model size, and what the driver does.

    python -m benchmarks.scale             all of it, then benchmarks/results and docs/scale.md
    python -m benchmarks.scale --small     a minute of it, printed only

Five tables:

- searches: one batch of random candidates after another, in one process and on Ray workers of one
  machine, one thread each. The first batch starts the workers and is left out. The overhead of a
  candidate is all of its wall-clock but building and training it, where one worker does all.
- driver: milliseconds of the parts of a candidate that only the driver does, by teacher.
- ledger: milliseconds of a row and of what is asked of the ledger beside it, by rows there.
- barrier: the share of time in which workers train, when each update waits for its last candidate,
  by drawing from the measured times of training.
- plan: what all of that would be on up to 1,000 GPUs, by arithmetic (scale_plan.py).

Candidates train on a few images of 8x8 for one epoch, so that the overhead shows. Each part is kept
as soon as it is measured, and a later call goes on from there.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.runs import RESULTS, ROOT
from benchmarks.scale_driver import ROWS, driver_parts, ledger_parts
from benchmarks.scale_plan import barrier, page, plan
from benchmarks.scale_search import SEED, bench, search
from hwn2n.hardware.fingerprint import fingerprint
from hwn2n.run.folder import read_json, write_json
from hwn2n.run.provenance import versions
from hwn2n.search.executors import Here
from hwn2n.search.executors.ray_start import import_ray

CANDIDATES = {"digits-cnn": (4, 8, 16), "resnet20": (8,), "resnet18": (8,)}
"""Candidates of a batch, by teacher."""

BATCHES = 4
DOCUMENT = ROOT / "docs" / "scale.md"
_FIGURES = re.compile(
    r"(?<=<!-- figures: python -m benchmarks\.scale -->\n).*(?=<!-- end -->)", re.S
)


class Parts:
    """What is measured already, in a file; made on this machine by these versions."""

    def __init__(self, path: Path, made: dict[str, Any]) -> None:
        self.path = path
        self.content: dict[str, Any] = {"made": made, "parts": {}}
        if path.exists():
            self.content = read_json(path)
            if self.content["made"] != made:
                sys.exit(f"{path} must be of this machine and these versions: remove it")

    def part(self, name: str, measure: Callable[[], Any]) -> Any:
        """A part as it was measured before, or now."""
        parts = self.content["parts"]
        if name not in parts:
            parts[name] = measure()
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_json(self.path, self.content)
            print(name, parts[name], file=sys.stderr, flush=True)
        return parts[name]


def main() -> None:
    """Measure what is missing, print and write all tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--teachers", nargs="*", default=list(CANDIDATES), choices=CANDIDATES)
    parser.add_argument("--workers", type=int, nargs="*", default=[1, os.cpu_count() or 2])
    parser.add_argument("--small", action="store_true", help="only to see that it runs")
    options = parser.parse_args()
    torch.set_num_threads(1)
    ray = str(import_ray().__version__)
    made = {
        "machine": fingerprint(),
        "cores": os.cpu_count(),
        "versions": versions() | {"ray": ray},
        "seeds": {"teacher": SEED, "search": SEED, "barrier": SEED},
    }
    kept = ROOT / "runs" / "benchmarks" / ("scale-small.json" if options.small else "scale.json")
    parts = Parts(kept, made)
    if options.small:
        found = measure(parts, {"digits-cnn": (2,)}, [1], batches=2, rows=(100, 1000))
    else:
        sizes = {name: CANDIDATES[name] for name in options.teachers}
        found = measure(parts, sizes, options.workers, batches=BATCHES, rows=ROWS)
    text = page(found)
    print(text)
    if options.small:
        return
    content = {"command": "python -m benchmarks.scale", **made, "date": time.strftime("%Y-%m-%d")}
    write_json(RESULTS / "scale.json", {**content, **found, "table": text})
    document = DOCUMENT.read_text()
    DOCUMENT.write_text(_FIGURES.sub(lambda _: f"\n{text}\n\n", document))


def measure(
    parts: Parts,
    sizes: dict[str, tuple[int, ...]],
    workers: list[int],
    *,
    batches: int,
    rows: tuple[int, ...],
) -> dict[str, list[dict[str, Any]]]:
    """All tables, each a list of rows; `sizes` are the batches by teacher."""
    found: dict[str, list[dict[str, Any]]] = {"searches": [], "driver": [], "barrier": []}
    for name, batch in sizes.items():
        for candidates in batch:
            for count in (0, *dict.fromkeys(workers)):
                row, trained = parts.part(
                    f"search {name} {candidates} {count}",
                    lambda n=name, c=candidates, w=count: search(n, c, w, batches),
                )
                found["searches"].append(row)
                if count == 0:
                    seconds = trained
        found["barrier"] += barrier(name, seconds, SEED)
        found["driver"].append(parts.part(f"driver {name}", lambda n=name: _driver(n)))
    found["ledger"] = parts.part("ledger", lambda: ledger_parts(rows))
    found["plan"] = plan(found)
    return found


def _driver(name: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as scratch, bench(name, 8, 1, Here(), scratch) as made:
        return {"teacher": name, **driver_parts(made)}


if __name__ == "__main__":
    main()
