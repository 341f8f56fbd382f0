"""Does a measured budget steer the search? Mean measured values of the last candidates.

    python -m benchmarks.steering

One teacher (ResNet-20 on 8x8 digits), `recipe: fast`, and for each seed:

- latency and params: a budget on the CPU of this machine, one thread;
- power: a budget on `power_avg` of a board with a fake sensor (`fake_board.py`, which says what is
  real about it).

Each is run by the policies, by evolution and by uniform random actions, and once more by the
policies with limits so wide that they never bind, which is the unconstrained search with the same
measurements. What is shown is the mean over the candidates of the last updates, as a share of what
the teacher took beside each, and the student that came out, measured again beside its teacher.
Each case has a file of results of its own.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

import hwn2n
from benchmarks.fake_board import FakeBoard
from benchmarks.provenance import made_here
from benchmarks.runs import RESULTS, slug
from hwn2n.budget.target_schema import TargetModel
from hwn2n.budget.units import format_quantity
from hwn2n.errors import BudgetNotMetError, InconclusiveError
from hwn2n.hardware.local_target import LocalTarget
from hwn2n.hardware.measurement import Duration, Effort
from hwn2n.run.folder import read_json, write_json
from hwn2n.run.ledger import Ledger
from hwn2n.run.progress import PlainLines

LAST_UPDATES = 3
UPDATES = 10
WIDE = "1000%"

CASES: dict[str, dict[str, str]] = {
    "latency and params": {"params": "40%", "latency_p50": "35%"},
    "power": {"power_avg": "30%"},
}
"""Limits, all of the teacher. A wide limit does not bind, but makes the search measure."""

DURATIONS: dict[Effort, Duration] = {
    "quick": Duration(clock=0.1, warmup=0.03, power=0.3, idle=0.5),
    "full": Duration(clock=2.0, warmup=0.5, power=10.0, idle=5.0),
}
"""The search's readings are short: a thousand of them are taken here."""

WAYS: dict[str, str] = {
    "policies": "policies",
    "evolution": "evolution",
    "random actions": "random",
    "unconstrained": "policies",
}
"""Strategies by what they are called here."""


def main() -> None:
    """Run what is not done yet, then print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--cases", nargs="*", default=list(CASES))
    parser.add_argument("--runs", type=Path, default=Path("runs/benchmarks/steering"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.runs.mkdir(parents=True, exist_ok=True)
    teacher = options.runs / "teacher.pt"
    if not teacher.exists():
        hwn2n.teach("resnet20", data="digits", validation=0.3, out=teacher)
    for case in options.cases:
        rows = []
        for seed in options.seeds:
            for way in WAYS:
                folder = options.runs / f"{slug(case)}-{slug(way)}-{seed}"
                _run(teacher, case, way, seed, folder)
                rows.append(_row(case, way, seed, folder))
                print(rows[-1], file=sys.stderr, flush=True)
        _publish(case, options.seeds, rows)


def _publish(case: str, seeds: list[int], rows: list[dict[str, Any]]) -> None:
    shown = table(rows)
    named = f"'{case}'" if " " in case else case
    write_json(
        RESULTS / f"steering-{slug(case)}.json",
        {
            "command": f"python -m benchmarks.steering --cases {named} --seeds "
            + " ".join(map(str, seeds)),
            "limits": CASES[case],
            "updates": UPDATES,
            "last_updates": LAST_UPDATES,
            **made_here(),
            "rows": rows,
            "table": shown,
        },
    )
    print(shown)


def _run(teacher: Path, case: str, way: str, seed: int, folder: Path) -> None:
    if (folder / "result.json").exists():
        return
    limits = {name: WIDE if way == "unconstrained" else text for name, text in CASES[case].items()}
    with tempfile.TemporaryDirectory() as scratch:
        if case == "power":
            flops = hwn2n.profile(teacher, columns=["flops"]).cost["flops"].value
            target: Any = FakeBoard(Path(scratch), flops, DURATIONS)
        else:
            target = LocalTarget(TargetModel(device="cpu", threads=1), durations=DURATIONS)
        try:
            hwn2n.compress(
                teacher,
                budget={
                    "apiVersion": "hwn2n/v1",
                    "name": slug(case),
                    "constraints": [_constraint(name, text) for name, text in limits.items()],
                },
                data="digits",
                out=folder,
                target=target,
                overrides={
                    "seed": seed,
                    "strategy": WAYS[way],
                    "removal.updates": UPDATES,
                    "shrinkage.updates": UPDATES,
                },
                reporter=PlainLines(sys.stderr, every=30),
            )
        except (BudgetNotMetError, InconclusiveError) as error:
            print(f"{folder.name}: {error}", file=sys.stderr)
            if not (folder / "result.json").exists():
                write_json(folder / "result.json", {"verdict": "none found"})


def _constraint(column: str, limit: str) -> dict[str, str]:
    metric, _, stat = column.partition("_")
    return {"metric": metric, "max": limit} | ({"stat": stat} if stat else {})


def _row(case: str, way: str, seed: int, folder: Path) -> dict[str, Any]:
    result = read_json(folder / "result.json")
    teacher = read_json(folder / "teacher.json")
    ledger = Ledger(folder / "ledger.sqlite")
    candidates = ledger.candidates()
    ledger.close()
    stage = candidates[-1].stage
    end = candidates[-1].iteration
    last = [c for c in candidates if c.stage == stage and c.iteration > end - LAST_UPDATES]
    values: dict[str, Any] = {}
    for name in CASES[case]:
        known = [
            c.cost[name]["value"] / c.teacher.get(name, teacher[name])["value"]
            for c in last
            if name in c.cost
        ]
        values[name] = {
            "teacher": teacher[name]["value"],
            "mean_of_last": statistics.mean(known),
            "known": len(known),
            "student": result["student"]["cost"][name] if "student" in result else None,
            "beside_it": result["teacher"]["cost"][name] if "teacher" in result else None,
        }
    return {
        "case": case,
        "way": way,
        "seed": seed,
        "values": values,
        "last": len(last),
        "inside": sum(c.satisfied for c in last) / len(last),
        "verdict": result["verdict"],
        "test_accuracy": result["student"]["test_accuracy"] if "student" in result else None,
        "seconds": result.get("seconds"),
    }


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown: one line for each case, way and column; means over the seeds and their spread."""
    lines = [
        "| budget | search | column | limit | mean of the last candidates | of them inside "
        "| student, measured again | verdicts | test accuracy |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for case, limits in CASES.items():
        for way in WAYS:
            mine = [row for row in rows if (row["case"], row["way"]) == (case, way)]
            for name, limit in limits.items() if mine else ():
                means = [row["values"][name]["mean_of_last"] for row in mine]
                again = [_again(name, row["values"][name]) for row in mine]
                tests = [row["test_accuracy"] for row in mine if row["test_accuracy"] is not None]
                cells = [
                    case,
                    way,
                    name.replace("_", " "),
                    "none" if way == "unconstrained" else limit,
                    f"{statistics.mean(means):.0%} ({min(means):.0%} to {max(means):.0%})",
                    f"{statistics.mean(row['inside'] for row in mine):.0%}",
                    ", ".join(text for text in again if text),
                    ", ".join(row["verdict"] for row in mine),
                    ", ".join(f"{value:.2%}" for value in tests),
                ]
                lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _again(name: str, values: dict[str, Any]) -> str:
    """The student's value and its share of the teacher's, both read after the training."""
    student, teacher = values["student"], values["beside_it"]
    if student is None:
        return ""
    share = student["value"] / teacher["value"]
    return f"{format_quantity(student['value'], name)} ({share:.0%})"


if __name__ == "__main__":
    main()
