"""Do brief trainings rank what searches found, too? Kendall's tau against longer trainings.

    python -m benchmarks.searched --teacher FILE --data NAME --name cifar10-resnet20 RUN RUN

A search pushes what it ranks by to its limits, so a ranking that is right on average may be wrong
for what a search finds (benchmarks.proxies has students that no search has chosen). Of all
candidates in the ledgers of these runs some are drawn, one from each equal part of them by their
activations, and trained for `--epochs` epochs of search training, as a run-off does, and for
`--final-epochs` as the winner of a search is. Shown is what the activations beside the brief
accuracy are good for, by their weight (`hwn2n.search.reward.expected_accuracy`). All accuracies
are of validation images. Networks that the results file has are not trained again.
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

from benchmarks.ledgers import briefly_trained, candidates_of
from benchmarks.rankings import with_interval
from benchmarks.runs import RESULTS, public_name
from benchmarks.study import Study, known_rows, open_study, study_parser, write_study
from hwn2n.network.decision import NOTHING, Decision, name_of
from hwn2n.search.proposals import ANCHOR
from hwn2n.search.reward import expected_accuracy
from hwn2n.search.school import School

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
    parser.add_argument("--final-epochs", type=int, default=5, help="of the final trainings")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    path = RESULTS / f"searched-{options.name}.json"
    rows = known_rows(path)
    known = {name_of(row["decision"]): row for row in rows}
    study = open_study(options, {"device": options.device})
    school = study.school({"final.epochs": options.final_epochs})
    command = (
        f"python -m benchmarks.searched --teacher FILE --data {public_name(options.data)} "
        f"--name {options.name} --each {options.each} --epochs {options.epochs} "
        f"--final-epochs {options.final_epochs} RUN..."
    )
    more = {
        "runs": [folder.name for folder in options.found],
        "epochs": options.epochs,
        "final_epochs": options.final_epochs,
    }
    for brief, decision in drawn(study, options.found, options.each):
        row: dict[str, Any] = {
            "decision": decision.to_json(),
            "brief": brief,
            "activations": activations(study, decision),
        }
        found = known.get(name_of(row["decision"]))
        if found is None:
            rows.append(found := row)
        if not trained(study, school, found, options.epochs):
            continue
        print(found, file=sys.stderr, flush=True)
        whole = [one for one in rows if "final" in one]
        write_study(path, rows, study, command=command, table=table(whole), **more)
    print(table(rows))


def trained(study: Study, school: School, row: dict[str, Any], epochs: int) -> bool:
    """Whether the row, which has the accuracies of both trainings now, had not before."""
    decision = Decision.from_json(row["decision"])
    plan = study.planner.plan(decision)
    before = len(row)
    if "longer" not in row:
        started = time.perf_counter()
        student = school.student(plan, decision, seed=0)
        row["longer"] = school.train_briefly(student, seed=0, epochs=epochs).top1
        row["seconds"] = round(time.perf_counter() - started, 2)
    if "final" not in row:
        started = time.perf_counter()
        student = school.student(plan, decision, seed=0)
        school.train_fully(student, seed=0)
        row["final"] = school.score(student).top1
        row["final_seconds"] = round(time.perf_counter() - started, 2)
    return len(row) > before


def activations(study: Study, decision: Decision) -> float:
    """Of the student, as a share of the teacher's."""
    whole = study.planner.count(NOTHING).elements
    return study.planner.count(decision).elements / whole


def drawn(study: Study, runs: Sequence[Path], wanted: int) -> Iterator[tuple[float, Decision]]:
    """(brief accuracy, decision) of candidates of these runs, from few activations to many."""
    found: dict[str, tuple[float, Decision]] = {}
    for folder in runs:
        for row in briefly_trained(candidates_of(folder)):
            if row.stage != ANCHOR.stage and row.accuracy is not None and row.key:
                found.setdefault(row.key, (row.accuracy, Decision.from_json(row.decision)))
    ranked = sorted(found.values(), key=lambda one: activations(study, one[1]))
    generator = random.Random(0)
    for part in range(wanted):
        yield ranked[int((part + generator.random()) * len(ranked) / wanted)]


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Markdown: a line for each weight of the activations, and one for the longer training."""
    lines = [
        "| ranked by | candidates | tau with the longer training (95 % interval) "
        "| tau with the final training (95 % interval) "
        f"| final training of the {FIRST} ranked highest: mean | best |",
        "|" + "---|" * 6,
    ]
    rankings = {
        f"brief training, activations weighed {weight:g}": [
            expected_accuracy(r["brief"], r["activations"], weight) for r in rows
        ]
        for weight in WEIGHTS
    }
    rankings["longer training"] = [r["longer"] for r in rows]
    rankings["activations alone"] = [r["activations"] for r in rows]
    for name, promised in rankings.items():
        taus = [
            "" if name.startswith(truth) else with_interval(
                [(0.0, a, r[truth]) for a, r in zip(promised, rows, strict=True)], within=False
            )
            for truth in ("longer", "final")
        ]  # fmt: skip
        first = sorted(range(len(rows)), key=lambda i: -promised[i])[:FIRST]
        ends = [100 * rows[i]["final"] for i in first]
        lines.append(
            f"| {name} | {len(rows)} | {' | '.join(taus)} "
            f"| {statistics.mean(ends):.2f} % | {max(ends):.2f} % |"
        )
    ends = [100 * r["final"] for r in rows]
    lines.append(
        f"| all of them | {len(rows)} | | | {statistics.mean(ends):.2f} % | {max(ends):.2f} % |"
    )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
