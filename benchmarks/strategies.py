"""Which strategy finds the best student at equal evaluations? Best-at-N curves and final tests.

    python -m benchmarks.strategies --case mnist-0.2% --teacher FILE --data-root FOLDER

Each strategy is run with the same teacher, budget, evaluations, seeds, search training and final
training; `uniform width` evaluates one network, and `uniform width, new weights` trains that one
from fresh weights by the same distillation. With `--rivals` those of benchmarks/rivals follow,
under the same budget, final training and test. Resumable: what is complete is not run again, nor
are the rows of a result file that is published already.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from bisect import bisect_right
from pathlib import Path
from typing import Any

import torch

from benchmarks.cases import CASES, numbers
from benchmarks.contenders import STRATEGIES
from benchmarks.earlier import earlier_rows, joined
from benchmarks.rivals.run import RIVALS, run_rivals
from benchmarks.rivals.run import collect as collect_rivals
from benchmarks.runs import (
    RESULTS,
    Experiment,
    collect,
    public_name,
    publish,
    run_all,
    table,
)
from hwn2n.network.files import load_teacher
from hwn2n.run.progress import PlainLines
from hwn2n.run.provenance import digest
from hwn2n.search.recipes import build_settings
from hwn2n.search.settings import settings_to_json

TRAINING = ("train", "final", "final_lambda", "recalibrate_images", "validation_images")
"""The settings that say how a network is trained and scored, whoever found it."""

AT = (10, 20, 30, 50, 100)
"""Evaluations at which the best search accuracy so far is shown."""

SHARES = (0.25, 0.5, 1.0)
"""Of the seconds that the quickest search takes for its candidates: the same for all."""


def main() -> None:
    """Run what is not done yet, then print and write the tables."""
    options = _parser().parse_args()
    torch.set_num_threads(options.threads)
    case = CASES[options.case]
    # seconds of a GPU are no match for those of a CPU, and its trainings differ a little
    on = "" if options.device == "cpu" else f"-{torch.device(options.device).type}"
    name = options.case.replace("%", "") + on
    folder = options.runs / name
    folder.mkdir(parents=True, exist_ok=True)
    experiment = Experiment(
        name=f"strategies-{name}",
        teacher=options.teacher,
        data=options.data or case.data,
        data_root=options.data_root,
        budget=str(case.budget_file(folder)),
        overrides={**case.overrides, **numbers(options.set)},
        device=options.device,
    )
    loaded = load_teacher(options.teacher)
    same = {
        "case": {"teacher": case.teacher, "limits": case.limits, "target": case.target},
        "teacher_weights": digest(loaded.model.state_dict()),
        "training": _training(experiment.overrides),
    }
    path = options.results / f"{experiment.name}.json"
    if not options.only_publish:
        done = {(row["strategy"], row["seed"]) for row in earlier_rows(path, same)}
        run_all(experiment, options.strategies, options.seeds, folder, done=done)
        for seed in options.seeds:
            run_rivals(
                teacher=options.teacher,
                data=experiment.data,
                data_root=experiment.data_root,
                budget=Path(str(experiment.budget)),
                rivals=[name for name in options.rivals if (name, seed) not in done],
                seeds=[seed],
                runs=folder,
                overrides={**experiment.overrides, "device": options.device},
                reporter=PlainLines(sys.stderr, every=30),
            )
    now = collect(list(STRATEGIES), options.seeds, folder)
    now += [rivals_row(row) for row in collect_rivals(list(RIVALS), options.seeds, folder)]
    # read again: another process may have published its seeds meanwhile
    rows = joined(now, earlier_rows(path, same), [*STRATEGIES, *RIVALS])
    if not rows:
        print("no run is complete yet")
        return
    extra = {
        **same,
        "teacher": {
            "params": sum(p.numel() for p in loaded.model.parameters()),
            **loaded.metadata,
        },
        "threads": options.threads,
        "table": f"{table(rows)}\n\n{curves(rows)}",
    }
    command = " ".join(
        [
            f"python -m benchmarks.strategies --case '{options.case}' --teacher FILE",
            f"--data {public_name(experiment.data)}",
            *(f"--set {text}" for text in options.set),
        ]
    )
    publish(experiment, rows, extra, path, command=command)
    print(extra["table"])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--case", required=True, choices=list(CASES))
    parser.add_argument("--teacher", type=Path, required=True, help="a teacher of the case's kind")
    parser.add_argument("--data", help="instead of the case's, such as imagefolder:PATH")
    parser.add_argument("--data-root")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2, 3, 4])
    parser.add_argument("--strategies", nargs="*", default=list(STRATEGIES))
    parser.add_argument("--rivals", nargs="*", default=[], choices=list(RIVALS))
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--runs", type=Path, default=Path("runs/benchmarks/strategies"))
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only-publish", action="store_true")
    return parser


def _training(overrides: dict[str, Any]) -> dict[str, Any]:
    """What all strategies have in common: how many candidates, and how they are trained."""
    settings = settings_to_json(build_settings("fast", overrides))
    stages = {name: settings[name] for name in ("removal", "shrinkage")}
    candidates = sum(stage["updates"] * stage["rollouts"] for stage in stages.values())
    return {"candidates": candidates, **{name: settings[name] for name in TRAINING}}


def rivals_row(row: dict[str, Any]) -> dict[str, Any]:
    """Of a rival's result what stands in a table, and what repeats it."""
    left_out = ("machine", "versions", "target", "cost", "teacher", "rows", "export_difference")
    kept = {name: value for name, value in row.items() if name not in left_out}
    # of a search they have nothing: a recipe that searches otherwise makes no other rival of them
    return {**kept, "settings": {name: row["settings"][name] for name in TRAINING}}


def curves(rows: list[dict[str, Any]]) -> str:
    """Markdown: the best search accuracy so far, after N evaluations and after so many seconds.

    In per cent of the validation images, the median over the seeds.
    """
    rows = [r for r in rows if len(r.get("best_search_accuracy_by_candidate", [])) >= AT[0]]
    longest = max((len(row["best_search_accuracy_by_candidate"]) for row in rows), default=0)
    counts = [n for n in AT if n <= longest]
    quickest = min((row["seconds_by_candidate"][-1] for row in rows), default=0.0)
    seconds = [share * quickest for share in SHARES if quickest]
    columns = [*(f"best of {n}" for n in counts), *(f"after {s:.0f} s" for s in seconds)]
    heads = ["strategy", *columns, "inside the budget"]
    lines = [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
    for strategy in dict.fromkeys(row["strategy"] for row in rows):
        mine = [row for row in rows if row["strategy"] == strategy]
        best = []
        for n in counts:
            known = [row["best_search_accuracy_by_candidate"] for row in mine]
            reached = [curve[n - 1] for curve in known if len(curve) >= n]
            best.append(f"{100 * statistics.median(reached):.2f}" if reached else "")
        for limit in seconds:
            reached = [_after(row, limit) for row in mine]
            best.append(f"{100 * statistics.median(reached):.2f}")
        inside = statistics.mean(row["feasible_share"] for row in mine)
        lines.append(f"| {' | '.join([strategy, *best, f'{inside:.0%}'])} |")
    return "\n".join(lines)


def _after(row: dict[str, Any], seconds: float) -> float:
    """The best search accuracy of the candidates that were done by then; 0 before the first."""
    done = bisect_right(row["seconds_by_candidate"], seconds)
    return float(row["best_search_accuracy_by_candidate"][done - 1]) if done else 0.0


if __name__ == "__main__":
    main()
