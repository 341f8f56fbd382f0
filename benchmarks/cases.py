"""Budgets for the teachers that search benchmarks share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hwn2n.run.folder import write_json


@dataclass(frozen=True, kw_only=True)
class Case:
    """A budget for one teacher; `limits` maps columns to limits, `target` where it is measured."""

    teacher: str
    data: str
    limits: dict[str, str]
    target: str | dict[str, Any] | None = None
    overrides: dict[str, Any]

    def budget_file(self, folder: Path) -> Path:
        """The budget as a file beside the runs; YAML is a superset of JSON."""
        constraints = []
        for column, limit in self.limits.items():
            metric, _, stat = column.partition("_")
            constraints.append({"metric": metric, "max": limit} | ({"stat": stat} if stat else {}))
        content: dict[str, Any] = {
            "apiVersion": "hwn2n/v1",
            "name": folder.name.replace(".", "-"),
            "constraints": constraints,
        }
        if self.target:
            content["target"] = self.target
        path = folder / "budget.yaml"
        write_json(path, content)
        return path


CASES: dict[str, Case] = {
    "digits-5%": Case(
        teacher="resnet20 on digits", data="digits", limits={"params": "5%"}, overrides={}
    ),
    "digits-2%": Case(
        teacher="resnet20 on digits", data="digits", limits={"params": "2%"}, overrides={}
    ),
    "digits-1%": Case(
        teacher="resnet20 on digits", data="digits", limits={"params": "1%"}, overrides={}
    ),
    "digits-flops-10%": Case(
        teacher="resnet20 on digits", data="digits", limits={"flops": "10%"}, overrides={}
    ),
    "mnist-0.2%": Case(
        teacher="vgg13 on MNIST",
        data="mnist",
        limits={"params": "0.2%"},
        overrides={"final.epochs": 8},
    ),
    "cifar10-10%": Case(
        teacher="resnet20 on CIFAR-10", data="cifar10", limits={"params": "10%"}, overrides={}
    ),
    "cifar10-3%": Case(
        teacher="resnet20 on CIFAR-10", data="cifar10", limits={"params": "3%"}, overrides={}
    ),
    "cifar10-flops-20%": Case(
        teacher="resnet20 on CIFAR-10", data="cifar10", limits={"flops": "20%"}, overrides={}
    ),
    "cifar10-latency-35%": Case(
        teacher="resnet20 on CIFAR-10",
        data="cifar10",
        limits={"latency_p50": "35%"},
        target={"device": "cpu", "runtime": "onnxruntime", "threads": 1},
        overrides={},
    ),
}


def numbers(texts: list[str]) -> dict[str, Any]:
    """Overrides from texts NAME=NUMBER."""
    found: dict[str, Any] = {}
    for text in texts:
        name, _, value = text.partition("=")
        number = float(value)
        found[name] = int(number) if number == int(number) else number
    return found
