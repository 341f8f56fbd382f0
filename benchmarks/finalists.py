"""Does a run-off choose the network that ends best? All that ran for it are trained to the end.

    python -m benchmarks.finalists --teacher FILE --data NAME --name digits-resnet20 RUN RUN...

A run-off (`hwn2n.search.runoff`) trains the best candidates of a search longer, and only its winner
gets the final training. Here all of them get it, with the settings of their run, and are compared
by validation accuracy as the search compares them: how do the brief training, the run-off, and
these with the depth or the activations beside them (`hwn2n.search.reward.expected_accuracy`) rank
them, where does the first choice of each end, and where would the best of its first two have ended?
Networks that the results file has are not trained again, nor are winners; without runs only the
table is made anew.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.ledgers import brief_accuracies, candidates_of, run_name
from benchmarks.rankings import with_interval
from benchmarks.runs import RESULTS, public_name
from benchmarks.searched import activations
from benchmarks.study import Study, known_rows, open_study, study_parser, write_study
from hwn2n.network.decision import Decision, name_of
from hwn2n.run.folder import RunFolder, read_json
from hwn2n.search.finish import FINAL
from hwn2n.search.reward import expected_accuracy
from hwn2n.search.runoff import STAGE as RUNOFF
from hwn2n.search.school import School
from hwn2n.search.seeds import derive_seed
from hwn2n.search.settings import settings_from_json

WEIGHTS = (0.1, 0.25, 0.5)
"""Of the activations beside an accuracy."""

DEPTH_WEIGHTS = (0.1, 0.2, 0.3, 0.5)
"""Of the depth."""

Ranking = Callable[[dict[str, Any]], float]


def main() -> None:
    """Train what is not trained yet, print the table and write it down."""
    parser = study_parser(__doc__.split("\n")[0])
    parser.add_argument("found", type=Path, nargs="*", metavar="RUN", help="folders of runs")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    path = RESULTS / f"finalists-{options.name}.json"
    rows = known_rows(path)
    study = open_study(options, {"device": options.device})
    command = (
        f"python -m benchmarks.finalists --teacher FILE --data {public_name(options.data)} "
        f"--name {options.name} RUN..."
    )
    known = {(row["run"], row["key"]) for row in rows}
    for folder in options.found:
        settings = settings_from_json(read_json(RunFolder(folder).config)["settings"])
        school = study.school({}, recipe=settings)
        for row in finalists(folder):
            if (row["run"], row["key"]) in known:
                continue
            known.add((row["run"], row["key"]))
            rows.append(ended(study, school, settings.seed, row))
            print(rows[-1], file=sys.stderr, flush=True)
            write_study(path, rows, study, command=command, table=table(rows, study))
    write_study(path, rows, study, command=command, table=table(rows, study))
    print(table(rows, study))


def finalists(folder: Path) -> list[dict[str, Any]]:
    """What the ledger of a run has of each network of its run-off, and where the winner ended."""
    run = RunFolder(folder)
    candidates = candidates_of(folder)
    brief = brief_accuracies(candidates)
    winner = read_json(run.choice)["candidate"]
    student = read_json(run.result)["student"]
    whole = not student.get("narrowed")  # else what was trained is another network
    return [
        {
            "run": run_name(folder),
            "key": one.key,
            "decision": one.decision,
            "brief": brief[name_of(one.decision)],
            "runoff": one.accuracy,
            "final": student["validation_accuracy"] if one.id == winner and whole else None,
        }
        for one in candidates
        if one.stage == RUNOFF and one.accuracy is not None and one.satisfied
    ]


def ended(study: Study, school: School, seed: int, row: dict[str, Any]) -> dict[str, Any]:
    """The row with what the final training of its run, of this seed, makes of the network."""
    decision = Decision.from_json(row["decision"])
    shown = {
        **row,
        "activations": activations(study, decision),
        "flops": study.planner.count(decision).flops,
    }
    if row["final"] is not None:
        return shown
    started = time.perf_counter()
    own = derive_seed(seed, FINAL, row["key"])
    student = school.student(study.planner.plan(decision), decision, seed=own)
    school.train_fully(student, seed=own)
    seconds = round(time.perf_counter() - started, 2)
    return {**shown, "final": school.score(student).top1, "seconds": seconds}


def table(rows: Sequence[dict[str, Any]], study: Study) -> str:
    """Markdown: a line for each way to rank the networks of a run-off."""
    whole = study.planner.depth()
    deep = {r["key"]: study.planner.depth(r["decision"]["removed"]) / whole for r in rows}
    rankings: dict[str, Ranking] = {}
    for name, column in (("brief training", "brief"), ("run-off", "runoff")):
        rankings[name] = lambda r, column=column: float(r[column])
        for weight in DEPTH_WEIGHTS:
            rankings[f"{name}, depth weighed {weight:g}"] = lambda r, column=column, w=weight: (
                expected_accuracy(r[column], deep[r["key"]], w)
            )
    for weight in WEIGHTS:
        rankings[f"run-off, activations weighed {weight:g}"] = lambda r, w=weight: (
            expected_accuracy(r["runoff"], r["activations"], w)
        )
    rankings["activations alone"] = lambda r: float(r["activations"])
    names = [r["run"] for r in rows]
    runs = {name: [r for r in rows if r["run"] == name] for name in dict.fromkeys(names)}
    lines = [
        "| ranked by | runs | networks | tau within runs (95 % interval) "
        "| first choice ends at | best of the first two |",
        "|" + "---|" * 6,
    ]
    for name, rank in rankings.items():
        pairs = [(r["run"], rank(r), r["final"]) for r in rows]
        chosen = [sorted(mine, key=lambda r: -rank(r)) for mine in runs.values()]
        first = statistics.mean(mine[0]["final"] for mine in chosen)
        two = statistics.mean(max(r["final"] for r in mine[:2]) for mine in chosen)
        lines.append(
            f"| {name} | {len(runs)} | {len(rows)} | {with_interval(pairs, within=True)} "
            f"| {100 * first:.2f} % | {100 * two:.2f} % |"
        )
    mean = statistics.mean(statistics.mean(r["final"] for r in mine) for mine in runs.values())
    best = statistics.mean(max(r["final"] for r in mine) for mine in runs.values())
    lines.append(
        f"| all of a run, on average | {len(runs)} | {len(rows)} | | {100 * mean:.2f} % | |"
    )
    lines.append(f"| the best of a run | {len(runs)} | {len(rows)} | | {100 * best:.2f} % | |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
