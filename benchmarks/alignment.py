"""Which widths does a target like, and what is a search that knows worth?

    python -m benchmarks.alignment --teacher FILE --data NAME --name NAME RUN...

The teacher with every group narrower by 0 to 8 channels, in each of the runtimes, `--repeats` times
in turns with the teacher itself, and the step that a search would take there. Then the students of
the runs, which are those of searches with other steps: `hwn2n compress ... --set round_to=4`.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.runs import RESULTS, public_name
from benchmarks.study import Study, open_study, study_parser, write_study
from hwn2n.budget.load import load_budget
from hwn2n.hardware.target import Target
from hwn2n.hardware.targets import build_target
from hwn2n.network.decision import NOTHING, Decision
from hwn2n.run.folder import RunFolder, read_json
from hwn2n.search.alignment import Alignment, short_readings
from hwn2n.search.fitting.projection import free_widths

COLUMN = "latency_p50"
NARROWER = (0, 1, 2, 4, 8)


def main() -> None:
    """Measure, read the runs, print the tables and write them down."""
    parser = study_parser(__doc__.split("\n")[0])
    parser.add_argument("runs", type=Path, nargs="*", metavar="RUN", help="folders of runs")
    parser.add_argument("--runtimes", nargs="*", default=["onnxruntime", "eager"])
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    study = open_study(options, {"device": options.device})
    rows = [
        row
        for runtime in options.runtimes
        for row in narrowed(study, target_of(options.device, runtime), runtime, options.repeats)
    ]
    students = [of_run(folder) for folder in options.runs]
    command = (
        f"python -m benchmarks.alignment --teacher FILE --data {public_name(options.data)} "
        f"--name {options.name} RUN..."
    )
    shown = "\n\n".join([table(rows), *([students_table(students)] if students else [])])
    path = RESULTS / f"alignment-{options.name}.json"
    write_study(path, rows, study, command=command, table=shown, students=students)
    print(shown)


def target_of(device: str, runtime: str) -> Target:
    """One thread of the device in this runtime."""
    row = {"metric": "latency", "stat": "p50", "max": "35%"}
    target = {"device": device, "runtime": runtime, "threads": 1}
    budget = {"apiVersion": "hwn2n/v1", "name": "time", "target": target, "constraints": [row]}
    return build_target(load_budget(budget).target)


def narrowed(study: Study, target: Target, runtime: str, repeats: int) -> list[dict[str, Any]]:
    """Of each narrower teacher its share of the FLOPs, and its shares of the time as they came."""
    school, planner = study.school({}), study.planner
    groups, _ = free_widths(planner, NOTHING)
    measure = short_readings(planner, school, target, COLUMN)
    asked = Alignment(
        planner=planner, column=COLUMN, floor=1, measure=measure, headroom=lambda *_: 0.0
    )
    step, whole, rows = asked.step(), planner.count(NOTHING).flops, []
    for less in NARROWER:
        widths = {n: max(1, g.units - less) * g.step for n, g in groups.items()}
        shares = []
        for _ in range(repeats):
            found = measure(Decision(widths=widths))
            shares.append(found.cost[COLUMN].value / found.teacher[COLUMN].value)
        flops = planner.count(Decision(widths=widths)).flops / whole
        row = {"runtime": runtime, "narrower": less, "flops": flops, "shares": shares}
        rows.append({**row, "step": step})
    return rows


def of_run(folder: Path) -> dict[str, Any]:
    """The step, the seed and the student of a finished run."""
    result = read_json(RunFolder(folder).result)
    settings = read_json(RunFolder(folder).config)["settings"]
    kept = RunFolder(folder).alignment
    step = read_json(kept)["round_to"] if kept.exists() else settings["round_to"]
    student, whole = result["student"], result["teacher"]["cost"]
    cost = student["cost"]
    return {
        "round_to": step,
        "strategy": settings["strategy"],
        "seed": settings["seed"],
        "params": int(cost["params"]["value"]),
        "flops": int(cost["flops"]["value"]),
        "latency": cost[COLUMN]["value"] / whole[COLUMN]["value"],
        "test_accuracy": student["test_accuracy"],
    }


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Markdown: a line for each runtime and width."""
    lines = [
        "| runtime | channels less in every layer | FLOPs | of the teacher's latency "
        "(median, min to max) | step that a search takes |",
        "|" + "---|" * 5,
    ]
    for row in rows:
        shares = row["shares"]
        lines.append(
            f"| {row['runtime']} | {row['narrower']} | {row['flops']:.0%} "
            f"| {statistics.median(shares):.0%} ({min(shares):.0%} to {max(shares):.0%}) "
            f"| {row['step']} |"
        )
    return "\n".join(lines)


def students_table(students: Sequence[dict[str, Any]]) -> str:
    """Markdown: a line for each run, the finest steps first."""
    lines = [
        "| widths are multiples of | strategy | seed | params | FLOPs | of the teacher's latency "
        "| test accuracy |",
        "|" + "---|" * 7,
    ]
    for row in sorted(students, key=lambda r: (r["round_to"], r["strategy"], r["seed"])):
        lines.append(
            f"| {row['round_to']} | {row['strategy']} | {row['seed']} | {row['params']:,} "
            f"| {row['flops']:,} | {row['latency']:.1%} | {row['test_accuracy']:.2%} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
