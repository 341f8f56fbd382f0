"""Which channels should a student inherit? Accuracy after brief trainings, by how they are ranked.

    python -m benchmarks.inheriting --teacher FILE --data NAME --name digits-resnet20 --sizes 0.02

At each size (`--sizes`, shares of the teacher's parameters) students that no search has chosen, as
benchmarks/proxies.py draws them, the uniformly narrowed teacher first. Each inherits the channels
that a ranking of `hwn2n.network.importance` chooses, or random ones, and is trained as `recipe:
fast` trains candidates, and as it trains those of a run-off; accuracies are of validation images.
Resumable.
"""

from __future__ import annotations

import random
import statistics
import sys
import time
from dataclasses import replace
from typing import Any

import torch

from benchmarks.runs import RESULTS, public_name
from benchmarks.study import candidates, known_rows, open_study, study_parser, write_study
from hwn2n.network.capture import Captured
from hwn2n.network.channels import ChannelMap
from hwn2n.network.importance import Ranking, by_contribution, by_filters
from hwn2n.network.inherit import Inheritance


def at_random(teacher: Captured, channels: ChannelMap) -> dict[str, list[int]]:
    """Any order; the same in every process."""
    generator = random.Random(0)
    return {
        name: generator.sample(range(group.units), group.units)
        for name, group in channels.groups.items()
    }


RANKINGS: dict[str, Ranking] = {
    "at random": at_random,
    "by their filters' L1 norms": by_filters,
    "by what readers get of them": by_contribution,
}


def main() -> None:
    """Train what is not trained yet, write it down after each training, print the table."""
    parser = study_parser(__doc__.split("\n")[0], sizes=[0.02], repeated=True)
    parser.add_argument("--each", type=int, default=4, help="candidates of each size")
    parser.add_argument("--epochs", type=int, default=6, help="of the longer training")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    path = RESULTS / f"inheriting-{options.name}.json"
    rows = known_rows(path)
    known = {(r["ranking"], r["candidate"], r["seed"]) for r in rows}
    study = open_study(options, {"device": options.device})
    schools = {
        name: replace(
            study, inheritance=Inheritance(study.inheritance.teacher, study.planner, rank)
        ).school({})
        for name, rank in RANKINGS.items()
    }
    command = (
        f"python -m benchmarks.inheriting --teacher FILE --data {public_name(options.data)} "
        f"--name {options.name} --sizes {' '.join(map(str, options.sizes))} "
        f"--each {options.each} --epochs {options.epochs} "
        f"--seeds {' '.join(map(str, options.seeds))}"
    )
    deadline = time.monotonic() + 60 * options.minutes
    chosen = list(candidates(study.planner, options.sizes, options.each))
    for seed in options.seeds:
        for number, size, decision in chosen:
            for name, school in schools.items():
                if (name, number, seed) in known or time.monotonic() > deadline:
                    continue
                architecture = study.planner.plan(decision)
                found = [
                    school.train_briefly(
                        school.student(architecture, decision, seed=seed), seed=seed, epochs=epochs
                    ).top1
                    for epochs in (None, options.epochs)
                ]
                row = {"ranking": name, "candidate": number, "size": size, "seed": seed}
                rows.append({**row, "brief": found[0], "longer": found[1]})
                print(rows[-1], file=sys.stderr, flush=True)
                shown = table(rows, options.epochs)
                write_study(path, rows, study, command=command, table=shown, epochs=options.epochs)
    shown = table(rows, options.epochs)
    write_study(path, rows, study, command=command, table=shown, epochs=options.epochs)
    print(shown)


def table(rows: list[dict[str, Any]], epochs: int) -> str:
    """Markdown: a line for each size and ranking, over the students that all rankings have."""
    lines = [
        f"| size | channels are chosen | students x seeds | after one epoch | after {epochs} |",
        "|---|---|---|---|---|",
    ]
    everywhere = [
        {(r["candidate"], r["seed"]) for r in rows if r["ranking"] == name} for name in RANKINGS
    ]
    common = set.intersection(*everywhere)
    for size in sorted({r["size"] for r in rows}):
        for name in RANKINGS:
            mine = [
                r
                for r in rows
                if r["size"] == size
                and r["ranking"] == name
                and (r["candidate"], r["seed"]) in common
            ]
            if mine:
                cells = [_spread([r[key] for r in mine]) for key in ("brief", "longer")]
                lines.append(f"| {size:.0%} | {name} | {len(mine)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _spread(values: list[float]) -> str:
    mean, low, high = statistics.mean(values), min(values), max(values)
    return f"{100 * mean:.1f} % ({100 * low:.1f} to {100 * high:.1f})"


if __name__ == "__main__":
    main()
