"""Teach the policies that `hwn2n compress --policy auto` starts from.

    python -m benchmarks.pretrain --kinds params flops

One pair of policies, for removal and for shrinkage, for each kind of limit. It goes from teacher
to teacher and from limit to limit, a short search each, and every search starts from the policies
that the one before it left: what only one teacher wants is unlearned again, and what they agree on
stays. Little of each (few updates, a high entropy bonus), so that a policy stays undecided enough
to learn from the teacher that it is used on. All teachers are taught on digits, at 8 and at 16
pixels, so nothing is fetched, and none of them is one that `benchmarks.transfer` is judged by.

Resumable: what is complete is not run again.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import hwn2n
from benchmarks.contenders import UNSCREENED
from hwn2n.errors import BudgetNotMetError, InconclusiveError
from hwn2n.run.folder import RunFolder
from hwn2n.run.progress import PlainLines
from hwn2n.search.policies import load_policy, save_policy
from hwn2n.search.policies.shipped import FOLDER, KINDS, LEARNED_WITH, STAGES, file_name

RUNS = Path("runs/benchmarks/pretrain")


@dataclass(frozen=True, kw_only=True)
class Source:
    """A teacher to learn on; `pixels` is the size that digits are brought to."""

    arch: str
    pixels: int
    epochs: int


SOURCES: tuple[Source, ...] = (
    Source(arch="digits-cnn", pixels=8, epochs=30),
    Source(arch="resnet32", pixels=16, epochs=30),
    Source(arch="conv4", pixels=16, epochs=30),
    Source(arch="resnet56", pixels=8, epochs=60),
)

LIMITS: dict[str, tuple[dict[str, str], tuple[str, ...]]] = {
    "params": ({"metric": "params"}, ("3%", "5%", "10%", "20%")),
    "flops": ({"metric": "flops"}, ("5%", "10%", "20%", "35%")),
}
"""Of each kind of limit its row, and the limits to learn at."""

OVERRIDES: Mapping[str, Any] = {
    "removal.updates": 3,
    "shrinkage.updates": 3,
    "removal.lr": 0.003,
    "shrinkage.lr": 0.005,
    "removal.entropy_weight": 0.03,
    "shrinkage.entropy_weight": 0.03,
    "runoff": 0,
    **LEARNED_WITH,
    **UNSCREENED,
    "final.epochs": 1,  # only the policies are wanted
}


def main() -> None:
    """Teach what is missing, search what is missing, then write the policies."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--kinds", nargs="*", default=list(KINDS), choices=KINDS)
    parser.add_argument("--rounds", type=int, default=4, help="searches on each teacher")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--runs", type=Path, default=RUNS)
    parser.add_argument("--out", type=Path, default=FOLDER)
    options = parser.parse_args()
    torch.set_num_threads(1)
    teachers = {source: taught(source, options.runs) for source in SOURCES}
    for kind in options.kinds:
        last = pretrained(kind, teachers, options)
        for stage in STAGES:
            policy, meta = load_policy(last / f"{stage}.safetensors")
            meta |= {
                **LEARNED_WITH,
                "budget": kind,
                "teachers": ", ".join(source.arch for source in SOURCES),
                "searches": str(options.rounds * len(SOURCES)),
            }
            options.out.mkdir(parents=True, exist_ok=True)
            save_policy(options.out / file_name(kind, stage), policy, meta)


def taught(source: Source, runs: Path) -> Path:
    """The teacher's file."""
    path = runs / f"{source.arch}.pt"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        hwn2n.teach(
            source.arch,
            data="digits",
            image_size=source.pixels,
            validation=0.3,
            epochs=source.epochs,
            out=path,
            reporter=PlainLines(sys.stderr, every=30),
        )
    return path


def pretrained(kind: str, teachers: Mapping[Source, Path], options: argparse.Namespace) -> Path:
    """The folder of the policies that the last of all searches left."""
    order = random.Random(options.seed)
    row, limits = LIMITS[kind]
    policies: Path | None = None
    for turn in range(options.rounds):
        for number, source in enumerate(order.sample(SOURCES, len(SOURCES))):
            limit = limits[(turn + number) % len(limits)]
            path = options.runs / f"{kind}-{turn}-{number}-{source.arch}-{limit[:-1]}"
            if not (path / "result.json").exists():
                _search(path, teachers[source], {**row, "max": limit}, policies, options.seed)
            policies = RunFolder(path).policies
    assert policies is not None
    return policies


def _search(
    path: Path, teacher: Path, row: Mapping[str, str], policies: Path | None, seed: int
) -> None:
    reporter = PlainLines(sys.stderr, every=30)
    with suppress(BudgetNotMetError, InconclusiveError):  # its policies have learned all the same
        if RunFolder(path).config.exists():
            hwn2n.resume(path, reporter=reporter)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        hwn2n.compress(
            teacher,
            budget={
                "apiVersion": "hwn2n/v1",
                "name": "pretrain",
                "constraints": [dict(row)],
            },
            data="digits",
            out=path,
            policies=[policies / f"{stage}.safetensors" for stage in STAGES] if policies else (),
            overrides={**OVERRIDES, "seed": seed},
            reporter=reporter,
        )


if __name__ == "__main__":
    main()
