"""What do the winners of searches end at? Run-off and final accuracies of finished runs.

    python -m benchmarks.ends --name cifar10-latency-35 RUN RUN ...

The winner of a search has an accuracy after the run-off and one after its final training, on the
same validation images. Over the winners of searches under one budget, whatever their strategy:
Kendall's tau of the two where size and depth count beside the first
(`hwn2n.search.reward.expected_accuracy`, departures 42 and 43 of docs/method.md), and what least
squares say. Left out are winners that were made narrower after the run-off, which are other
networks. No network is trained.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import kendalltau

from benchmarks.ledgers import candidates_of, planner_of, run_name, write_reading
from benchmarks.rankings import least_squares, log_odds
from hwn2n.run.folder import RunFolder, read_json
from hwn2n.search.reward import expected_accuracy
from hwn2n.search.runoff import STAGE as RUNOFF

WEIGHTS = ((0.0, 0.0), (0.2, 0.0), (0.6, 0.0), (0.0, 0.3), (0.6, 0.15), (0.6, 0.3))
"""Of size and depth beside the accuracy."""

INPUTS = {
    "the run-off": ("runoff",),
    "the run-off and ln(parameters)": ("runoff", "params"),
    "the run-off, ln(parameters) and ln(depth)": ("runoff", "params", "depth"),
}


def main() -> None:
    """Read the runs, print the table and write it down."""
    write_reading("ends", __doc__, winner, table)


def winner(folder: Path) -> list[dict[str, Any]]:
    """The winner of a run-off: size, depth and both accuracies; [] where it is another network."""
    run = RunFolder(folder)
    chosen = read_json(run.choice)["candidate"]
    student = read_json(run.result)["student"]
    [found] = [one for one in candidates_of(folder) if one.id == chosen]
    if student.get("narrowed") or found.stage != RUNOFF:
        return []
    return [
        {
            "run": run_name(folder),
            "params": found.cost["params"]["value"],
            "depth": planner_of(run).depth(found.decision["removed"]),
            "runoff": found.accuracy,
            "final": student["validation_accuracy"],
        }
    ]


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Markdown: a line for each pair of weights, then what least squares say."""
    final = [row["final"] for row in rows]
    lines = [
        "| ranked by | winners | tau with the final training |",
        "|---|---|---|",
    ]
    for size, deep in WEIGHTS:
        promised = [
            expected_accuracy(row["runoff"], row["params"] ** size * row["depth"] ** deep, 1.0)
            for row in rows
        ]
        tau = float(kendalltau(promised, final).statistic)
        lines.append(
            f"| run-off, parameters weighed {size:g}, depth {deep:g} | {len(rows)} | {tau:.2f} |"
        )
    for name, inputs in INPUTS.items():
        slopes, rest = _squares(rows, inputs)
        told = " + ".join(
            f"{slope:.2f} x {_term(of)}" for slope, of in zip(slopes, inputs, strict=True)
        )
        lines += [
            "",
            f"Least squares by {name}: log-odds of the final accuracy = {told}; what is left has a "
            f"standard deviation of {rest:.3f}.",
        ]
    return "\n".join(lines)


def _term(of: str) -> str:
    return {
        "runoff": "log-odds of the run-off",
        "params": "ln(parameters)",
        "depth": "ln(depth)",
    }[of]


def _squares(rows: Sequence[dict[str, Any]], inputs: Sequence[str]) -> tuple[list[float], float]:
    """The slopes, and the deviation of the rest."""
    given = np.array(
        [[log_odds(r[of]) if of == "runoff" else math.log(r[of]) for of in inputs] for r in rows]
    )
    final = np.array([log_odds(r["final"]) for r in rows])
    return least_squares(given - given.mean(axis=0), final - final.mean())


if __name__ == "__main__":
    main()
