"""How often `hwn2n compare` is wrong: equal networks called different, slowed ones not told apart.

    python -m benchmarks.latency_ab --processes 20

Each comparison runs in a fresh process, on the CPU of this machine: a network against itself, and
against itself with 5 % of its time added. The added work is real, small matrix products after the
network, as many as take 5 % of its median time by a calibration in the same process; the share
that the calibration arrived at stands in the results. Networks are torchvision's, with weights of
seed 0. What is done is kept in `runs/benchmarks/latency-ab`, so that it goes on where it stopped.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision
from scipy.stats import binomtest
from torch import Tensor, nn

import hwn2n
from benchmarks.provenance import made_here
from benchmarks.runs import RESULTS
from hwn2n.hardware.latency import quiet
from hwn2n.run.folder import write_json

SHAPE = (3, 224, 224)
MOST_FALSE, LEAST_TOLD = 0.05, 0.90
CASES = {"equal": 0.0, "slowed": 0.05}
"""Share of its time that is added to B in each case."""

_PRODUCT = 96
_PRODUCTS = 32


class Slowed(nn.Module):
    """A network and `products` matrix products after it."""

    def __init__(self, network: nn.Module, products: int) -> None:
        super().__init__()
        self.network = network
        self.products = products
        self.register_buffer("factor", torch.rand(_PRODUCT, _PRODUCT))
        self.register_buffer("product", torch.empty(_PRODUCT, _PRODUCT))

    def work(self, products: int) -> None:
        """So many matrix products."""
        for _ in range(products):
            torch.mm(self.factor, self.factor, out=self.product)

    def forward(self, images: Tensor) -> Tensor:
        logits = self.network(images)
        self.work(self.products)
        return logits


def main() -> None:
    """Compare in fresh processes, then print and write the rates."""
    options = _options()
    if options.one:
        print(json.dumps(_one(options.models[0], options.one, options)))
        return
    runs = Path("runs/benchmarks/latency-ab")
    runs.mkdir(parents=True, exist_ok=True)
    kept: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for number in range(options.processes):
        for model in options.models:
            for case in CASES:
                path = runs / f"{model}-{case}-{number}.json"
                if not path.exists():
                    write_json(path, _process(model, case, number, options))
                found = json.loads(path.read_text())
                kept.setdefault((model, case), []).append(found)
                print(_line(found), flush=True)
    rows = [_row(model, case, found) for (model, case), found in kept.items()]
    print(table(rows))
    for row in rows:
        print(f"{row['network']}, {row['case']}: {'holds' if row['holds'] else 'DOES NOT HOLD'}")
    command = f"python -m benchmarks.latency_ab --processes {options.processes} --models "
    command += " ".join(options.models)
    write_json(
        options.out,
        {
            "command": command,
            **made_here(),
            "threads": options.threads,
            "seconds_allowed": options.seconds,
            "rows": rows,
            "comparisons": [one for found in kept.values() for one in found],
            "table": table(rows),
        },
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--processes", type=int, default=20, help="of each network and case")
    parser.add_argument("--models", nargs="+", default=["mobilenet_v3_small", "resnet18"])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=25.0, help="most for one comparison")
    parser.add_argument("--out", type=Path, default=RESULTS / "latency-ab.json")
    parser.add_argument("--one", choices=list(CASES), help="one comparison, in this process")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def _process(model: str, case: str, number: int, options: argparse.Namespace) -> dict[str, Any]:
    """One comparison in a process of its own."""
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.latency_ab"]
    command += ["--one", case, "--models", model, "--seed", str(number)]
    command += ["--threads", str(options.threads), "--seconds", str(options.seconds)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def _one(name: str, case: str, options: argparse.Namespace) -> dict[str, Any]:
    """A against B in this process: what the comparison said, without its raw rounds."""
    torch.manual_seed(0)
    network = torchvision.models.get_model(name).eval()
    other: nn.Module = network
    added = 0.0
    if CASES[case]:
        other, added = _slowed(network, CASES[case], options.threads)
    compared = hwn2n.compare(
        network,
        other,
        input_shape=SHAPE,
        threads=options.threads,
        max_seconds=options.seconds,
        seed=options.seed,
    )
    found = compared.found.to_json()
    return {
        "network": name,
        "case": case,
        "seed": options.seed,
        "added": added,
        "placements": len(found.pop("placements")),
        **found,
        "pinned": compared.quiet.pinned,
        "load": compared.conditions["before"].get("load"),
    }


def _slowed(network: nn.Module, share: float, threads: int) -> tuple[Slowed, float]:
    """`network` with `share` of its median time added, and the share that was arrived at."""
    slowed = Slowed(network, 0).eval()
    images = torch.rand(1, *SHAPE)
    whole, part = [], []
    with quiet(threads, pin=True), torch.inference_mode():
        end = time.perf_counter() + 3.0
        while time.perf_counter() < end or len(whole) < 40:
            start = time.perf_counter()
            slowed(images)
            middle = time.perf_counter()
            slowed.work(_PRODUCTS)
            whole.append(middle - start)
            part.append(time.perf_counter() - middle)
    # The first ones warm up.
    each = float(np.median(part[10:])) / _PRODUCTS
    median = float(np.median(whole[10:]))
    slowed.products = max(1, round(share * median / each))
    return slowed, slowed.products * each / median


def _line(found: dict[str, Any]) -> str:
    return (
        f"{time.strftime('%X')} {found['network']} {found['case']} {found['seed']}: "
        f"{found['verdict']} {found['ratio']:.4f} [{found['low']:.4f}, {found['high']:.4f}] "
        f"added {found['added']:.2%} in {found['seconds']:.0f} s, {found['placements']} "
        f"placements, load {found['load']}"
    )


def _row(network: str, case: str, found: list[dict[str, Any]]) -> dict[str, Any]:
    """The rate that a case is about: calls of a difference, or of "slower"."""
    verdicts = [one["verdict"] for one in found]
    counts = {name: verdicts.count(name) for name in ("faster", "same", "slower", "inconclusive")}
    hits = counts["slower"] + (counts["faster"] if case == "equal" else 0)
    interval = binomtest(hits, len(found)).proportion_ci(0.95, method="wilson")
    rate = hits / len(found)
    return {
        "network": network,
        "case": case,
        "processes": len(found),
        "hits": hits,
        "rate": rate,
        "low": interval.low,
        "high": interval.high,
        "holds": rate <= MOST_FALSE if case == "equal" else rate >= LEAST_TOLD,
        "verdicts": counts,
        "ratios": [round(one["ratio"], 5) for one in found],
        "added": [round(one["added"], 5) for one in found],
        "seconds": round(statistics.mean(one["seconds"] for one in found), 1),
    }


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as a Markdown table; rates with their 95 % Wilson interval."""
    lines = [
        "| network | B is | processes | rate (95 % interval) | same | inconclusive "
        "| B / A (min to max) | seconds each |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        equal = row["case"] == "equal"
        what = "called different" if equal else "called slower"
        other = "A again" if equal else f"A + {CASES[row['case']]:.0%}"
        lines.append(
            f"| {row['network']} | {other} | {row['processes']} "
            f"| {what}: {row['rate']:.0%} ({row['low']:.0%} to {row['high']:.0%}) "
            f"| {row['verdicts']['same']} | {row['verdicts']['inconclusive']} "
            f"| {statistics.median(row['ratios']):.3f} ({min(row['ratios']):.3f} to "
            f"{max(row['ratios']):.3f}) | {row['seconds']:.0f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
