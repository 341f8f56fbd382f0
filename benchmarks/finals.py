"""Which final training is best for small students? Validation accuracy by recipe and epochs.

    python -m benchmarks.finals --teacher FILE --data NAME --name cifar10-resnet20

Students are the teacher narrowed to a few sizes (`--sizes`, shares of its parameters), which no
search has chosen, so that no recipe is at home here. All accuracies are of validation images: a
recipe is chosen by them, and the test images are for what it is chosen for. It goes on from the
results that exist.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.runs import RESULTS, public_name
from benchmarks.study import Study, candidates, known_rows, open_study, study_parser, write_study

RECIPES: dict[str, dict[str, Any]] = {
    "fast": {},
    "fast, not augmented": {"final_augment": False},
    "fast, at twice the rate": {"final.lr": 1e-2},
    "fast, batches of 128, rate 0.002": {"final.lr": 2e-3, "final.batch_size": 128},
}
"""Overrides of the final training of `recipe: fast`; the last is what that was before."""


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown: a line for each recipe and number of epochs, a column for each size."""
    sizes = sorted({row["size"] for row in rows})
    heads = [f"{size:.0%} of the parameters" for size in sizes]
    lines = [
        f"| final training | epochs | seeds | {' | '.join(heads)} |",
        "|---|" + "---|" * (2 + len(sizes)),
    ]
    for name, epochs in sorted(
        {(row["recipe"], row["epochs"]) for row in rows},
        key=lambda key: (key[1], list(RECIPES).index(key[0])),
    ):
        mine = [row for row in rows if (row["recipe"], row["epochs"]) == (name, epochs)]
        cells = []
        for size in sizes:
            values = [100 * row["accuracy"] for row in mine if row["size"] == size]
            spread = f" ({min(values):.2f} to {max(values):.2f})" if len(values) > 1 else ""
            cells.append(f"{statistics.mean(values):.2f} %{spread}" if values else "")
        seeds = len({row["seed"] for row in mine})
        lines.append(f"| {name} | {epochs} | {seeds} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Train what is not trained yet, write it down after each training, print the table."""
    parser = study_parser(__doc__.split("\n")[0], sizes=[0.03, 0.1], repeated=True)
    parser.add_argument("--epochs", type=int, nargs="*", default=[5, 30])
    parser.add_argument("--recipes", nargs="*", default=list(RECIPES), choices=list(RECIPES))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    path = RESULTS / f"finals-{options.name}.json"
    rows = known_rows(path)
    study = open_study(options, {"device": options.device})
    deadline = time.monotonic() + 60 * options.minutes
    narrowed = [
        (size, decision) for _, size, decision in candidates(study.planner, options.sizes, 1)
    ]
    for seed in options.seeds:
        for epochs in options.epochs:
            for size, decision in narrowed:
                for name in options.recipes:
                    key = {"recipe": name, "epochs": epochs, "size": size, "seed": seed}
                    if any(key.items() <= row.items() for row in rows):
                        continue
                    if time.monotonic() > deadline:
                        continue
                    school = study.school({**RECIPES[name], "final.epochs": epochs})
                    architecture = study.planner.plan(decision)
                    student = school.student(architecture, decision, seed=seed)
                    found = school.train_fully(student, seed=seed)
                    assert found.validation is not None
                    more = {"accuracy": found.validation.top1, "seconds": round(found.seconds, 1)}
                    rows.append({**key, **more})
                    print(rows[-1], file=sys.stderr, flush=True)
                    _write(path, rows, options, study)
    _write(path, rows, options, study)
    print(table(rows))


def _write(
    path: Path, rows: list[dict[str, Any]], options: argparse.Namespace, study: Study
) -> None:
    write_study(
        path,
        rows,
        study,
        command="python -m benchmarks.finals --teacher FILE "
        f"--data {public_name(options.data)} --name {options.name}",
        table=table(rows),
        recipes=RECIPES,
        threads=options.threads,
    )


if __name__ == "__main__":
    main()
