"""How long does a student take to build from its decision, beside an epoch of its training?

    python -m benchmarks.building

ResNet-50 at 224 pixels, random decisions: planning, weights inherited, and the module, each timed
alone. And of a short search on the digits of the demo, with its own teacher and with ResNet-20: the
seconds of planning and building that the ledger has for each trained candidate, beside those of its
search training by epochs. (Choosing its widths so that they meet the budget, and looking it up
among the earlier ones, are the search's and booked apart.)
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import torch

import hwn2n
from benchmarks.coverage_check import removal_decision, width_decision
from benchmarks.coverage_zoo import build
from benchmarks.provenance import made_here
from benchmarks.runs import RESULTS, ROOT
from hwn2n.network.capture import capture
from hwn2n.network.inherit import Inheritance
from hwn2n.network.layers import find_layers
from hwn2n.network.module import instantiate_with
from hwn2n.network.planner import Planner
from hwn2n.run.folder import RunFolder, write_json
from hwn2n.run.ledger import Ledger
from hwn2n.search.recipes import RECIPES

TEACHERS = ("digits-cnn", "resnet20")


def resnet50(decisions: int) -> dict[str, Any]:
    """Median milliseconds of each step for random decisions, half of them removals."""
    captured = capture(build("torchvision", "resnet50"), (3, 224, 224))
    planner = Planner(captured.architecture)
    inheritance = Inheritance(captured, planner)
    layers = {"unit": [x.operations for x in find_layers(planner, "unit") if x.removable]}
    rng = random.Random(0)
    seconds: dict[str, list[float]] = {"plan": [], "weights": [], "module": []}
    for i in range(decisions):
        decision = removal_decision(planner, layers, rng) if i % 2 else width_decision(planner, rng)
        marks = [time.perf_counter()]
        plan = planner.plan(decision)
        marks.append(time.perf_counter())
        weights = inheritance.weights(plan, decision, seed=i)
        marks.append(time.perf_counter())
        instantiate_with(plan, weights)
        marks.append(time.perf_counter())
        for name, begin, end in zip(seconds, marks, marks[1:], strict=False):
            seconds[name].append(end - begin)
    found = {name: round(1e3 * statistics.median(values), 2) for name, values in seconds.items()}
    whole = [sum(parts) for parts in zip(*seconds.values(), strict=True)]
    return {"network": "resnet50", "decisions": decisions, "milliseconds": found} | {
        "whole": round(1e3 * statistics.median(whole), 2)
    }


def demo(arch: str, updates: int) -> dict[str, Any]:
    """Median milliseconds of building and of one epoch of search training, and their ratio."""
    with tempfile.TemporaryDirectory() as folder:
        teacher = Path(folder) / "teacher.pt"
        hwn2n.teach(arch, data="digits", out=teacher, epochs=2)
        run = Path(folder) / "run"
        overrides = {"removal.updates": updates, "shrinkage.updates": updates, "final.epochs": 1}
        budget = ROOT / "budgets" / "demo.yaml"
        hwn2n.compress(teacher, budget=budget, data="digits", out=run, overrides=overrides)
        with closing(Ledger(RunFolder(run).ledger)) as ledger:
            rows = [row.seconds for row in ledger.candidates() if "train" in row.seconds]
    built = [row["plan"] + row["build"] for row in rows]
    epochs = [row["train"] / RECIPES["fast"].train.epochs for row in rows]
    shares = [cost / epoch for cost, epoch in zip(built, epochs, strict=True)]
    return {
        "network": arch,
        "candidates": len(rows),
        "build_ms": round(1e3 * statistics.median(built), 2),
        "epoch_ms": round(1e3 * statistics.median(epochs), 2),
        "share": round(statistics.median(shares), 4),
    }


def table(whole: dict[str, Any], rows: list[dict[str, Any]]) -> str:
    """Markdown: one line for each network."""
    lines = ["| network | students | building, ms | epoch, ms | share |", "|---|---|---|---|---|"]
    lines.append(f"| resnet50, 224 pixels | {whole['decisions']} | {whole['whole']:.0f} | | |")
    for row in rows:
        numbers = f"{row['build_ms']:.1f} | {row['epoch_ms']:.0f} | {row['share']:.1%}"
        lines.append(f"| {row['network']}, digits | {row['candidates']} | {numbers} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--decisions", type=int, default=40)
    parser.add_argument("--updates", type=int, default=4, help="of each stage, in the demo")
    options = parser.parse_args()
    torch.set_num_threads(1)
    whole = resnet50(options.decisions)
    rows = [demo(arch, options.updates) for arch in TEACHERS]
    content = {
        "command": "python -m benchmarks.building",
        **made_here(),
        "resnet50": whole,
        "demo": rows,
        "table": table(whole, rows),
    }
    RESULTS.mkdir(parents=True, exist_ok=True)
    write_json(RESULTS / "building.json", content)
    print(content["table"])


if __name__ == "__main__":
    main()
