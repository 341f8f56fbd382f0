"""How the cost of a search grows: candidates, workers, model size, and what the driver does.

    python -m benchmarks.scale

Four tables:

- searches: one batch of random candidates after another, in one process and on Ray workers of one
  machine, one thread each. The first batch starts the workers and is left out. The overhead of a
  candidate is all of its wall-clock but building and training it, where one worker does all.
- driver: seconds of the parts of a candidate that only the driver does, by teacher.
- ledger: seconds of a row and of what is asked of the ledger beside it, by the rows that are there.
- barrier: the share of time in which workers train, when each update waits for its last candidate,
  by drawing from the measured times of training.

Candidates train on a few images of 8x8 for one epoch, so that the overhead shows.
"""

from __future__ import annotations

import argparse
import heapq
import itertools
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from benchmarks.runs import RESULTS
from benchmarks.scale_driver import driver_parts, ledger_parts
from hwn2n.budget.load import load_budget
from hwn2n.distil.datasets import load_data
from hwn2n.hardware.fingerprint import fingerprint
from hwn2n.hardware.local_target import LocalTarget
from hwn2n.network.files import Teacher
from hwn2n.network.teachers import build_teacher
from hwn2n.run.candidate import Candidate, State
from hwn2n.run.clock import Clock
from hwn2n.run.folder import RunFolder, write_json
from hwn2n.run.progress import Reporter, StageProgress
from hwn2n.run.provenance import versions
from hwn2n.run.stop import Stop
from hwn2n.search.assemble import Workbench, assemble
from hwn2n.search.executors import Here, RayOptions, Site
from hwn2n.search.executors.ray_cluster import RayCluster
from hwn2n.search.executors.ray_worker import SET_UP
from hwn2n.search.loop import Rounds, run_search
from hwn2n.search.settings import build_settings

TEACHERS = ("digits-cnn", "resnet20", "resnet18")
CANDIDATES = {"digits-cnn": (4, 8, 16), "resnet20": (8,), "resnet18": (8,)}
"""Candidates of a batch."""

BATCHES = 4
LIMIT = "30%"


class Stamps(Reporter):
    """Notes when each candidate was done."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def message(self, text: str) -> None:
        """Nothing."""

    def stage(self, progress: StageProgress) -> None:
        """Look at the clock."""
        self.times.append(time.perf_counter())

    def epoch(self, name: str, epoch: int, epochs: int, text: str) -> None:
        """Nothing."""


def main() -> None:
    """Measure, print and write all tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--teachers", nargs="*", default=list(TEACHERS), choices=TEACHERS)
    parser.add_argument("--workers", type=int, nargs="*", default=[1, 2])
    options = parser.parse_args()
    torch.set_num_threads(1)
    found: dict[str, list[dict[str, Any]]] = {"searches": [], "driver": [], "barrier": []}
    for name in options.teachers:
        for candidates in CANDIDATES[name]:
            for workers in (0, *options.workers):
                row, rows = search(name, candidates, workers)
                found["searches"].append(row)
                print(row, file=sys.stderr, flush=True)
        trained = [c.seconds["build"] + c.seconds["train"] for c in rows if _trained(c)]
        found["barrier"] += [barrier(name, trained, *size) for size in BARRIERS]
        with tempfile.TemporaryDirectory() as scratch, _bench(name, 8, Here(), scratch) as bench:
            found["driver"].append({"teacher": name, **driver_parts(bench)})
        print(found["driver"][-1], file=sys.stderr, flush=True)
    found["ledger"] = ledger_parts()
    shown = "\n\n".join(table(rows) for rows in found.values())
    write_json(
        RESULTS / "scale.json",
        {
            "command": "python -m benchmarks.scale",
            "machine": fingerprint(),
            "cores": os.cpu_count(),
            "versions": versions() | {"ray": _ray_version()},
            "date": time.strftime("%Y-%m-%d"),
            **found,
            "table": shown,
        },
    )
    print(shown)


def _ray_version() -> str:
    import ray

    return str(ray.__version__)


def _trained(candidate: Candidate) -> bool:
    return candidate.state is State.TRAINED


@contextmanager
def _site(workers: int) -> Iterator[Site]:
    """This process for 0 workers; else as many on this machine, by the share of each."""
    if not workers:
        yield Here()
        return
    cpus = (os.cpu_count() or 1) / workers
    cluster = RayCluster(RayOptions(cpus=cpus), lambda text: print(text, file=sys.stderr))
    try:
        yield cluster
    finally:
        cluster.close()


@contextmanager
def _bench(name: str, candidates: int, site: Site, folder: str) -> Iterator[Workbench]:
    data = load_data("digits", validation=0.3)
    model = build_teacher(name, data.in_channels, data.num_classes, data.image_size, seed=0).eval()
    row = {"metric": "params", "max": LIMIT}
    bench = assemble(
        teacher=Teacher(model=model, source=name),
        data=data,
        budget=load_budget({"apiVersion": "hwn2n/v1", "name": "scale", "constraints": [row]}),
        target=LocalTarget("cpu"),
        settings=build_settings(
            "fast",
            {
                "strategy": "random",
                "anchor": False,
                "removal.updates": 0,
                "shrinkage.updates": BATCHES,
                "shrinkage.rollouts": candidates,
                "train.epochs": 1,
                "train.max_images": 512,
                "train.precision": "fp32",
                "recalibrate_images": 128,
                "validation_images": 200,
            },
        ),
        folder=RunFolder.create(Path(folder) / "run"),
        site=site,
    )
    try:
        yield bench
    finally:
        bench.ledger.close()


def search(name: str, candidates: int, workers: int) -> tuple[dict[str, Any], list[Candidate]]:
    """A search of a few batches, timed from the end of the first; its row and its candidates."""
    stamps = Stamps()
    with (
        tempfile.TemporaryDirectory() as scratch,
        _site(workers) as site,
        _bench(name, candidates, site, scratch) as bench,
    ):
        began = time.perf_counter()
        run_search(
            Rounds(
                planner=bench.planner,
                evaluator=bench.evaluator,
                ledger=bench.ledger,
                folder=RunFolder(Path(scratch) / "run"),
                settings=bench.settings,
                reporter=stamps,
                stop=Stop(),
                clock=Clock(bench.ledger),
            )
        )
        rows = bench.ledger.candidates()
        params = bench.teacher_cost["params"].value
    warm = rows[candidates:]
    wall = stamps.times[-1] - stamps.times[candidates - 1]
    work = sum(c.seconds.get(p, 0.0) for c in warm for p in ("build", "train", SET_UP))
    alone = workers in (0, 1)
    return {
        "teacher": name,
        "teacher_params": int(params),
        "batch": candidates,
        "workers": f"{workers} on Ray" if workers else "this process",
        "first_batch_s": round(stamps.times[candidates - 1] - began, 2),
        "trained": sum(map(_trained, warm)),
        "s_per_candidate": round(wall / len(warm), 4),
        "training_s_per_candidate": round(work / len(warm), 4),
        "overhead_ms_per_candidate": round(1000 * (wall - work) / len(warm), 1) if alone else None,
        "set_up_s": round(max(c.seconds.get(SET_UP, 0.0) for c in rows), 2) if workers else None,
    }, warm


BARRIERS = [(5, 5), (16, 16), (64, 64), (1000, 1000), (4000, 1000), (16000, 1000)]
"""(candidates of an update, workers)."""


def barrier(name: str, trained: list[float], candidates: int, workers: int) -> dict[str, Any]:
    """The share of the workers' time that is training, where the next free one takes the next."""
    generator = random.Random(0)
    shares = []
    for _ in range(20):
        free = [0.0] * workers
        drawn = generator.choices(trained, k=candidates)
        for seconds in drawn:
            heapq.heapreplace(free, free[0] + seconds)
        shares.append(sum(drawn) / (workers * max(free)))
    return {
        "teacher": name,
        "candidates_of_an_update": candidates,
        "workers": workers,
        "busy_share": round(statistics.mean(shares), 3),
        "slowest_by_mean": round(max(trained) / statistics.mean(trained), 2),
    }


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown; columns in the order of the first row."""
    names = list(dict.fromkeys(itertools.chain(*rows)))
    lines = ["| " + " | ".join(name.replace("_", " ") for name in names) + " |"]
    lines.append("|" + "---|" * len(names))
    for row in rows:
        cells = [row.get(name) for name in names]
        lines.append("| " + " | ".join("" if c is None else _cell(c) for c in cells) + " |")
    return "\n".join(lines)


def _cell(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)


if __name__ == "__main__":
    main()
