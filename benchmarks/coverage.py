"""Every network of a model zoo: can hwn2n capture it, and build students of it that hold?

    python -m benchmarks.coverage                                  (all classifiers of torchvision)
    python -m benchmarks.coverage --source timm --models benchmarks/timm-cnns.txt --rival

For each, with random weights and the smallest image that it accepts (`coverage_check`): it is
captured, and no decision gives the teacher's logits; 20 random width decisions and 20 random
removals (of students no larger than the teacher) are built, run forward and backward, and count
what fvcore counts; one student is exported to ONNX and gives the same logits in ONNX Runtime. With
`--rival` Torch-Pruning prunes the same networks by half under the same check. One process for each
network, with limits of time and memory; one JSON file each, so that it goes on where it stopped; it
begins with the rows that are published already, unless `--anew` is given. Published are the rows, a
table of them as markdown, and a summary; of a walk that was stopped, those that it came to.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.provenance import made_here
from benchmarks.runs import RESULTS
from hwn2n.run.folder import write_json

TOLERANCE = 1e-5
"""How much the logits of no decision may differ from the teacher's."""

QUIET = Path("runs/quiet")
"""While this file is there, no further network is begun."""


def names(source: str, models: Sequence[str]) -> list[str]:
    """Those asked for (names, or files of names); all classifiers of torchvision by default."""
    found = []
    for item in models:
        path = Path(item)
        found += path.read_text().split() if path.suffix == ".txt" else [item]
    if found or source == "timm":
        return found
    import torchvision

    return list(torchvision.models.list_models(module=torchvision.models))


def walk(
    source: str,
    models: Sequence[str],
    folder: Path,
    *,
    module: str,
    seconds: int,
    gigabytes: int,
    quiet: Path,
) -> None:
    """Check what was not checked yet, each network in a process of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    for i, name in enumerate(models):
        path = folder / f"{name}.json"
        if path.exists():
            continue
        while quiet.exists():
            time.sleep(5)
        started = time.perf_counter()
        row = _one(source, name, path, module=module, seconds=seconds, gigabytes=gigabytes)
        row["wall_seconds"] = round(time.perf_counter() - started, 1)
        write_json(path, row)
        print(f"{i + 1}/{len(models)} {name}: {verdict(row)} [{row['wall_seconds']} s]", flush=True)


def restore(published: Path, key: str, folder: Path) -> None:
    """Take over the rows of an earlier walk that are not in `folder`, whoever walked it."""
    if not published.exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    for row in json.loads(published.read_text())[key]:
        path = folder / f"{row['model']}.json"
        if not path.exists():
            write_json(path, row)


def _one(
    source: str, name: str, path: Path, *, module: str, seconds: int, gigabytes: int
) -> dict[str, Any]:
    part = path.with_suffix(".part")
    command = [sys.executable, "-m", module]
    command += ["--source", source, "--model", name, "--out", str(part)]

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_DATA, (gigabytes << 30, gigabytes << 30))

    try:
        done = subprocess.run(
            command, preexec_fn=limit, timeout=seconds, capture_output=True, text=True, check=False
        )
    except subprocess.TimeoutExpired:
        return {"model": name, "error": f"took more than {seconds} s"}
    if done.returncode or not part.exists():
        lines = done.stderr.strip().splitlines()
        reason = lines[-1][:300] if lines else f"exit code {done.returncode}"
        return {"model": name, "error": reason}
    row: dict[str, Any] = json.loads(part.read_text())
    part.unlink()
    return row


def verdict(row: dict[str, Any]) -> str:
    """`passed`, or what did not."""
    if "error" in row:
        return f"error: {row['error']}"
    if "prunes" in row:  # a rival's
        return "passed" if row["passed"] else f"failed: {row['prunes']}"
    failed = [
        text
        for text, passes in (
            ("no decision differs", row["difference"] < TOLERANCE),
            ("counts", row["counts"] is None),
            ("widths", not row["widths"]["failed"]),
            ("removals", not row["removals"]["failed"]),
            ("ONNX", row.get("onnx", "passed") == "passed"),
        )
        if not passes
    ]
    return f"failed: {', '.join(failed)}" if failed else "passed"


def table(rows: Sequence[dict[str, Any]], rivals: dict[str, dict[str, Any]]) -> str:
    """Markdown: one line for each network."""
    head = "| network | params | image | reachable | widths | removals | ONNX | kept because | s |"
    rule = "|---|---|---|---|---|---|---|---|---|"
    if rivals:
        head, rule = f"{head} Torch-Pruning |", f"{rule}---|"
    lines = [head, rule]
    for row in rows:
        if "error" in row:
            cells = [row["model"], *[""] * 6, row["error"], f"{row['wall_seconds']:.0f}"]
        else:
            reasons = [reason for reason, _ in row["freezing"] if "logits" not in reason]
            cells = [
                row["model"],
                f"{row['params'] / 1e6:.1f}M",
                str(row["image"]),
                f"{100 * row['reachable']['params']:.0f} %",
                f"{row['widths']['passed']}/20",
                f"{row['removals']['passed']}/20",
                "yes" if row.get("onnx") == "passed" else str(row.get("onnx", "")),
                "; ".join(reasons[:2]),
                f"{row['wall_seconds']:.0f}",
            ]
        if rivals:
            cells.append(verdict(rivals[row["model"]]) if row["model"] in rivals else "")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def summary(source: str, of: int, rows: Sequence[dict[str, Any]], rivals: Sequence[Any]) -> str:
    """Markdown: how many networks pass, by hwn2n and by its rival."""
    lines = [
        "| list | networks | tool | checked | pass | median s |",
        "|---|---|---|---|---|---|",
    ]
    for tool, found in (("hwn2n", rows), ("Torch-Pruning 1.6.1", rivals)):
        if found:
            passed = sum(verdict(row) == "passed" for row in found)
            seconds = statistics.median(row["wall_seconds"] for row in found)
            lines.append(f"| {source} | {of} | {tool} | {len(found)} | {passed} | {seconds:.0f} |")
    return "\n".join(lines)


def collect(folder: Path, models: Sequence[str]) -> list[dict[str, Any]]:
    """The rows that there are."""
    paths = [folder / f"{name}.json" for name in models]
    return [json.loads(path.read_text()) for path in paths if path.exists()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--source", choices=["torchvision", "timm"], default="torchvision")
    parser.add_argument("--models", nargs="*", default=[], help="names, or .txt files of names")
    parser.add_argument("--rival", action="store_true", help="Torch-Pruning too")
    parser.add_argument("--seconds", type=int, default=1800, help="limit for each network")
    parser.add_argument("--gigabytes", type=int, default=14, help="limit for each network")
    parser.add_argument("--runs", type=Path, default=Path("runs/benchmarks/coverage"))
    parser.add_argument("--quiet", type=Path, default=QUIET, help="pause while this file exists")
    parser.add_argument("--anew", action="store_true", help="walk what is published again")
    parser.add_argument("--only-publish", action="store_true")
    options = parser.parse_args()
    models = names(options.source, options.models)
    ours, theirs = options.runs / options.source, options.runs / f"{options.source}-rival"
    limits = {
        "seconds": options.seconds,
        "gigabytes": options.gigabytes,
        "quiet": options.quiet,
    }
    if not options.anew:
        published = RESULTS / f"coverage-{options.source}.json"
        restore(published, "rows", ours)
        restore(published, "rival", theirs)
    if not options.only_publish:
        walk(options.source, models, ours, module="benchmarks.coverage_check", **limits)
        if options.rival:
            walk(options.source, models, theirs, module="benchmarks.coverage_rival", **limits)
    rows = collect(ours, models)
    rivals = {row["model"]: row for row in collect(theirs, models)} if options.rival else {}
    given = f" --source {options.source}" if options.source != "torchvision" else ""
    given += f" --models {' '.join(options.models)}" if options.models else ""
    listed = list(rivals.values())
    content = {
        "command": f"python -m benchmarks.coverage{given}{' --rival' if options.rival else ''}",
        **made_here(),
        "passed": sum(verdict(row) == "passed" for row in rows),
        "of": len(models),
        "rows": rows,
        "rival": listed,
        "table": summary(options.source, len(models), rows, listed),
    }
    RESULTS.mkdir(parents=True, exist_ok=True)
    write_json(RESULTS / f"coverage-{options.source}.json", content)
    text = f"{content['table']}\n\n{table(rows, rivals)}\n"
    (RESULTS / f"coverage-{options.source}.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
