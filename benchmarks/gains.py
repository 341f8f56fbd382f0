"""Which networks does a longer training lift? Brief and run-off accuracies of finished ledgers.

    python -m benchmarks.gains --name cifar10-flops-20 RUN RUN ...

All that competed in a run-off has two accuracies on the same validation images: after the brief
training that every candidate has, and after the longer one. Shown is, within searches, Kendall's
tau of the brief accuracy with the longer one where size counts beside it by some weight
(`hwn2n.search.reward.expected_accuracy`), and what least squares say: the longer accuracy's
log-odds by the brief one's and by the logarithm of the size. Size is the number of parameters, as a
search has it, or that times the FLOPs. Finalists were chosen by their brief accuracy, so a tau is
lower than one of all candidates. No network is trained.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import kendalltau

from benchmarks.ledgers import brief_accuracies, candidates_of, run_name, write_reading
from benchmarks.rankings import least_squares, log_odds
from hwn2n.network.decision import name_of
from hwn2n.search.reward import expected_accuracy
from hwn2n.search.runoff import STAGE as RUNOFF

WEIGHTS = (0.1, 0.2, 0.4, 0.8)
"""Of the size beside the brief accuracy."""

Row = dict[str, Any]
SIZES: dict[str, Callable[[Row], float]] = {
    "parameters": lambda row: float(row["params"]),
    "parameters times FLOPs": lambda row: float(row["params"] * row["flops"]),
}


def main() -> None:
    """Read the ledgers, print the table and write it down."""
    write_reading("gains", __doc__, finalists, table)


def finalists(folder: Path) -> list[Row]:
    """What competed in the run-off of a search: its size, and both accuracies."""
    candidates = candidates_of(folder)
    brief = brief_accuracies(candidates)
    return [
        {
            "run": run_name(folder),
            "key": one.key,
            "params": one.cost["params"]["value"],
            "flops": one.cost["flops"]["value"],
            "brief": brief[name_of(one.decision)],
            "longer": one.accuracy,
        }
        for one in candidates
        # one that was made narrower for its measured limits had no brief training
        if one.stage == RUNOFF and one.accuracy is not None and name_of(one.decision) in brief
    ]


def table(rows: Sequence[Row]) -> str:
    """Markdown: a line for each size and weight of it, then what least squares say of each size."""
    names = [row["run"] for row in rows]
    runs = [[r for r in rows if r["run"] == name] for name in dict.fromkeys(names)]
    runs = [run for run in runs if len(run) > 2]
    networks, alone = sum(map(len, runs)), _tau(runs, SIZES["parameters"], 0.0)
    lines = [
        "| ranked by | searches | networks | tau with the run-off, within searches |",
        "|---|---|---|---|",
        f"| brief training alone | {len(runs)} | {networks} | {alone:.2f} |",
    ]
    for name, size in SIZES.items():
        for weight in WEIGHTS:
            lines.append(
                f"| brief training, {name} weighed {weight:g} | {len(runs)} | {networks} "
                f"| {_tau(runs, size, weight):.2f} |"
            )
    for name, size in SIZES.items():
        of_brief, of_size, without, beside = _squares(runs, size)
        lines += [
            "",
            f"Least squares within searches: log-odds of the run-off = {of_brief:.2f} x those of "
            f"the brief training + {of_size:.2f} x ln({name}); what is left has a standard "
            f"deviation of {beside:.3f}, and of {without:.3f} without the size.",
        ]
    return "\n".join(lines)


def _tau(runs: Sequence[Sequence[Row]], size: Callable[[Row], float], weight: float) -> float:
    """The mean over the runs."""
    taus = []
    for run in runs:
        promised = [expected_accuracy(r["brief"], size(r) / size(run[0]), weight) for r in run]
        taus.append(float(kendalltau(promised, [r["longer"] for r in run]).statistic))
    return statistics.mean(taus)


def _squares(
    runs: Sequence[Sequence[Row]], size: Callable[[Row], float]
) -> tuple[float, float, float, float]:
    """The two slopes, and the deviations of the rest without and with the size."""
    inputs, outputs = [], []
    for run in runs:
        given = np.array([[log_odds(r["brief"]), math.log(size(r))] for r in run])
        longer = np.array([log_odds(r["longer"]) for r in run])
        inputs.append(given - given.mean(axis=0))
        outputs.append(longer - longer.mean())
    x, y = np.concatenate(inputs), np.concatenate(outputs)
    _, without = least_squares(x[:, :1], y)
    [of_brief, of_size], beside = least_squares(x, y)
    return of_brief, of_size, without, beside


if __name__ == "__main__":
    main()
