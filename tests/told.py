"""A target that reads what it is told to, and the small networks that it is asked about."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

from torch import nn

from hwn2n.budget.columns import COLUMNS
from hwn2n.budget.cost import Cost, Reading
from hwn2n.hardware.measurement import FULL, MeasurementProtocol
from hwn2n.hardware.target import Target

SHAPE = (1, 4, 4)
MEASURED = Reading(0.010, "measured", low=0.009, high=0.012)
MACHINE = {"cpu": "a CPU", "gpu": [], "torch": "2.0", "target": {"device": "cpu", "batch": 1}}


class Told(Target):
    """Reads what it was told to; params are counted, and what it was not told is unavailable.

    `machine` is its fingerprint. `protocols` are those that it was asked to measure by.
    """

    def __init__(self, machine: dict[str, Any] | None = None, **readings: Reading) -> None:
        self.readings = readings
        self.machine = copy.deepcopy(machine or MACHINE)
        self.protocols: list[MeasurementProtocol] = []
        self.measured: list[str] = []

    @property
    def name(self) -> str:
        return "told"

    def fingerprint(self) -> dict[str, Any]:
        return self.machine

    def unavailable(self, columns: Iterable[str]) -> dict[str, str]:
        return {
            name: "not told"
            for name in columns
            if name not in (*self.readings, "params") and not COLUMNS[name].learned
        }

    def measure(
        self,
        model: nn.Module,
        input_shape: tuple[int, ...],
        columns: Iterable[str],
        protocol: MeasurementProtocol = FULL,
    ) -> Cost:
        self.protocols.append(protocol)
        self.measured += [name for name in columns if COLUMNS[name].known == "measured"]
        counted = {"params": Reading(sum(p.numel() for p in model.parameters()))}
        return {name: (counted | self.readings)[name] for name in columns}


def net(hidden: int = 2) -> nn.Module:
    """Of 20 + 27 parameters on images of SHAPE, as many as `hidden` channels make."""
    return nn.Sequential(nn.Conv2d(1, hidden, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * hidden, 3))


def budget(*rows: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A budget of these rows, as data."""
    return {"apiVersion": "hwn2n/v1", "name": "mine", "constraints": list(rows), **more}


def latency(**limits: Any) -> dict[str, Any]:
    """A row on the median latency."""
    return {"metric": "latency", "stat": "p50", **limits}
