"""CIFAR-10 on a GPU: ResNet-18 compressed without constraints and to 1M parameters.

    python -m benchmarks.cifar --data imagefolder:cifar10-jpeg.zip --device cuda

Teaches ResNet-18 (11.17M parameters, CIFAR stem) if there is no teacher yet, then runs both cases
with `recipe: fast`, beside uniform random actions at equal evaluations and one uniformly shrunk
network. Resumable: what is complete is not run again. The images of the usual test data here are
JPEG copies, so results say "CIFAR-10 (JPEG)" and are no match for the last tenth of a point.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

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

COMMAND = "python -m benchmarks.cifar --data imagefolder:cifar10-jpeg.zip"

CASES: dict[str, str | None] = {"1m": "budgets/cifar10-1m.yaml", "free": None}
"""Budgets by case; `free` has none: the reward alone trades accuracy for parameters."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", required=True, help="cifar10, or imagefolder:PATH of its images")
    parser.add_argument("--data-root", help="folder of torchvision's CIFAR-10, for --data cifar10")
    parser.add_argument("--arch", default="resnet18")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--cases", nargs="*", default=list(CASES), choices=list(CASES))
    parser.add_argument("--seeds", type=int, nargs="*", default=[0])
    parser.add_argument("--strategies", nargs="*", default=list(USUAL))
    parser.add_argument("--runs", type=Path, default=Path("runs/benchmarks/cifar"))
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--teach-epochs", type=int, default=None)
    parser.add_argument("--set", action="append", default=[], metavar="NAME=NUMBER")
    options = parser.parse_args()
    options.runs.mkdir(parents=True, exist_ok=True)
    teacher = options.runs / f"{options.arch}.pt"
    if not teacher.exists():
        hwn2n.teach(
            options.arch,
            data=options.data,
            data_root=options.data_root,
            out=teacher,
            device=options.device,
            epochs=options.teach_epochs,
            reporter=PlainLines(sys.stderr),
        )
    overrides = {name: float(value) for name, value in (o.split("=") for o in options.set)}
    for case in options.cases:
        experiment = Experiment(
            name=f"cifar10-{options.arch}-{case}",
            teacher=teacher,
            data=options.data,
            data_root=options.data_root,
            budget=CASES[case],
            overrides={k: int(v) if v == int(v) else v for k, v in overrides.items()},
            device=options.device,
        )
        # one uniformly shrunk network needs a budget to be shrunk to
        strategies = [s for s in options.strategies if case != "free" or s != "uniform width"]
        folder = options.runs / case
        run_all(experiment, strategies, options.seeds, folder)
        rows = collect(list(STRATEGIES), range(10), folder)
        loaded = load_teacher(teacher)
        params = sum(p.numel() for p in loaded.model.parameters())
        extra = {"teacher": {"arch": options.arch, "params": params, **loaded.metadata}}
        publish(
            experiment, rows, extra, options.results / f"{experiment.name}.json", command=COMMAND
        )
        print(f"{experiment.name}\n{table(rows)}", flush=True)


if __name__ == "__main__":
    main()
