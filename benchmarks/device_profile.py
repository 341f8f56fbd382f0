"""Profiles of torchvision's networks on a device, written as a target file with their figures.

    python -m benchmarks.device_profile --name nvidia-h200 --device cuda --batches 1 64 \
        --models resnet18 resnet50 mobilenet_v3_small --processes 3

Every network and batch is measured by `hwn2n profile` in `--processes` fresh processes, in turns,
so that a drift of the machine touches all of them alike. The process with the median latency is
what `profiles/NAME.yaml` shows; the spread over the processes (the A/A repeatability) stands in its
notes and in `benchmarks/results/profile-NAME.json`. Weights are torchvision's own initialisation
with seed 0, not trained: no weights are fetched. `--data` runs on real images instead of noise.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
import torchvision
import yaml
from safetensors.torch import save_file

from benchmarks.runs import RESULTS, ROOT
from hwn2n.atomic import write_atomic
from hwn2n.budget.columns import COLUMNS
from hwn2n.budget.target_file import load_target_file
from hwn2n.budget.target_schema import TargetModel
from hwn2n.budget.units import format_quantity
from hwn2n.run.folder import write_json

SHOWN = ("latency_p50", "latency_p99", "device_latency_p50", "throughput", "power_avg", "energy")
SIZE = 224


def main() -> None:
    """Profile, then write the target file and the results."""
    options = _options()
    runs = Path("runs/benchmarks/profiles") / options.name
    runs.mkdir(parents=True, exist_ok=True)
    cases = [(model, batch) for model in options.models for batch in options.batches]
    for number in range(options.processes):
        for model, batch in cases:
            path = runs / f"{model}-{batch}-{number}.json"
            if not path.exists():
                _profile(model, batch, path, options)
    profiles = {
        case: [
            json.loads((runs / f"{case[0]}-{case[1]}-{number}.json").read_text())
            for number in range(options.processes)
        ]
        for case in cases
    }
    _write_target(options, profiles)
    _write_results(options, profiles)
    print(table(_rows(profiles)))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", required=True, help="of the target: profiles/NAME.yaml")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--runtime", default="eager")
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--description")
    parser.add_argument("--models", nargs="+", default=["resnet18", "mobilenet_v3_small"])
    parser.add_argument("--batches", nargs="+", type=int, default=[1])
    parser.add_argument("--processes", type=int, default=3)
    parser.add_argument("--data", help="real images, such as imagefolder:PATH")
    return parser.parse_args()


def _profile(model: str, batch: int, path: Path, options: argparse.Namespace) -> None:
    """One `hwn2n profile` in a process of its own."""
    weights = path.parent / f"{model}.safetensors"
    if not weights.exists():
        torch.manual_seed(0)
        save_file(torchvision.models.get_model(model).state_dict(), weights)
    target = path.parent / f"{options.name}.yaml"
    _dump(target, _settings(options) | {"batch": batch})
    command = [sys.executable, "-m", "hwn2n", "profile", str(weights)]
    command += ["--arch", f"torchvision.models:{model}", "--input-shape", f"3,{SIZE},{SIZE}"]
    command += ["--target", str(target), "--columns", "all", "--out", str(path)]
    command += ["--data", options.data] if options.data else []
    print(f"{time.strftime('%X')} {model} batch {batch} -> {path}", flush=True)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def _settings(options: argparse.Namespace) -> dict[str, Any]:
    return {
        "apiVersion": "hwn2n/v1",
        "kind": "target",
        "name": options.name,
        **({"description": options.description} if options.description else {}),
        "device": options.device,
        "runtime": options.runtime,
        "precision": options.precision,
        **({"threads": options.threads} if options.threads else {}),
    }


def _median(profiles: list[dict[str, Any]]) -> dict[str, Any]:
    """The profile with the median latency; of an even number the faster one in the middle."""
    ranked = sorted(profiles, key=lambda profile: profile["cost"]["latency_p50"]["value"])
    return ranked[(len(ranked) - 1) // 2]


def _write_target(options: argparse.Namespace, profiles: dict[Any, list[dict[str, Any]]]) -> None:
    measured = []
    machine: dict[str, Any] = {}
    for (model, batch), found in profiles.items():
        shown = _median(found)
        machine = {k: v for k, v in shown["machine"].items() if k != "target"}
        spreads = ", ".join(
            f"{name} {_spread(found, name):.1%}" for name in SHOWN if name in shown["cost"]
        )
        measured.append(
            {
                "model": f"torchvision {model}, weights initialised with seed 0",
                "input": [batch, *shown["input_shape"]],
                "date": shown["provenance"]["created"],
                "versions": shown["provenance"]["versions"],
                "machine": machine,
                "cost": shown["cost"],
                "notes": [
                    f"inputs: {'noise' if options.data is None else 'real images'}",
                    f"largest less smallest of {len(found)} processes, of the median: {spreads}",
                    *shown["notes"],
                ],
            }
        )
    match = {"gpu": machine["gpu"][0]} if machine.get("gpu") else {"cpu": machine["cpu"]}
    path = ROOT / "profiles" / f"{options.name}.yaml"
    _dump(path, _settings(options) | {"match": match, "measured": measured})
    load_target_file(path)
    TargetModel(device=options.device)


def _shown(arguments: list[str]) -> list[str]:
    """The arguments without the place of the images, which is another one on each machine."""
    return [re.sub(r"^imagefolder:.*", "imagefolder:FOLDER", text) for text in arguments]


def _dump(path: Path, content: dict[str, Any]) -> None:
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=96)
    header = "# yaml-language-server: $schema=target.schema.json\n"
    header += "# Written by benchmarks/device_profile.py.\n"
    write_atomic(path, lambda temporary: temporary.write_text(header + text))


def _spread(profiles: list[dict[str, Any]], name: str) -> float:
    values = [profile["cost"][name]["value"] for profile in profiles]
    return (max(values) - min(values)) / statistics.median(values)


def _rows(profiles: dict[Any, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    rows = []
    for (model, batch), found in profiles.items():
        cost = _median(found)["cost"]
        names = [name for name in SHOWN if name in cost]
        rows.append(
            {"model": model, "batch": batch, "processes": len(found)}
            | {name: {**cost[name], "spread": _spread(found, name)} for name in names}
        )
    return rows


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as a Markdown table; +- is the spread over the processes, of the median."""
    names = [name for name in COLUMNS if any(name in row for row in rows)]
    lines = [
        "| network | batch | " + " | ".join(name.replace("_", " ") for name in names) + " |",
        "|---" * (2 + len(names)) + "|",
    ]
    for row in rows:
        cells = [
            f"{format_quantity(row[name]['value'], name)} ({row[name]['spread']:.1%})"
            if name in row
            else "-"
            for name in names
        ]
        lines.append(f"| {row['model']} | {row['batch']} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _write_results(options: argparse.Namespace, profiles: dict[Any, list[dict[str, Any]]]) -> None:
    first = next(iter(profiles.values()))[0]
    rows = _rows(profiles)
    write_json(
        RESULTS / f"profile-{options.name}.json",
        {
            "command": "python -m benchmarks.device_profile " + " ".join(_shown(sys.argv[1:])),
            "date": time.strftime("%Y-%m-%d"),
            "machine": first["machine"],
            "versions": first["provenance"]["versions"],
            "rows": rows,
            "table": table(rows),
        },
    )


if __name__ == "__main__":
    main()
