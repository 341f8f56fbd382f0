"""A teacher and a target that leave a trace of each process that runs them, and take their time.

Traces are empty files `WHAT-PID-PARENT` in the folder that the environment names: the parent of a
Ray worker is the raylet of its node.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import small
import torch
from torch import Tensor

from hwn2n.budget.cost import Cost
from hwn2n.hardware.measurement import FULL, MeasurementProtocol
from hwn2n.network.files import Teacher

FOLDER = "HWN2N_TEST_WATCHED"
PAUSE = "HWN2N_TEST_PAUSE"


def trace(what: str) -> None:
    """Say that this process was here."""
    if folder := os.environ.get(FOLDER):
        (Path(folder) / f"{what}-{os.getpid()}-{os.getppid()}").touch()


def traced(what: str) -> set[tuple[int, int]]:
    """(process, its parent) of all that were somewhere."""
    names = [path.name for path in Path(os.environ[FOLDER]).glob(f"{what}-*")]
    return {(int(pid), int(parent)) for _, pid, parent in (name.split("-") for name in names)}


def forget() -> None:
    """Remove all traces."""
    for path in Path(os.environ[FOLDER]).iterdir():
        path.unlink()


class WatchedNet(small.SmallNet):
    """Each forward in a worker of Ray's leaves a trace; training that augments asks it often.

    A forward of one image is a measurement's.
    """

    def forward(self, x: Tensor) -> Tensor:
        if "RAY_JOB_ID" in os.environ and not torch.compiler.is_compiling() and len(x) > 1:
            trace("trained")
            time.sleep(float(os.environ.get(PAUSE, "0")))
        return super().forward(x)


class WatchedTarget(small.CalmTarget):
    """Each measurement leaves a trace."""

    def measure(
        self,
        model: torch.nn.Module,
        input_shape: tuple[int, ...],
        columns: Iterable[str],
        protocol: MeasurementProtocol = FULL,
    ) -> Cost:
        trace("measured")
        return super().measure(model, input_shape, columns, protocol)


class FadingTarget(WatchedTarget):
    """Forgets the latency of students, though not that of a teacher with all its parameters."""

    def measure(self, model: torch.nn.Module, *arguments: Any, **named: Any) -> Cost:
        cost = dict(super().measure(model, *arguments, **named))
        if sum(p.numel() for p in model.parameters()) < 1131:
            cost.pop("latency_p50", None)
        return cost


def watched_teacher() -> Teacher:
    """The small teacher, watched."""
    net = WatchedNet()
    net.load_state_dict(small.small_teacher().model.state_dict())
    return small.small_teacher(model=net.eval())
