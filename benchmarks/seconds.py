"""What does a candidate cost, by `recipe: fast` and by `recipe: paper`, and how much is overhead?

    python -m benchmarks.seconds --teacher FILE --data NAME --budget FILE --name mnist-vgg13

Both recipes search the same teacher on the same data under the same budget, one after the other in
one process, for so few updates that even the paper's end in an hour. Of each search the ledger has
the seconds of every candidate by phase, and the clock those of the whole: what is neither training
nor measuring is overhead (fitting decisions to the budget, planning, building and inheriting
weights, policies, checkpoints, the ledger itself). Candidates that cost no training (repeated ones,
and those whose reward cannot use it) are counted apart: they are free in both recipes. There is no
run-off: its candidates train longer.

The two do not train the same networks: without projection the paper's candidates are of all sizes.
So a few of one size are also trained by each recipe in turn, which compares the training alone.
Where the processor has bf16, in which `fast` trains there, the paper's training is done in that
too: the difference is what bf16 has in the ratio.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import torch

import hwn2n
from benchmarks.provenance import made_here
from benchmarks.runs import RESULTS, public_name
from benchmarks.study import candidates, open_study
from hwn2n.distil.feed import choose_precision
from hwn2n.errors import BudgetNotMetError
from hwn2n.run.folder import RunFolder, write_json
from hwn2n.run.ledger import Ledger
from hwn2n.search.fitting.projection import counted_cost
from hwn2n.search.loop import SEARCH

LAST = {"runoff": 0, "final.epochs": 1, "final.max_images": 1000}
"""A run-off and the final training are not what is timed."""

SAME = 3
"""Networks that both recipes train."""

IN_BF16 = "paper in bf16"


def search(options: argparse.Namespace, recipe: str, updates: int, rollouts: int) -> dict[str, Any]:
    """One short search; its candidates' seconds by phase, and those of the whole."""
    stages = {
        f"{stage}.{key}": value
        for stage in ("removal", "shrinkage")
        for key, value in (("updates", updates), ("rollouts", rollouts))
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run"
        with suppress(BudgetNotMetError):  # what the candidates cost is known all the same
            hwn2n.compress(
                options.teacher,
                budget=options.budget,
                data=options.data,
                data_root=options.data_root,
                out=path,
                recipe=recipe,
                overrides={**stages, **LAST, "device": options.device, "seed": options.seed},
            )
        with closing(Ledger(RunFolder(path).ledger)) as ledger:
            rows, booked = ledger.candidates(), ledger.seconds()
    trained = [row for row in rows if "train" in row.seconds]
    work = sum(row.seconds.get(name, 0.0) for row in rows for name in ("train", "measure"))
    return {
        "recipe": recipe,
        "candidates": len(rows),
        "trained": len(trained),
        "seconds": {
            name: round(statistics.median(row.seconds.get(name, 0.0) for row in trained), 4)
            for name in trained[0].seconds
        },
        "each": [round(sum(row.seconds.values()), 3) for row in trained],
        "search": round(booked[SEARCH], 2),
        "overhead": round(1 - work / booked[SEARCH], 4),
    }


def same_networks(options: argparse.Namespace) -> list[dict[str, Any]]:
    """The uniformly narrowed teacher and random networks of its size, trained by both recipes.

    The first training of each includes asking the teacher for its logits, which a search does once.
    """
    study = open_study(options, {"device": options.device})
    schools = {recipe: study.school({}, recipe=recipe) for recipe in ("fast", "paper")}
    if choose_precision(options.device) == "bf16":
        schools[IN_BF16] = study.school({"train.precision": "bf16"}, recipe="paper")
    found = []
    for _, _, decision in candidates(study.planner, [options.size], SAME):
        architecture = study.planner.plan(decision)
        seconds = {}
        for recipe, school in schools.items():
            student = school.student(architecture, decision, seed=options.seed)
            started = time.perf_counter()
            school.train_briefly(student, seed=options.seed)
            seconds[recipe] = round(time.perf_counter() - started, 2)
        found.append({"params": int(counted_cost(architecture)["params"].value), **seconds})
        print(found[-1], file=sys.stderr, flush=True)
    return found


def table(found: list[dict[str, Any]], same: list[dict[str, Any]]) -> str:
    """Markdown: one line for each recipe, and how many times cheaper the second is."""
    lines = [
        "| recipe | candidates trained | s / candidate (median, min to max) | of it training "
        "| overhead of the search |",
        "|---|---|---|---|---|",
    ]
    for row in found:
        each = row["each"]
        lines.append(
            f"| {row['recipe']} | {row['trained']} of {row['candidates']} "
            f"| {statistics.median(each):.2f} ({min(each):.2f} to {max(each):.2f}) "
            f"| {row['seconds']['train']:.2f} | {row['overhead']:.1%} |"
        )
    by = {row["recipe"]: statistics.median(row["each"]) for row in found}
    lines.append(f"\nA candidate of `fast` is {by['paper'] / by['fast']:.1f} times cheaper.")
    if same:
        fast, paper = (statistics.median(row[name] for row in same) for name in ("fast", "paper"))
        lines[-1] += (
            f" The same network ({len(same)} of {same[0]['params']:,} parameters or a little less, "
            f"trained by both): {paper / fast:.1f} times ({paper:.1f} s and {fast:.1f} s, medians)."
        )
        if IN_BF16 in same[0]:
            quick = statistics.median(row[IN_BF16] for row in same)
            lines[-1] += f" By `paper` in bf16: {quick / fast:.1f} times ({quick:.1f} s)."
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--teacher", type=Path, required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--data-root")
    parser.add_argument("--budget", type=Path, required=True)
    parser.add_argument("--name", required=True, help="of the results' file")
    parser.add_argument("--updates", type=int, default=3, help="of each stage, recipe fast")
    parser.add_argument("--paper-rollouts", type=int, default=2, help="one update, each stage")
    parser.add_argument("--size", type=float, default=0.1, help="of the networks both train")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    found = [
        search(options, "fast", options.updates, 5),
        search(options, "paper", 1, options.paper_rollouts),
    ]
    same = same_networks(options)
    data = public_name(options.data)
    content = {
        "command": f"python -m benchmarks.seconds --teacher FILE --data {data} --budget "
        f"{options.budget.name} --name {options.name} --updates {options.updates} "
        f"--paper-rollouts {options.paper_rollouts} --size {options.size:g}",
        "data": data,
        **made_here(),
        "seed": options.seed,
        "threads": options.threads,
        "recipes": found,
        "same_networks": same,
        "table": table(found, same),
    }
    RESULTS.mkdir(parents=True, exist_ok=True)
    write_json(RESULTS / f"seconds-{options.name}.json", content)
    print(content["table"])


if __name__ == "__main__":
    main()
