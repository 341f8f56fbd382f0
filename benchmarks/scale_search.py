"""Searches of a few batches of random candidates, timed: in one process or on Ray workers."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from hwn2n.budget.load import load_budget
from hwn2n.distil.datasets import load_data
from hwn2n.hardware.local_target import LocalTarget
from hwn2n.network.files import Teacher
from hwn2n.network.teachers import build_teacher
from hwn2n.run.candidate import State
from hwn2n.run.clock import Clock
from hwn2n.run.folder import RunFolder
from hwn2n.run.progress import Silent, StageProgress
from hwn2n.run.stop import Stop
from hwn2n.search.assemble import Workbench, assemble
from hwn2n.search.executors import Here, RayOptions, Site
from hwn2n.search.executors.ray_site import RaySite
from hwn2n.search.loop import Rounds, run_search
from hwn2n.search.recipes import build_settings
from hwn2n.search.workshop import SET_UP

SEED = 0
LIMIT = "30%"
"""Of the teacher's parameters: the row of the budget, which all candidates are scaled to."""


class Stamps(Silent):
    """Notes when each candidate was done."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def stage(self, progress: StageProgress) -> None:
        """Look at the clock."""
        self.times.append(time.perf_counter())


@contextmanager
def site(workers: int) -> Iterator[Site]:
    """This process for 0 workers; else as many on this machine, by the share of each."""
    if not workers:
        yield Here()
        return
    cpus = (os.cpu_count() or 1) / workers
    with closing(RaySite(RayOptions(cpus=cpus), lambda text: print(text, file=sys.stderr))) as ray:
        yield ray


@contextmanager
def bench(
    name: str, candidates: int, batches: int, where: Site, folder: str
) -> Iterator[Workbench]:
    """A search of `batches` updates of so many random candidates, which learns nothing."""
    data = load_data("digits", validation=0.3)
    model = build_teacher(
        name, data.in_channels, data.num_classes, data.image_size, seed=SEED
    ).eval()
    row = {"metric": "params", "max": LIMIT}
    made = assemble(
        teacher=Teacher(model=model, source=name),
        data=data,
        budget=load_budget({"apiVersion": "hwn2n/v1", "name": "scale", "constraints": [row]}),
        target=LocalTarget("cpu"),
        settings=build_settings(
            "fast",
            {
                "seed": SEED,
                "strategy": "random",
                "anchor": False,
                "removal.updates": 0,
                "shrinkage.updates": batches,
                "shrinkage.rollouts": candidates,
                "train.epochs": 1,
                "train.max_images": 512,
                "train.precision": "fp32",
                "recalibrate_images": 128,
                "validation_images": 200,
            },
        ),
        folder=RunFolder.create(Path(folder) / "run"),
        site=where,
    )
    try:
        yield made
    finally:
        made.evaluator.executor.close()
        made.ledger.close()


def search(
    name: str, candidates: int, workers: int, batches: int
) -> tuple[dict[str, Any], list[float]]:
    """A search timed from the end of its first batch: its row, and seconds of each training."""
    stamps = Stamps()
    with (
        tempfile.TemporaryDirectory() as scratch,
        site(workers) as where,
        bench(name, candidates, batches, where, scratch) as made,
    ):
        began = time.perf_counter()
        run_search(
            Rounds(
                planner=made.planner,
                evaluator=made.evaluator,
                ledger=made.ledger,
                folder=RunFolder(Path(scratch) / "run"),
                settings=made.settings,
                reporter=stamps,
                stop=Stop(),
                clock=Clock(made.ledger),
            )
        )
        rows = made.ledger.candidates()
        params = made.teacher_cost["params"].value
    warm = rows[candidates:]
    trained = [c.seconds["build"] + c.seconds["train"] for c in warm if c.state is State.TRAINED]
    wall = stamps.times[-1] - stamps.times[candidates - 1]
    work = sum(c.seconds.get(p, 0.0) for c in warm for p in ("build", "train", SET_UP))
    alone = workers in (0, 1)
    row = {
        "teacher": name,
        "teacher_params": int(params),
        "batch": candidates,
        "workers": f"{workers} on Ray" if workers else "this process",
        "first_batch_s": round(stamps.times[candidates - 1] - began, 2),
        "trained": len(trained),
        "s_per_candidate": round(wall / len(warm), 4),
        "training_s_per_candidate": round(work / len(warm), 4),
        "overhead_ms_per_candidate": round(1000 * (wall - work) / len(warm), 1) if alone else None,
        "setup_s": round(max(c.seconds.get(SET_UP, 0.0) for c in rows), 2) if workers else None,
    }
    return row, trained
