"""MNIST, VGG-13 within 20,000 parameters: the paper's table 4 (98.91 %, 553x), on 2 cores.

    python -m benchmarks.mnist --data-root FOLDER      (the folder that has MNIST/raw)

Teaches VGG-13 (9.4M parameters) if there is no teacher yet, then compresses it with the policies,
with uniform random actions at equal evaluations, and as one uniformly shrunk network, with the
same final training; several seeds; resumable. One thread, so that two seeds may run side by side
(`--seeds 0`, `--seeds 1` ...) and seconds mean one core; other work on the machine shows in them.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

import hwn2n
from benchmarks.contenders import STRATEGIES, USUAL
from benchmarks.runs import (
    RESULTS,
    Experiment,
    collect,
    publish,
    run_all,
    table,
)
from hwn2n.network.files import load_teacher
from hwn2n.run.progress import PlainLines

COMMAND = "python -m benchmarks.mnist --data-root FOLDER"
BUDGET = "budgets/mnist-20k.yaml"
PAPER = {"accuracy": 0.9891, "compression": 553, "source": "arXiv 1709.06030, table 4"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data-root", required=True, help="folder that has MNIST/raw")
    parser.add_argument("--arch", default="vgg13")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--strategies", nargs="*", default=list(USUAL))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--runs", type=Path, default=Path("runs/benchmarks/mnist"))
    parser.add_argument("--publish-seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--only-publish", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    options.runs.mkdir(parents=True, exist_ok=True)
    teacher = options.runs / f"{options.arch}.pt"
    if not teacher.exists():
        hwn2n.teach(
            options.arch,
            data="mnist",
            data_root=options.data_root,
            out=teacher,
            reporter=PlainLines(sys.stderr),
        )
    experiment = Experiment(
        name="mnist-20k",
        teacher=teacher,
        data="mnist",
        data_root=options.data_root,
        budget=BUDGET,
        overrides={"final.epochs": 8},
    )
    if not options.only_publish:
        run_all(experiment, options.strategies, options.seeds, options.runs)
    rows = collect(list(STRATEGIES), options.publish_seeds, options.runs)
    if not rows:
        print("no run is complete yet")
        return
    loaded = load_teacher(teacher)
    extra = {
        "teacher": {
            "arch": options.arch,
            "params": sum(p.numel() for p in loaded.model.parameters()),
            **loaded.metadata,
        },
        "paper": PAPER,
        "threads": options.threads,
    }
    publish(experiment, rows, extra, RESULTS / "mnist-20k.json", command=COMMAND)
    print(table(rows))


if __name__ == "__main__":
    main()
