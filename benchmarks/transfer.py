"""Do the shipped policies help a search on a teacher that they have never met?

    python -m benchmarks.transfer --cases 'cifar10-3%' --teacher FILE --data NAME

Three searches for each case and seed, alike but for the policies that they start with: those that
`--policy auto` takes, new ones, and the control, new ones that take over the output bias alone.
Compared are the candidates of the first updates, and the best of them inside the budget by
validation accuracy after its brief training; nobody is trained to the end. Resumable.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import torch

import hwn2n
from benchmarks.cases import CASES, numbers
from benchmarks.provenance import made_here
from benchmarks.runs import RESULTS, public_name, slug
from benchmarks.starts import ARMS, BIAS, PRETRAINED, bias_alone, stages_of
from hwn2n.budget.load import load_budget
from hwn2n.errors import BudgetNotMetError, InconclusiveError
from hwn2n.run.folder import RunFolder, write_json
from hwn2n.run.ledger import Ledger
from hwn2n.run.progress import PlainLines
from hwn2n.search.policies.shipped import STAGES, shipped_policies
from hwn2n.search.recipes import build_settings

SHORT = {
    "removal.updates": 3,
    "shrinkage.updates": 3,
    "runoff": 0,
    "final.epochs": 1,
    "final.max_images": 1000,
}
"""Only the search is compared."""


def main() -> None:
    """Run what is not done yet, then print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--cases", nargs="+", required=True, choices=list(CASES))
    parser.add_argument("--teacher", type=Path, required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--data-root")
    parser.add_argument("--name", required=True, help="of the results' file")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--runs", type=Path, default=Path("runs/benchmarks/transfer"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    overrides = {**SHORT, **numbers(options.set)}
    rows = [
        {"case": case, "arm": arm, **_searched(case, arm, seed, overrides, options)}
        for case in options.cases
        for seed in options.seeds
        for arm in ARMS
    ]
    shown = table(rows)
    cases = " ".join(map(repr, options.cases))
    data = public_name(options.data)
    write_json(
        RESULTS / f"transfer-{options.name}.json",
        {
            "command": f"python -m benchmarks.transfer --cases {cases} --teacher FILE "
            f"--data {data} --name {options.name}"
            + "".join(f" --set {text}" for text in options.set),
            "overrides": overrides,
            **made_here(),
            "rows": rows,
            "table": shown,
        },
    )
    print(shown)


def _searched(
    case: str, arm: str, seed: int, overrides: dict[str, Any], options: argparse.Namespace
) -> dict[str, Any]:
    """One short search, run or read: its stages, and the best candidate inside the budget."""
    folder = options.runs / slug(case.replace("%", ""))
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{slug(arm)}-{seed}"
    budget = CASES[case].budget_file(folder)
    settings = build_settings("fast", {**overrides, "seed": seed})
    reporter = PlainLines(sys.stderr, every=30)
    with suppress(BudgetNotMetError, InconclusiveError):  # the candidates count all the same
        if RunFolder(path).config.exists():
            hwn2n.resume(path, reporter=reporter)
        else:
            shipped = shipped_policies(load_budget(budget), settings)
            if arm == BIAS:
                starts = [bias_alone(p, folder / f"bias-{seed}-{p.name}", seed) for p in shipped]
            else:
                starts = shipped if arm == PRETRAINED else []
            hwn2n.compress(
                options.teacher,
                budget=budget,
                data=options.data,
                data_root=options.data_root,
                out=path,
                recipe=settings,
                policies=starts,
                reporter=reporter,
            )
    with closing(Ledger(RunFolder(path).ledger)) as ledger:
        inside = [c for c in ledger.candidates() if c.satisfied and c.accuracy is not None]
        all_of_them = len(ledger.candidates())
    return {
        "seed": seed,
        "candidates": all_of_them,
        "inside": len(inside),
        "best": max((c.accuracy for c in inside if c.accuracy is not None), default=None),
        "stages": stages_of(path),
    }


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Markdown: means over the candidates of the first updates, then over the seeds."""
    rewards = [f"{stage}: mean reward" for stage in STAGES]
    heads = ["case", "policies", "seeds", *rewards, "inside", "best inside, validation"]
    lines = [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
    for case in dict.fromkeys(row["case"] for row in rows):
        for arm in ARMS:
            mine = [row for row in rows if (row["case"], row["arm"]) == (case, arm)]
            inside = sum(row["inside"] for row in mine) / sum(row["candidates"] for row in mine)
            best = [100 * row["best"] for row in mine if row["best"] is not None]
            cells = [
                case,
                arm,
                str(len(mine)),
                *(_range([row["stages"][stage]["reward"] for row in mine]) for stage in STAGES),
                f"{inside:.0%}",
                _range(best, "{:.2f} %"),
            ]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _range(values: Sequence[float], form: str = "{:.3f}") -> str:
    if not values:
        return ""
    span = f"{form.format(min(values))} to {form.format(max(values))}".replace(" %", "")
    return f"{form.format(statistics.mean(values))} ({span})"


if __name__ == "__main__":
    main()
