"""Many compressions of one teacher under one budget, resumable, and the table that they make."""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hwn2n
from benchmarks.contenders import STARTS, STRATEGIES
from benchmarks.provenance import made_here
from hwn2n.errors import BudgetNotMetError, InconclusiveError
from hwn2n.run.candidate import State
from hwn2n.run.folder import RunFolder, read_json, write_json
from hwn2n.run.ledger import Ledger
from hwn2n.run.progress import PlainLines
from hwn2n.run.stop import Stop
from hwn2n.search.runoff import STAGE as RUNOFF

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"

NOTHING_FOUND = "nothing-found.json"
"""In the folder of a search that has ended without a student."""


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """One teacher, one data set, one budget; every strategy and seed is a run of it."""

    name: str
    teacher: Path
    data: str
    data_root: str | None
    budget: str | None
    recipe: str = "fast"
    overrides: Mapping[str, Any]
    device: str = "cpu"


def run_all(
    experiment: Experiment,
    strategies: Sequence[str],
    seeds: Sequence[int],
    folder: Path,
    *,
    done: Collection[tuple[str, int]] = (),
) -> list[dict[str, Any]]:
    """Run what is not done yet, seed by seed; returns one row for each run that is complete.

    `done` are strategies and seeds that were run elsewhere. Ctrl-C ends it after the candidate in
    hand; the next call goes on from there.
    """
    stop = Stop()
    with stop.on_ctrl_c():
        for seed in seeds:
            for strategy in strategies:
                if (strategy, seed) not in done:
                    _run(experiment, strategy, seed, folder / f"{slug(strategy)}-{seed}", stop)
    return collect(strategies, seeds, folder)


def collect(strategies: Sequence[str], seeds: Sequence[int], folder: Path) -> list[dict[str, Any]]:
    """Rows of the runs that are complete, those that found no student included."""
    rows = []
    for strategy in strategies:
        for seed in seeds:
            path = folder / f"{slug(strategy)}-{seed}"
            if (path / "result.json").exists():
                rows.append(row_of(strategy, seed, path))
            elif (path / NOTHING_FOUND).exists():
                rows.append({"strategy": strategy, "seed": seed, **read_json(path / NOTHING_FOUND)})
    return rows


def _run(experiment: Experiment, strategy: str, seed: int, path: Path, stop: Stop) -> None:
    run = RunFolder(path)
    if run.result.exists() or (path / NOTHING_FOUND).exists():
        return
    reporter = PlainLines(sys.stderr, every=30)
    try:
        if run.config.exists():
            hwn2n.resume(path, reporter=reporter, stop=stop)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            hwn2n.compress(
                experiment.teacher,
                budget=experiment.budget,
                data=experiment.data,
                data_root=experiment.data_root,
                out=path,
                recipe=experiment.recipe,
                overrides={
                    **experiment.overrides,
                    **STRATEGIES[strategy],
                    "seed": seed,
                    "device": experiment.device,
                },
                policies=STARTS.get(strategy, ()),
                reporter=reporter,
                stop=stop,
            )
    except (BudgetNotMetError, InconclusiveError) as error:
        print(f"{path.name}: {error}", file=sys.stderr)
        if not run.result.exists():
            settings = {**read_json(run.config)["settings"], "seed": None}
            found = {"inside": False, "reason": str(error), "settings": settings}
            write_json(path / NOTHING_FOUND, found)


def row_of(strategy: str, seed: int, path: Path) -> dict[str, Any]:
    """What a complete run of `hwn2n compress` found, as it stands in a result file."""
    result = read_json(path / "result.json")
    ledger = Ledger(path / "ledger.sqlite")
    candidates = ledger.candidates()
    ledger.close()
    best, curve = 0.0, []
    clock, clocks = 0.0, []
    for candidate in candidates:
        if candidate.stage == RUNOFF:
            continue  # trained longer than the others
        clock += sum(candidate.seconds.values())
        clocks.append(round(clock, 2))
        known = candidate.state not in (State.STOPPED, State.ILLEGAL)
        if known and candidate.satisfied and candidate.accuracy is not None:
            best = max(best, candidate.accuracy)
        curve.append(round(best, 5))
    trained = [c.seconds.get("train", 0.0) for c in candidates if "train" in c.seconds]
    student = result["student"]
    return {
        "strategy": strategy,
        "seed": seed,
        "settings": {**read_json(path / "config.json")["settings"], "seed": None},
        "inside": result["satisfied"],
        "params": student["cost"]["params"]["value"],
        "flops": student["cost"]["flops"]["value"],
        "search_accuracy": student["search_accuracy"],
        "validation_accuracy": student["validation_accuracy"],
        "test_accuracy": student["test_accuracy"],
        "test_images": student["test_images"],
        "candidates": result["candidates"],
        "feasible_share": sum(c.satisfied for c in candidates) / max(1, len(candidates)),
        "seconds_per_trained_candidate": statistics.mean(trained) if trained else 0.0,
        "seconds": result["seconds"],
        "removed": student["decision"]["removed"],
        "widths": student["decision"]["widths"],
        "kernels": student["decision"]["kernels"],
        "best_search_accuracy_by_candidate": curve,
        "seconds_by_candidate": clocks,
    }


def publish(
    experiment: Experiment,
    rows: list[dict[str, Any]],
    extra: Mapping[str, Any],
    path: Path,
    *,
    command: str,
) -> None:
    """Write the results with all that is needed to judge and repeat them."""
    content = {
        "command": command,
        "experiment": {
            **vars(experiment),
            "teacher": experiment.teacher.name,
            "data": public_name(experiment.data),
            "budget": _from_here(experiment.budget),
            "data_root": None,
        },
        **extra,
        **made_here(),
        "runs": rows,
    }
    # the settings of a strategy are the same for all its seeds, so they stand there once
    content["settings"] = {row["strategy"]: row["settings"] for row in rows}
    content["runs"] = [{k: v for k, v in row.items() if k != "settings"} for row in rows]
    content = json.loads(json.dumps(content, default=dict))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, content)


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown: one line for each strategy, median and spread over its seeds.

    `inside`: how many of its students were surely inside the budget, of all its seeds; the other
    columns are of those. A strategy of which none was has a line of its own all the same.
    """
    lines = [
        "| strategy | inside | candidates | params | test accuracy (median, min to max) "
        "| search s | s / candidate | final training s |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for strategy in dict.fromkeys(row["strategy"] for row in rows):
        every = [row for row in rows if row["strategy"] == strategy]
        mine = [row for row in every if row["inside"]]
        inside = f"{len(mine)} of {len(every)}"
        if not mine:
            lines.append(f"| {strategy} | {inside} | | | | | | |")
            continue
        test = [100 * row["test_accuracy"] for row in mine]
        params = [int(row["params"]) for row in mine]
        counts = sorted({row["candidates"]["all"] for row in mine})
        search = statistics.mean(row["seconds"]["search"] for row in mine)
        each = statistics.mean(row["seconds_per_trained_candidate"] for row in mine)
        final = statistics.mean(row["seconds"]["final_training"] for row in mine)
        lines.append(
            f"| {strategy} | {inside} | {', '.join(map(str, counts))} "
            f"| {min(params):,} to {max(params):,} "
            f"| {statistics.median(test):.2f} % ({min(test):.2f} to {max(test):.2f}) "
            f"| {search:.0f} | {each:.1f} | {final:.0f} |"
        )
    return "\n".join(lines)


def public_name(data: str) -> str:
    """The data's name without the folders of whoever ran it."""
    kind, _, where = data.partition(":")
    return f"{kind}:{Path(where).name}" if where else kind


def _from_here(budget: str | None) -> str | None:
    """A budget's file, without the folders of whoever ran it where it lies in others."""
    return Path(budget).name if budget and Path(budget).is_absolute() else budget


def slug(strategy: str) -> str:
    """A strategy's name in file names."""
    return strategy.replace(",", "").replace(" ", "-")
