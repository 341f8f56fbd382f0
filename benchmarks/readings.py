"""How much do a search's readings of one network scatter, taken beside its teacher?

    python -m benchmarks.readings --teacher FILE --data NAME --name NAME RUN

The networks that competed in the run-off of RUN, whose budget limits the latency, are measured on
its target again and again, as a search does it (short readings, and full ones), each time in turns
with the teacher. Weights are inherited, so a reading is of the untrained student.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import torch

from benchmarks.runs import RESULTS, public_name
from benchmarks.study import Study, open_study, study_parser, write_study
from hwn2n.budget.load import load_budget
from hwn2n.budget.matrix import Constraints
from hwn2n.hardware.measurement import Effort
from hwn2n.hardware.target import Target
from hwn2n.hardware.targets import build_target
from hwn2n.network.decision import Decision, name_of
from hwn2n.run.folder import RunFolder
from hwn2n.run.ledger import Ledger
from hwn2n.search.runoff import STAGE as RUNOFF
from hwn2n.search.school import School

COLUMN = "latency_p50"


def main() -> None:
    """Measure, print the table and write it down."""
    parser = study_parser(__doc__.split("\n")[0])
    parser.add_argument("found", type=Path, metavar="RUN", help="the folder of a run")
    parser.add_argument("--networks", type=int, default=4, help="so many of the run-off's")
    parser.add_argument("--quick", type=int, default=8, help="short readings of each")
    parser.add_argument("--full", type=int, default=3, help="full readings of each")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    study = open_study(options, {"device": options.device})
    target = build_target(load_budget(options.found / "budget.yaml").target)
    times: dict[Effort, int] = {"quick": options.quick, "full": options.full}
    school, rows = study.school({}), []
    for decision in competitors(options.found)[: options.networks]:
        rows.append(scatter(study, school, target, decision, times))
        print(rows[-1], file=sys.stderr, flush=True)
    command = (
        f"python -m benchmarks.readings --teacher FILE --data {public_name(options.data)} "
        f"--name {options.name} RUN"
    )
    path = RESULTS / f"readings-{options.name}.json"
    write_study(path, rows, study, command=command, table=table(rows), target=target.name)
    print(table(rows))


def competitors(folder: Path) -> list[Decision]:
    """The networks of the run-off, each once, in its order."""
    ledger = Ledger(RunFolder(folder).ledger)
    found = [Decision.from_json(c.decision) for c in ledger.candidates(RUNOFF)]
    ledger.close()
    return list({name_of(one.to_json()): one for one in found}.values())


def scatter(
    study: Study, school: School, target: Target, decision: Decision, times: dict[Effort, int]
) -> dict[str, Any]:
    """Of one network: its seconds and the teacher's, by effort, in the order of reading."""
    architecture = study.planner.plan(decision)
    student = school.student(architecture, decision, seed=0)
    row: dict[str, Any] = {"params": sum(p.numel() for p in student.parameters())}
    for effort in get_args(Effort):
        protocol = school.protocol(effort, Constraints(rows=()))
        started = time.perf_counter()
        read = [
            target.measure_beside(
                student, school.teacher, architecture.input_shape, [COLUMN], [COLUMN], protocol
            )
            for _ in range(times[effort])
        ]
        row[effort] = [(one.cost[COLUMN].value, one.teacher[COLUMN].value) for one in read]
        row[f"seconds_{effort}"] = round((time.perf_counter() - started) / max(1, len(read)), 2)
    return row


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Markdown: a line for each network and effort."""
    lines = [
        "| params | readings | of the teacher's latency (median, min to max) "
        "| the teacher beside, us (min to max) | s / reading |",
        "|" + "---|" * 5,
    ]
    for row in rows:
        for effort in get_args(Effort):
            shares = [100 * mine / whole for mine, whole in row[effort]]
            whole = [1e6 * value for _, value in row[effort]]
            if not shares:
                continue
            lines.append(
                f"| {row['params']:,} | {len(shares)} {'short' if effort == 'quick' else effort} "
                f"| {statistics.median(shares):.1f} % ({min(shares):.1f} to {max(shares):.1f}) "
                f"| {min(whole):,.0f} to {max(whole):,.0f} | {row[f'seconds_{effort}']:.1f} |"
            )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
