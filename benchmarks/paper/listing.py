"""`--list`: every row, its state, and the paper's figures beside ours."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.paper.figures import LEGEND, Figure
from benchmarks.paper.images import TITLES, missing
from benchmarks.paper.lab import Lab
from benchmarks.paper.results import entries_of
from benchmarks.paper.rows import Row
from benchmarks.paper.search import students
from hwn2n.search.recipes import RECIPES


def listing(rows: Iterable[Row], lab: Lab, results: Path) -> str:
    """Plain text, one block for each table."""
    lines: list[str] = []
    table = ""
    for row in rows:
        if row.table != table:
            table = row.table
            lines += ["", table] if lines else [table]
        entries = entries_of(row, results)
        lines.append(f"  {row.name}: {title_here(row, lab)}")
        lines.append(f"      {state(row, entries, lab)}")
        if paper := paper_text(row):
            lines.append(f"      paper: {paper}")
        lines += [f"      ours ({recipe}): {ours(e)}" for recipe, e in entries.items()]
    return "\n".join([*lines, "", LEGEND])


def title_here(row: Row, lab: Lab) -> str:
    """The row's title, with the data that this machine has for it."""
    if missing(row.data, lab.data_root, lab.cifar_images):
        return row.title
    return row.title.replace(TITLES[row.data], lab.images(row.data).title)


def state(row: Row, entries: Mapping[str, Mapping[str, Any]], lab: Lab) -> str:
    """What was run and what not, recipe by recipe, and why not."""
    said = [_run(entry) for entry in entries.values()]
    left = [recipe for recipe in RECIPES if recipe not in entries]
    if left:
        which = f"recipe {left[0]}: " if said and len(left) == 1 else ""
        said.append(f"{which}not run ({why_not(row, lab)})")
    return "; ".join(said)


def _run(entry: Mapping[str, Any]) -> str:
    how = "run in full" if entry["size"] == "full" else f"run at reduced size ({entry['said']})"
    seeds = ", ".join(map(str, entry["seeds"]))
    return f"recipe {entry['recipe']}: {how}, on {entry['data']}, seeds {seeds}"


def why_not(row: Row, lab: Lab) -> str:
    """What is missing, or that nobody has run it yet; nothing is read or measured."""
    if reason := missing(row.data, lab.data_root, lab.cifar_images):
        return reason
    if row.needs and (reason := lab.unavailable(row.needs)):
        return reason
    return "not yet run"


def paper_text(row: Row) -> str:
    """The paper's figures of the row."""
    said = {arm: _figure(figure) for arm, figure in row.paper.items()}
    return "; ".join(f"{arm} {text}" for arm, text in said.items() if text)


def _figure(figure: Figure) -> str:
    return ", ".join(text for text in (figure.accuracy_text, figure.compression_text) if text)


def ours(entry: Mapping[str, Any]) -> str:
    """Mean accuracies and sizes of each arm."""
    whole = entry["teacher"]["params"]
    said = [f"teacher {_percent(entry['teacher'].get('test_accuracy'))}"]
    for name, runs in entry["arms"].items():
        known = students(runs)
        if known:
            accuracy = statistics.mean(run["test_accuracy"] for run in known)
            smaller = whole / statistics.mean(run["params"] for run in known)
            said.append(f"{name} {accuracy:.2%}, {smaller:.3g}x")
    return "; ".join(said)


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:.2%}"
