"""Rivals at one budget, several seeds, resumable; a result of each in its own folder.

    python -m benchmarks.rivals.run --teacher T.pt --data cifar10 --data-root FOLDER \\
        --budget budgets/cifar10-1m.yaml --rival "torch-pruning isomorphic" --seeds 0 1 2 \\
        --set final.epochs=8 --runs runs/benchmarks/rivals

Each run is a folder RUNS/NAME-SEED with `result.json` (the keys of `benchmarks.runs`, so that both
stand in one table) and the student as `hwn2n compress` writes it. One thread unless told
otherwise, so that seconds mean one core.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import yaml

from benchmarks.rivals import fastnas, scratch, torch_pruning
from benchmarks.rivals.base import Rival
from benchmarks.rivals.finish import Contest
from benchmarks.rivals.problem import Problem, load_problem
from benchmarks.runs import slug, table
from hwn2n.distil.datasets import Data
from hwn2n.errors import Hwn2nError, InputError
from hwn2n.hardware.target import Target
from hwn2n.network.files import Teacher
from hwn2n.run.folder import read_json
from hwn2n.run.progress import PlainLines, Reporter, Silent
from hwn2n.run.stop import Stop

RIVALS: dict[str, Rival] = {**torch_pruning.VARIANTS, **fastnas.VARIANTS, **scratch.VARIANTS}


def run_rivals(
    *,
    teacher: str | Path | Teacher,
    data: str | Data,
    budget: str | Path | Mapping[str, Any],
    rivals: Sequence[str],
    seeds: Sequence[int],
    runs: Path,
    recipe: str = "fast",
    overrides: Mapping[str, Any] | None = None,
    data_root: str | Path | None = None,
    target: Target | None = None,
    reporter: Reporter | None = None,
    stop: Stop | None = None,
) -> list[dict[str, Any]]:
    """Run what is not done yet, seed by seed; one row for each rival and seed.

    `recipe` and `overrides` are those of `hwn2n compress`; seed and weights are settled here. A
    rival that found no network inside the budget has a row without accuracies, `inside` False and
    a `reason`. Raises `InputError` and `MeasurementError` for what does not fit together.
    """
    for name in rivals:
        if name not in RIVALS:
            raise InputError(f"a rival must be one of {', '.join(RIVALS)}, but got {name!r}")
    reporter = reporter or Silent()
    rows = []
    for seed in seeds:
        problems: dict[str, Problem] = {}
        for name in rivals:
            rival = RIVALS[name]
            problem = problems[rival.weights] = problems.get(rival.weights) or load_problem(
                teacher=teacher,
                data=data,
                budget=budget,
                recipe=recipe,
                overrides={**(overrides or {}), "seed": seed, "weights": rival.weights},
                data_root=data_root,
                target=target,
            )
            reporter.message(f"{name}, seed {seed}")
            contest = Contest(
                name=name,
                rival=rival,
                problem=problem,
                path=runs / f"{slug(name)}-{seed}",
                reporter=reporter,
                stop=stop or Stop(),
            )
            rows.append(contest.run())
    return rows


def collect(rivals: Sequence[str], seeds: Sequence[int], runs: Path) -> list[dict[str, Any]]:
    """Rows of the runs that are complete, those without a network included."""
    paths = [runs / f"{slug(name)}-{seed}" / "result.json" for name in rivals for seed in seeds]
    return [read_json(path) for path in paths if path.exists()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--teacher", type=Path, required=True)
    parser.add_argument("--data", required=True, help="as hwn2n compress takes it")
    parser.add_argument("--data-root", type=Path)
    parser.add_argument("--budget", type=Path, required=True)
    parser.add_argument("--rival", nargs="+", default=list(RIVALS), choices=list(RIVALS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--runs", type=Path, default=Path("runs/benchmarks/rivals"))
    parser.add_argument("--recipe", default="fast")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    stop = Stop()
    try:
        with stop.on_ctrl_c():
            rows = run_rivals(
                teacher=options.teacher,
                data=options.data,
                budget=options.budget,
                rivals=options.rival,
                seeds=options.seeds,
                runs=options.runs,
                recipe=options.recipe,
                overrides={**_overrides(options.set), "device": options.device},
                data_root=options.data_root,
                reporter=PlainLines(sys.stderr, every=30),
                stop=stop,
            )
    except Hwn2nError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    print(table([row for row in rows if row["inside"]]))
    for row in rows:
        if not row["inside"]:
            print(f"{row['strategy']}, seed {row['seed']}: {row.get('reason', row.get('verdict'))}")


def _overrides(given: Sequence[str]) -> dict[str, Any]:
    settings = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals:
            raise InputError(f"--set must be NAME=VALUE, but got {text!r}")
        settings[name] = yaml.safe_load(value)
    return settings


if __name__ == "__main__":
    main()
