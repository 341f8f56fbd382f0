"""How well does a short training rank networks? Kendall's tau against a full training, and seconds.

    python -m benchmarks.proxies --teacher FILE --data NAME --name cifar10-resnet20

A search is only as good as its proxy: the accuracy that a candidate has after its short training.
Candidates here are stratified: at each of a few sizes (`--sizes`, shares of the teacher's
parameters) uniform width and random decisions, scaled to within 10 % of that size. Each is trained
in full (`--full-epochs` on `--full-images` images, augmented if the data is) and by each proxy;
accuracies are of validation images. Tau is also shown within the sizes: to tell a large network
from a small one is no art.

It goes on from the results that exist, whoever made them, so many short sessions make one study;
rows name the machine's load only through their seconds.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.rankings import FULL, table
from benchmarks.runs import RESULTS, public_name
from hwn2n.budget.load import load_budget
from hwn2n.distil.datasets import load_data
from hwn2n.hardware.fingerprint import fingerprint
from hwn2n.network.architecture import IllegalArchitectureError
from hwn2n.network.capture import capture
from hwn2n.network.decision import Decision
from hwn2n.network.files import Teacher, load_teacher
from hwn2n.network.inherit import Inheritance
from hwn2n.network.layers import find_layers
from hwn2n.network.planner import Planner
from hwn2n.run.folder import read_json, write_json
from hwn2n.run.provenance import versions
from hwn2n.search.choices.actions import SHRINK_VALUES
from hwn2n.search.projection import counted_cost, project
from hwn2n.search.recipes import build_settings, suited_to
from hwn2n.search.school import School
from hwn2n.search.settings import Settings
from hwn2n.search.widths import Widths

SLOW = {"train.batch_size": 128, "train.lr": 2e-3}
PROXIES: dict[str, dict[str, Any]] = {
    "1 x 5,000": {"train.max_images": 5000},
    "1 x 10,000": {"train.max_images": 10_000},
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
}
"""Overrides of `recipe: fast`: epochs x images; weights are inherited unless said otherwise."""


@dataclass(frozen=True)
class Study:
    """One teacher, its data, and the candidates to rank."""

    teacher: Teacher
    data: Any
    planner: Planner
    inheritance: Inheritance
    full: Mapping[str, Any]

    def school(self, overrides: Mapping[str, Any]) -> School:
        """A school of `recipe: fast` with these overrides."""
        settings: Settings = suited_to(
            build_settings("fast", {**self.full, **overrides}), self.data.augment
        )
        return School(
            teacher=self.teacher.model,
            inheritance=self.inheritance,
            data=self.data,
            settings=settings,
        )


def main() -> None:
    """Train what is not trained yet, write it down after each training, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--teacher", type=Path, required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--data-root", default="data")
    parser.add_argument("--name", required=True, help="of the results' file")
    parser.add_argument("--sizes", type=float, nargs="*", default=[0.05, 0.1, 0.2])
    parser.add_argument("--each", type=int, default=14, help="candidates of each size")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0])
    parser.add_argument("--full-epochs", type=int, default=6)
    parser.add_argument("--full-images", type=int, default=20_000)
    parser.add_argument("--proxies", nargs="*", default=list(PROXIES), choices=list(PROXIES))
    parser.add_argument("--minutes", type=float, default=1e9, help="begin nothing after so many")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    path = RESULTS / f"proxies-{options.name}.json"
    rows = read_json(path)["rows"] if path.exists() else []
    full = {
        "final.epochs": options.full_epochs,
        "final.max_images": options.full_images,
        "device": options.device,
    }
    study = open_study(options, full)
    deadline = time.monotonic() + 60 * options.minutes
    schools: dict[str, School] = {}
    known = {(r["candidate"], r["proxy"], r["seed"]) for r in rows}
    chosen = list(candidates(study.planner, options.sizes, options.each))
    chosen.sort(key=lambda c: c[0] % options.each)  # all sizes, however early it is stopped
    for seed in options.seeds:
        for number, size, decision in chosen:
            for proxy in (FULL, *options.proxies):
                if (number, proxy, seed) in known or time.monotonic() > deadline:
                    continue
                if proxy not in schools:
                    schools[proxy] = study.school(PROXIES.get(proxy, {}))
                row = _trained(study, schools[proxy], decision, proxy, seed)
                rows.append({"candidate": number, "size": size, **row})
                print(rows[-1], file=sys.stderr, flush=True)
                _write(path, rows, options, study)
    _write(path, rows, options, study)
    print(table(rows, PROXIES))


def open_study(options: argparse.Namespace, full: Mapping[str, Any]) -> Study:
    """The teacher and data of a command; `full` are overrides for all of its schools."""
    teacher = load_teacher(options.teacher)
    data = load_data(
        options.data,
        root=options.data_root,
        validation=teacher.metadata.get("validation"),
        seed=teacher.metadata.get("split_seed") or 0,
    )
    captured = capture(teacher.model, data.image_shape, teacher.program)
    planner = Planner(captured.architecture)
    return Study(teacher, data, planner, Inheritance(captured, planner), full)


def candidates(
    planner: Planner, sizes: list[float], each: int
) -> Iterator[tuple[int, float, Decision]]:
    """(number, size, decision), the same for every session: uniform width, then random ones.

    A random one removes each layer with a probability drawn for the candidate, and draws each
    width's share; one is taken only if it lies within 10 % of its size.
    """
    whole = counted_cost(planner.teacher)["params"].value
    removable = [layer for layer in find_layers(planner, "unit") if layer.removable]
    number = 0
    for size in sizes:
        limit = size * whole
        row = {"metric": "params", "max": int(limit)}
        budget = {"apiVersion": "hwn2n/v1", "name": "size", "constraints": [row]}
        countable = load_budget(budget).resolve({})
        generator = random.Random(f"proxies {size}")
        found: list[Decision] = [project(planner, Decision(), countable)]
        while len(found) < each:
            odds = generator.choice((0.0, 0.0, 0.1, 0.2, 0.3))
            removed = {
                name
                for layer in removable
                if generator.random() < odds
                for name in layer.operations
            }
            try:
                _, channels = planner.left(frozenset(removed))
                widths = {
                    group.name: Widths().nearest(group, generator.choice(SHRINK_VALUES))
                    for group in channels.groups.values()
                    if not group.frozen
                }
                decision = project(planner, Decision(frozenset(removed), widths), countable)
                params = counted_cost(planner.plan(decision))["params"].value
            except IllegalArchitectureError:
                continue
            if params >= 0.9 * limit and decision not in found:
                found.append(decision)
        for decision in found:
            yield number, size, decision
            number += 1


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
    path: Path, rows: list[dict[str, Any]], options: argparse.Namespace, study: Study
) -> None:
    write_json(
        path,
        {
            "command": "python -m benchmarks.proxies --teacher FILE "
            f"--data {public_name(options.data)} --name {options.name} "
            f"--sizes {' '.join(map(str, options.sizes))}",
            "full": {"epochs": options.full_epochs, "images": options.full_images},
            "proxies": PROXIES,
            "teacher": dict(study.teacher.metadata),
            "machine": fingerprint(),
            "versions": versions(),
            "date": time.strftime("%Y-%m-%d"),
            "rows": rows,
            "table": table(rows, PROXIES),
        },
    )


if __name__ == "__main__":
    main()
