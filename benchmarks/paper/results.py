"""Finished rows as files: one JSON for each, with an entry for each recipe.

`paper-ROW.json` has the table's lines under `table`, which README repeats. A reduced entry never
takes the place of a full one.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from benchmarks.paper.figures import LEGEND, SOURCE
from benchmarks.paper.rows import Row
from benchmarks.paper.search import SAME
from benchmarks.paper.sizes import FULL
from benchmarks.runs import RESULTS
from hwn2n.run.folder import read_json, write_json

COMMAND = "python -m benchmarks.paper"

EARLIER: dict[str, tuple[str, str]] = {
    "table4-mnist-vgg13-20k": ("mnist-20k.json", "fast"),
}
"""Rows that were run before there was this package: the file of `benchmarks.mnist`, the recipe.
They are listed until the row is run here."""

_ARMS = {
    "policies": "student",
    "random actions": "random actions",
    "uniform width": SAME,
}


def path_of(row: Row, results: Path) -> Path:
    """The file of a row."""
    return results / f"paper-{row.name}.json"


def entries_of(row: Row, results: Path, *, earlier: bool = True) -> dict[str, dict[str, Any]]:
    """What is finished of a row, by recipe; with `earlier`, what `EARLIER` names counts too."""
    found: dict[str, dict[str, Any]] = {}
    if earlier and row.name in EARLIER:
        name, recipe = EARLIER[row.name]
        if results == RESULTS and (results / name).exists():
            found[recipe] = _earlier(results / name, recipe)
    path = path_of(row, results)
    if path.exists():
        found.update(read_json(path)["recipes"])
    return found


def _earlier(path: Path, recipe: str) -> dict[str, Any]:
    """An entry from a file of `benchmarks.mnist`, whose strategies are the arms."""
    content = read_json(path)
    arms = {
        arm: [run for run in content["runs"] if run["strategy"] == strategy]
        for strategy, arm in _ARMS.items()
    }
    return {
        "recipe": recipe,
        "size": FULL.name,
        "said": FULL.describe(),
        "data": "MNIST",
        "seeds": sorted({run["seed"] for run in content["runs"]}),
        "device": content["experiment"]["device"],
        "teacher": content["teacher"],
        "arms": arms,
        "machine": content["machine"],
        "versions": content["versions"],
        "date": content["date"],
        "file": path.name,
    }


def is_finished(entry: Mapping[str, Any] | None, size: str, seeds: Sequence[int]) -> bool:
    """Whether an entry answers for these seeds at this size; one in full answers for less."""
    if entry is None or not set(seeds) <= set(entry["seeds"]):
        return False
    return entry["size"] in (size, FULL.name)


def keep(row: Row, entry: dict[str, Any], results: Path) -> dict[str, dict[str, Any]]:
    """Write the entry; returns all entries of the row."""
    path = path_of(row, results)
    kept = read_json(path)["recipes"] if path.exists() else {}
    before = kept.get(entry["recipe"])
    if before is None or entry["size"] == FULL.name or before["size"] != FULL.name:
        kept[entry["recipe"]] = entry
    last = list(kept.values())[-1]
    content = {
        "command": f"{COMMAND} {row.name}",
        "row": row.name,
        "title": row.title,
        "experiment": row.table,
        "paper": {"source": SOURCE, **{arm: vars(figure) for arm, figure in row.paper.items()}},
        "recipes": kept,
        "machine": last["machine"],
        "versions": last["versions"],
        "date": last["date"],
        "table": body(row, kept),
    }
    results.mkdir(parents=True, exist_ok=True)
    write_json(path, json.loads(json.dumps(content, default=dict)))
    return kept


def body(row: Row, entries: Mapping[str, Mapping[str, Any]]) -> str:
    """The table's lines without its head, one or more for each recipe."""
    lines = [cells for entry in entries.values() for cells in row.lines(entry)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def head(row: Row) -> str:
    """The table's head."""
    return f"| {' | '.join(row.columns)} |\n|{'---|' * len(row.columns)}"


def shown(row: Row, entries: Mapping[str, Mapping[str, Any]]) -> str:
    """The row as a table, and what its marks mean."""
    text = f"{row.table}\n\n{head(row)}\n{body(row, entries)}"
    return "\n\n".join([text, *_legends([row], entries.values())])


def page(rows: Iterable[Row], results: Path) -> str:
    """All finished rows in the tables of the paper: what docs/paper.md shows, in markdown."""
    parts: list[str] = []
    for _, group in groupby(rows, lambda row: row.table):
        found = {row.name: (row, entries_of(row, results, earlier=False)) for row in group}
        done = [(row, entries) for row, entries in found.values() if entries]
        if done:
            bodies = "\n".join(body(row, entries) for row, entries in done)
            parts += [f"### {done[0][0].table}", f"{head(done[0][0])}\n{bodies}"]
            every = [entry for _, entries in done for entry in entries.values()]
            parts += _legends([row for row, _ in done], every)
    return "\n\n".join(parts)


def _legends(rows: Iterable[Row], entries: Iterable[Mapping[str, Any]]) -> list[str]:
    """What sizes and question marks mean, where there are some."""
    sizes = {entry["said"] for entry in entries if entry["size"] != FULL.name}
    unchecked = any(figure.mark for row in rows for figure in row.paper.values())
    return [*sorted(sizes), *([LEGEND] if unchecked else [])]
