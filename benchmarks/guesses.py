"""How well does a search guess which networks are worth a training? Tau by how many it has seen.

    python -m benchmarks.guesses --teacher FILE --data NAME --name digits-resnet20 --sizes 0.02

At each size (`--sizes`, shares of the teacher's parameters or FLOPs, `--column`) students that no
search has chosen, as benchmarks/proxies.py draws them, are trained as `recipe: fast` trains
candidates. Then, many times over, the predictor of `hwn2n.search.predictor` is fitted on some of
them, drawn at random, and ranks all others. Beside it stand what it guesses without the size's
slope and without knowing which layers are gone, and what needs no fit: to rank them by their
activations. Networks that the results file has are not trained again.
"""

from __future__ import annotations

import random
import statistics
import sys
import time

import torch
from scipy.stats import kendalltau

from benchmarks.runs import RESULTS, public_name
from benchmarks.study import Study, candidates, known_rows, open_study, study_parser, write_study
from hwn2n.network.counts import count
from hwn2n.network.decision import NOTHING, Decision
from hwn2n.run.candidate import Candidate, State
from hwn2n.search.predictor import SIZE_SLOPE, AccuracyPredictor
from hwn2n.search.recipes import build_settings
from hwn2n.search.reward import expected_accuracy

SEEN = (10, 15, 20, 30, 60, 100)
"""So many trained networks the predictor is fitted on."""

DRAWS = 20
"""So often they are drawn anew."""

PROMISING = 10
"""Of so many of the most promising the mean rank is shown."""


def main() -> None:
    """Train what is not trained yet, then guess, print the table and write it down."""
    parser = study_parser(__doc__.split("\n")[0], sizes=[0.02])
    parser.add_argument("--column", choices=("params", "flops"), default="params", help="of sizes")
    parser.add_argument("--each", type=int, default=150, help="candidates of each size")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    path = RESULTS / f"guesses-{options.name}.json"
    rows = known_rows(path)
    known = {(row["size"], row["candidate"]) for row in rows}
    study = open_study(options, {"device": options.device})
    school = study.school({})
    chosen = list(candidates(study.planner, options.sizes, options.each, options.column))
    for number, size, decision in chosen:
        if (size, number) in known:
            continue
        started = time.perf_counter()
        student = school.student(study.planner.plan(decision), decision, seed=0)
        accuracy = school.train_briefly(student, seed=0).top1
        seconds = round(time.perf_counter() - started, 2)
        rows.append({"candidate": number, "size": size, "accuracy": accuracy, "seconds": seconds})
        print(rows[-1], file=sys.stderr, flush=True)
    lines = [
        "| size | networks | trained | tau of the guesses (least to most) "
        f"| rank of the {PROMISING} most promising | tau by counts and widths only "
        "| tau of activations alone |",
        "|" + "---|" * 7,
    ]
    for size in options.sizes:
        decisions = {number: d for number, s, d in chosen if s == size}
        accuracies = {r["candidate"]: r["accuracy"] for r in rows if r["size"] == size}
        lines += _lines(study, size, decisions, accuracies)
    table = "\n".join(lines)
    command = (
        f"python -m benchmarks.guesses --teacher FILE --data {public_name(options.data)} "
        f"--name {options.name} --column {options.column} "
        f"--sizes {' '.join(map(str, options.sizes))} --each {options.each}"
    )
    write_study(path, rows, study, command=command, table=table, column=options.column)
    print(table)


def _lines(
    study: Study, size: float, decisions: dict[int, Decision], accuracies: dict[int, float]
) -> list[str]:
    """A line of the table for each number of trained networks."""
    planner, settings = study.planner, build_settings("fast")
    whole = planner.count(NOTHING).elements
    counts = {n: count(planner.plan(d)) for n, d in decisions.items()}
    shares = {n: c.elements / whole for n, c in counts.items()}
    worth = {
        n: expected_accuracy(accuracies[n], shares[n], settings.activations_weight)
        for n in decisions
    }
    rows = {n: _row(n, d, accuracies[n], worth[n]) for n, d in decisions.items()}
    numbers, lines = sorted(decisions), []
    for seen in (n for n in SEEN if n <= len(numbers) // 2):
        taus, ranks, blind, alone = [], [], [], []
        for draw in range(DRAWS):
            trained = random.Random(draw).sample(numbers, seen)
            others = [n for n in numbers if n not in set(trained)]
            predictor = AccuracyPredictor(planner, settings.granularity)
            predictor.fit([rows[n] for n in trained], SIZE_SLOPE)
            guesses = predictor.expected([(decisions[n], counts[n]) for n in others])
            truth = [worth[n] for n in others]
            counted = AccuracyPredictor(planner)
            counted.removable = []
            counted.fit([rows[n] for n in trained])
            less = counted.expected([(decisions[n], counts[n]) for n in others])
            blind.append(float(kendalltau(less, truth).statistic))
            taus.append(float(kendalltau(guesses, truth).statistic))
            alone.append(float(kendalltau([shares[n] for n in others], truth).statistic))
            best = sorted(range(len(others)), key=lambda i: -guesses[i])[:PROMISING]
            ranks.append(
                statistics.mean(sum(other < truth[i] for other in truth) / len(truth) for i in best)
            )
        lines.append(
            f"| {size:.0%} | {len(numbers)} | {seen} | {statistics.mean(taus):.2f} "
            f"({min(taus):.2f} to {max(taus):.2f}) | above {statistics.mean(ranks):.0%} of all "
            f"| {statistics.mean(blind):.2f} | {statistics.mean(alone):.2f} |"
        )
    return lines


def _row(number: int, decision: Decision, accuracy: float, expected: float) -> Candidate:
    """The network as a search would have it in its ledger."""
    return Candidate(
        stage="study",
        iteration=0,
        rollout=number,
        state=State.TRAINED,
        key=str(number),
        actions=(),
        decision=decision.to_json(),
        cost={},
        accuracy=accuracy,
        reward=0.0,
        terms={"expected": expected},
        satisfied=True,
    )


if __name__ == "__main__":
    main()
