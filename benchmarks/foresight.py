"""Would a search have guessed what its later candidates have? Kendall's tau on finished ledgers.

    python -m benchmarks.foresight --name cifar10-flops-20 RUN RUN ...

Of each run the predictor of `hwn2n.search.predictor` is fitted on its first candidates, as a search
fits it, and ranks all that came later by the accuracy that they had after their brief training (the
run-off left out). The candidates that came later were in part chosen by such guesses, so a tau of
these is lower than one of networks that nobody has chosen (benchmarks/guesses.py). Shown beside it:
what it guesses without the size's slope, without knowing which layers are gone, and without both;
other slopes; and to rank by parameters, or by parameters times FLOPs, which needs no candidate.
No network is trained.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from scipy.stats import kendalltau

from benchmarks.ledgers import (
    briefly_trained,
    candidates_of,
    planner_of,
    run_name,
    write_reading,
)
from hwn2n.network.decision import Decision
from hwn2n.run.candidate import Candidate, latest
from hwn2n.run.folder import RunFolder, read_json
from hwn2n.search.predictor import LEAST, SIZE_SLOPE, AccuracyPredictor
from hwn2n.search.settings import settings_from_json

SEEN = (LEAST, 11, 16, 21)
"""So many candidates the predictor is fitted on: after an update of five each."""

LATER = 5
"""Of fewer later candidates nothing is said."""

SLOPES = (0.15, 0.5, 0.8)
"""Others than the search's."""

Guess = Callable[[AccuracyPredictor, Sequence[Candidate], Sequence[Candidate]], list[float]]


def main() -> None:
    """Guess, print the table and write it down."""
    write_reading("foresight", __doc__, foreseen, table)


def foreseen(folder: Path) -> list[dict[str, Any]]:
    """A row for each number of candidates seen and each way to guess: the tau of the rest."""
    run = RunFolder(folder)
    planner = planner_of(run)
    granularity = settings_from_json(read_json(run.config)["settings"]).granularity
    candidates = latest(briefly_trained(candidates_of(folder)))
    rows: list[dict[str, Any]] = []
    for seen in (n for n in SEEN if n + LATER <= len(candidates)):
        known, later = candidates[:seen], candidates[seen:]
        truth = [c.accuracy for c in later]
        for way, guess in ways().items():
            found = guess(AccuracyPredictor(planner, granularity), known, later)
            tau = float(kendalltau(found, truth).statistic)
            rows.append(
                {
                    "run": run_name(folder),
                    "seen": seen,
                    "later": len(later),
                    "way": way,
                    "tau": None if math.isnan(tau) else tau,
                }
            )
    return rows


def ways() -> dict[str, Guess]:
    """The ways to guess, by what the table calls them."""

    def fitted(slope: float, *, gone: bool = True) -> Guess:
        def guess(
            predictor: AccuracyPredictor, known: Sequence[Candidate], later: Sequence[Candidate]
        ) -> list[float]:
            if not gone:
                predictor.removable = []
            predictor.fit(known, slope)
            decisions = [Decision.from_json(c.decision) for c in later]
            return predictor.expected([(d, predictor.planner.count(d)) for d in decisions])

        return guess

    def counted(*columns: str) -> Guess:
        def guess(
            predictor: AccuracyPredictor, known: Sequence[Candidate], later: Sequence[Candidate]
        ) -> list[float]:
            return [math.prod(c.cost[name]["value"] for name in columns) for c in later]

        return guess

    return {
        f"slope {SIZE_SLOPE:g}, which layers are gone (the default)": fitted(SIZE_SLOPE),
        "no slope": fitted(0.0),
        "not told which layers are gone": fitted(SIZE_SLOPE, gone=False),
        "neither": fitted(0.0, gone=False),
        **{f"slope {slope:g}": fitted(slope) for slope in SLOPES},
        "parameters, no candidate seen": counted("params"),
        "parameters times FLOPs, no candidate seen": counted("params", "flops"),
    }


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Markdown: a line for each way to guess, a column for each number of candidates seen."""
    seen = [n for n in SEEN if any(row["seen"] == n for row in rows)]
    runs = {n: len({row["run"] for row in rows if row["seen"] == n}) for n in seen}
    heads = ["guesses", *(f"{n} seen, {runs[n]} searches" for n in seen)]
    lines = [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
    for way in dict.fromkeys(str(row["way"]) for row in rows):
        cells = [way]
        for n in seen:
            taus = [
                float(row["tau"])
                for row in rows
                if row["way"] == way and row["seen"] == n and row["tau"] is not None
            ]
            cells.append(f"{statistics.mean(taus):.2f}" if taus else "")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
