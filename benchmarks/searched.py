"""Do brief trainings rank what searches found, too? Kendall's tau against longer trainings.

    python -m benchmarks.searched --teacher FILE --data NAME --name cifar10-resnet20 RUN RUN

A search pushes what it ranks by to its limits, so a ranking that is right on average may be wrong
for what a search finds (benchmarks.proxies has students that no search has chosen). Of all
candidates in the ledgers of these runs some are drawn, one from each equal part of them by their
activations, and trained for `--epochs` epochs of search training, as a run-off does. Shown is what
the activations beside the brief accuracy are good for, by their weight
(`hwn2n.search.reward.expected_accuracy`). All accuracies are of validation images. Networks that
the results file has are not trained again.
"""

from __future__ import annotations

import random
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.rankings import with_interval
from benchmarks.runs import RESULTS, public_name
from benchmarks.study import Study, known_rows, open_study, study_parser, write_study
from hwn2n.network.decision import NOTHING, Decision
from hwn2n.run.folder import RunFolder
from hwn2n.run.ledger import Ledger
from hwn2n.search.reward import expected_accuracy
from hwn2n.search.rounds import ANCHOR
from hwn2n.search.runoff import STAGE as RUNOFF

WEIGHTS = (0.0, 0.1, 0.25, 0.5, 1.0)
"""Of the activations beside the accuracy."""

FIRST = 5
"""Of so many that are ranked highest the longer accuracies are shown."""


def main() -> None:
    """Train what is not trained yet, print the table and write it down."""
    parser = study_parser(__doc__.split("\n")[0])
    parser.add_argument("found", type=Path, nargs="+", metavar="RUN", help="folders of runs")
    parser.add_argument("--each", type=int, default=16, help="candidates to draw")
    parser.add_argument("--epochs", type=int, default=4, help="of the longer trainings")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    path = RESULTS / f"searched-{options.name}.json"
    rows = known_rows(path)
    known = [Decision.from_json(row["decision"]) for row in rows]
    study = open_study(options, {"device": options.device})
    school = study.school({})
    for brief, decision in drawn(study, options.found, options.each):
        if decision in known:
            continue
        started = time.perf_counter()
        student = school.student(study.planner.plan(decision), decision, seed=0)
        longer = school.train_briefly(student, seed=0, epochs=options.epochs).top1
        rows.append(
            {
                "decision": decision.to_json(),
                "brief": brief,
                "longer": longer,
                "activations": activations(study, decision),
                "seconds": round(time.perf_counter() - started, 2),
            }
        )
        print(rows[-1], file=sys.stderr, flush=True)
    text = table(rows)
    command = (
        f"python -m benchmarks.searched --teacher FILE --data {public_name(options.data)} "
        f"--name {options.name} --each {options.each} --epochs {options.epochs} RUN..."
    )
    runs = [folder.name for folder in options.found]
    write_study(path, rows, study, command=command, table=text, runs=runs, epochs=options.epochs)
    print(text)


def activations(study: Study, decision: Decision) -> float:
    """Of the student, as a share of the teacher's."""
    whole = study.planner.count(NOTHING).elements
    return study.planner.count(decision).elements / whole


def drawn(study: Study, runs: Sequence[Path], wanted: int) -> Iterator[tuple[float, Decision]]:
    """(brief accuracy, decision) of candidates of these runs, from few activations to many."""
    found: dict[str, tuple[float, Decision]] = {}
    for folder in runs:
        ledger = Ledger(RunFolder(folder).ledger)
        for row in ledger.candidates():
            if row.stage not in (ANCHOR.stage, RUNOFF) and row.accuracy is not None and row.key:
                found.setdefault(row.key, (row.accuracy, Decision.from_json(row.decision)))
        ledger.close()
    ranked = sorted(found.values(), key=lambda one: activations(study, one[1]))
    generator = random.Random(0)
    for part in range(wanted):
        yield ranked[int((part + generator.random()) * len(ranked) / wanted)]


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Markdown: a line for each weight of the activations."""
    lines = [
        "| weight of the activations | candidates | tau (95 % interval) "
        f"| longer training of the {FIRST} ranked highest: mean | best |",
        "|" + "---|" * 5,
    ]
    for weight in WEIGHTS:
        promised = [expected_accuracy(r["brief"], r["activations"], weight) for r in rows]
        longer = [r["longer"] for r in rows]
        pairs = [(0.0, a, b) for a, b in zip(promised, longer, strict=True)]
        first = sorted(range(len(rows)), key=lambda i: -promised[i])[:FIRST]
        best = [100 * longer[i] for i in first]
        lines.append(
            f"| {weight:g} | {len(rows)} | {with_interval(pairs, within=False)} "
            f"| {statistics.mean(best):.2f} % | {max(best):.2f} % |"
        )
    lines.append(
        f"| all of them | {len(rows)} | | {100 * statistics.mean(longer):.2f} % "
        f"| {100 * max(longer):.2f} % |"
    )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
