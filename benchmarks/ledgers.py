"""What benchmarks read of finished searches, without training anything."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.provenance import made_here
from benchmarks.runs import RESULTS
from hwn2n.network.architecture import Architecture
from hwn2n.network.decision import name_of
from hwn2n.network.planner import Planner
from hwn2n.run.candidate import Candidate
from hwn2n.run.folder import RunFolder, read_json, write_json
from hwn2n.run.ledger import Ledger
from hwn2n.search.runoff import STAGE as RUNOFF


def candidates_of(folder: Path) -> list[Candidate]:
    """All candidates of a run, in the order of its ledger."""
    ledger = Ledger(RunFolder(folder).ledger)
    candidates = ledger.candidates()
    ledger.close()
    return candidates


def briefly_trained(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Those with an accuracy of the brief training that every candidate has."""
    return [c for c in candidates if c.stage != RUNOFF and c.accuracy is not None]


def brief_accuracies(candidates: Sequence[Candidate]) -> dict[str, float]:
    """The first one of each network, by the name of its decision."""
    brief: dict[str, float] = {}
    for one in briefly_trained(candidates):
        assert one.accuracy is not None
        brief.setdefault(name_of(one.decision), one.accuracy)
    return brief


def run_name(folder: Path) -> str:
    """The case and the strategy, as benchmarks.strategies names its folders."""
    return "/".join(folder.resolve().parts[-2:])


def planner_of(run: RunFolder) -> Planner:
    """What plans students of the run's teacher."""
    teacher = read_json(run.teacher_architecture)
    return Planner(Architecture.from_json(teacher, source=str(run.teacher_architecture)))


def write_reading(
    study: str,
    doc: str,
    read: Callable[[Path], list[dict[str, Any]]],
    table: Callable[[Sequence[dict[str, Any]]], str],
) -> None:
    """The command of a study: read the folders that it is given, print the table, write both."""
    parser = argparse.ArgumentParser(description=doc.split("\n")[0])
    parser.add_argument("--name", required=True, help="of the results file")
    parser.add_argument("found", type=Path, nargs="+", metavar="RUN", help="folders of runs")
    options = parser.parse_args()
    rows = [row for folder in options.found for row in read(folder)]
    shown = table(rows)
    content = {
        "command": f"python -m benchmarks.{study} --name {options.name} RUN...",
        **made_here(),
        "rows": rows,
        "table": shown,
    }
    write_json(RESULTS / f"{study}-{options.name}.json", content)
    print(shown)
