"""What a rival is: something that finds one network inside the budget, before final training."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any, Literal

from torch import nn

from benchmarks.rivals.problem import Problem
from hwn2n.network.architecture import Architecture

FINAL = "final"
"""The final training, in seeds and names of files."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """The network that a rival wants trained, with the weights that it should begin with.

    `architecture` is the network's where the rival has made it from one; else it is captured.
    `evaluations`: how many networks were scored on images on the way. `details`: what the rival
    has to say about its search, as JSON values.
    """

    model: nn.Module
    architecture: Architecture | None = None
    evaluations: int = 0
    details: dict[str, Any] = field(default_factory=dict)


class Rival(ABC):
    """One opponent. `weights` as in `Settings.weights`: inherited ones are recalibrated first."""

    weights: Literal["inherit", "fresh"] = "inherit"
    packages: tuple[str, ...] = ()
    """The packages, by their names on the index, whose versions belong to a result."""

    def options(self) -> dict[str, Any]:
        """What a result says of the rival, and a run that goes on must have in common; JSON."""
        return {name: value for name, value in vars(self).items() if name != "weights"}

    @abstractmethod
    def find(self, problem: Problem, seed: int) -> Found:
        """The rival's network for the problem.

        Raises `InputError` for a budget that it cannot take, `BudgetNotMetError` where it finds
        no network inside.
        """
