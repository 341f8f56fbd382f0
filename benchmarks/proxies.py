"""How well does a short training rank networks? Kendall's tau against a full training, and seconds.

    python -m benchmarks.proxies --teacher FILE --data NAME --name cifar10-resnet20

A search is only as good as its proxy: the accuracy that a candidate has after its short training.
Candidates here are stratified: at each of a few sizes (`--sizes`, shares of the teacher's
parameters or FLOPs, `--column`) uniform width and random decisions, scaled to within 10 % of that
size. Each is trained in full (`--full-epochs` on `--full-images` images, augmented if the data is)
and by each proxy; accuracies are of validation images. Tau is also shown within the sizes: to tell
a large network from a small one is no art.

It goes on from the results that exist, whoever made them, so many short sessions make one study;
rows name the machine's load only through their seconds.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.rankings import FULL, table
from benchmarks.runs import RESULTS, public_name
from benchmarks.study import Study, candidates, known_rows, open_study, study_parser, write_study
from hwn2n.network.counts import count
from hwn2n.network.decision import Decision
from hwn2n.run.folder import read_json, write_json
from hwn2n.search.fitting.projection import counted_cost
from hwn2n.search.school import School

ALIKE = {"train.batch_size": 64, "recalibrate_images": 2000, "validation_images": None}
"""What short trainings have in common, where `PROXIES` does not say otherwise."""
FEWER = {"recalibrate_images": 1000, "validation_images": 2500}
SLOW = {"train.batch_size": 128, "train.lr": 2e-3}
PROXIES: dict[str, dict[str, Any]] = {
    "1 x 5,000": {"train.max_images": 5000},
    "1 x 10,000": {"train.max_images": 10_000},
    "1 x 10,000, scored on fewer": {"train.max_images": 10_000, **FEWER},
    "1 x 10,000, scored on fewer, batches of 32": {
        "train.max_images": 10_000,
        "train.batch_size": 32,
        **FEWER,
    },
    "2 x 10,000": {"train.epochs": 2, "train.max_images": 10_000},
    "2 x 10,000, other images": {
        "train.epochs": 2,
        "train.max_images": 10_000,
        "train.fresh": True,
    },
    "1 x 20,000": {"train.max_images": 20_000},
    "1 x 40,000": {"train.max_images": 40_000},
    "1 x 20,000, batches of 32": {"train.max_images": 20_000, "train.batch_size": 32},
    "1 x 20,000, batches of 128, a fifth of the rate": {"train.max_images": 20_000, **SLOW},
    "4 x 5,000, batches of 128, a fifth of the rate": {
        "train.epochs": 4,
        "train.max_images": 5000,
        **SLOW,
    },
    "1 x 20,000, new weights": {"train.max_images": 20_000, "weights": "fresh"},
    "1 x 20,000, statistics not re-estimated": {
        "train.max_images": 20_000,
        "recalibrate_images": 0,
    },
    "1 x 20,000, fp32": {"train.max_images": 20_000, "train.precision": "fp32"},
    # for data of fewer images
    "1 x all": {},
    "2 x all": {"train.epochs": 2},
    "4 x all": {"train.epochs": 4},
    "8 x all": {"train.epochs": 8},
    "1 x all, new weights": {"weights": "fresh"},
    "1 x all, statistics not re-estimated": {"recalibrate_images": 0},
    "1 x all, batches of 128, a fifth of the rate": SLOW,
}
"""Overrides of `ALIKE` and `recipe: fast`: epochs x images; weights are inherited unless said
otherwise."""


def main() -> None:
    """Train what is not trained yet, write it down after each training, print the table."""
    parser = study_parser(__doc__.split("\n")[0], sizes=[0.05, 0.1, 0.2], repeated=True)
    parser.add_argument("--column", choices=("params", "flops"), default="params", help="of sizes")
    parser.add_argument("--each", type=int, default=14, help="candidates of each size")
    parser.add_argument("--full-epochs", type=int, default=6)
    parser.add_argument("--full-images", type=int, default=20_000)
    parser.add_argument("--proxies", nargs="*", default=list(PROXIES), choices=list(PROXIES))
    parser.add_argument(
        "--only-table",
        action="store_true",
        help="make the table of published rows anew; of the teacher only the layers matter then",
    )
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    path = RESULTS / f"proxies-{options.name}.json"
    rows = known_rows(path)
    full = {
        "final.epochs": options.full_epochs,
        "final.max_images": options.full_images,
        "device": options.device,
    }
    study = open_study(options, full)
    chosen = list(candidates(study.planner, options.sizes, options.each, options.column))
    chosen.sort(key=lambda c: c[0] % options.each)  # all sizes, however early it is stopped
    whole = count(study.planner.teacher).elements
    shares = {n: count(study.planner.plan(d)).elements / whole for n, _, d in chosen}
    if options.only_table:
        print(_table_anew(path, shares))
        return
    deadline = time.monotonic() + 60 * options.minutes
    schools: dict[str, School] = {}
    known = {(r["candidate"], r["proxy"], r["seed"]) for r in rows}
    for seed in options.seeds:
        for number, size, decision in chosen:
            for proxy in (FULL, *options.proxies):
                if (number, proxy, seed) in known or time.monotonic() > deadline:
                    continue
                if proxy not in schools:
                    schools[proxy] = study.school({**ALIKE, **PROXIES.get(proxy, {})})
                row = _trained(study, schools[proxy], decision, proxy, seed)
                rows.append({"candidate": number, "size": size, **row})
                print(rows[-1], file=sys.stderr, flush=True)
                _write(path, rows, options, study, shares)
    _write(path, rows, options, study, shares)
    print(table(rows, PROXIES, shares))


def _table_anew(path: Path, activations: dict[int, float]) -> str:
    published = read_json(path)
    published["table"] = table(published["rows"], PROXIES, activations)
    write_json(path, {**published, "activations": activations})
    return str(published["table"])


def _trained(
    study: Study, school: School, decision: Decision, proxy: str, seed: int
) -> dict[str, Any]:
    architecture = study.planner.plan(decision)
    student = school.student(architecture, decision, seed=seed)
    started = time.perf_counter()
    if proxy == FULL:
        found = school.train_fully(student, seed=seed).validation
        assert found is not None
        accuracy = found.top1
    else:
        accuracy = school.train_briefly(student, seed=seed).top1
    cost = counted_cost(architecture)
    return {
        "proxy": proxy,
        "seed": seed,
        "accuracy": accuracy,
        "seconds": round(time.perf_counter() - started, 2),
        "params": int(cost["params"].value),
        "flops": int(cost["flops"].value),
        "removed": len(decision.removed),
    }


def _write(
    path: Path,
    rows: list[dict[str, Any]],
    options: argparse.Namespace,
    study: Study,
    activations: dict[int, float],
) -> None:
    write_study(
        path,
        rows,
        study,
        command="python -m benchmarks.proxies --teacher FILE "
        f"--data {public_name(options.data)} --name {options.name} "
        f"--column {options.column} --sizes {' '.join(map(str, options.sizes))} "
        f"--each {options.each} "
        f"--seeds {' '.join(map(str, options.seeds))} --full-epochs {options.full_epochs} "
        f"--full-images {options.full_images} --proxies {shlex.join(options.proxies)}",
        table=table(rows, PROXIES, activations),
        activations=activations,
        full={"epochs": options.full_epochs, "images": options.full_images},
        proxies={name: {**ALIKE, **overrides} for name, overrides in PROXIES.items()},
    )


if __name__ == "__main__":
    main()
