"""Torch-Pruning 1.6.1 (Fang et al. 2023, arXiv 2301.12900): magnitude pruning, scanned to a budget.

One importance for all variants, the tool's default: the group L2 norm of each channel over all the
layers that share it, divided by its mean. The variants are the tool's own switches:

- `uniform`: one ratio for every layer (`global_pruning=False`);
- `global`: one ranking of all channels of the network (`global_pruning=True`);
- `isomorphic`: one ranking for each kind of group (arXiv 2407.04616). It needs `global_pruning`:
  without it, version 1.6.1 takes indices of the joint ranking for those of each layer;
- `global-steps`, `isomorphic-steps`: the same in up to 400 small steps towards a ratio of 1, where
  importances are taken anew after each, until the network is inside: what the authors' own
  benchmark does (their reproduce/main.py). It also gets below what one shot can reach, because one
  shot leaves a layer whole that should lose all of its channels.

The classifier is ignored, as the documentation says.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from benchmarks.rivals.base import Found, Rival
from benchmarks.rivals.problem import Problem
from benchmarks.rivals.scan import Family, largest_inside
from hwn2n.budget.cost import Cost
from hwn2n.errors import InputError

RATIOS = 4096
"""Ratios k / 4096 are scanned: a power of two, so that they are exact, and more than most networks
have channels."""
STEPS = 400
"""Of the authors' benchmark."""


def _tool() -> Any:
    try:
        import torch_pruning
    except ImportError as error:
        raise InputError("this rival needs Torch-Pruning: pip install hwn2n[benchmarks]") from error
    return torch_pruning


@dataclass(frozen=True, kw_only=True)
class TorchPruning(Rival):
    """A variant of magnitude pruning; `steps` 1 is one shot."""

    global_pruning: bool = False
    isomorphic: bool = False
    steps: int = 1

    packages = ("torch-pruning",)

    def __post_init__(self) -> None:
        if self.isomorphic and not self.global_pruning:
            raise InputError("isomorphic pruning must be global, but global_pruning is off")

    def find(self, problem: Problem, seed: int) -> Found:
        """The largest network of the scan inside the budget; nothing here depends on the seed."""
        family = _OneShot(self, problem) if self.steps == 1 else _Steps(self, problem)
        scan = largest_inside(family, problem)
        return Found(
            model=family.member(scan.index),
            details={
                "ratio": family.label(scan.index),
                "networks_counted": len(scan.counted),
                "networks_measured": scan.readings,
            },
        )

    def pruner(self, model: nn.Module, ratio: float, problem: Problem) -> Any:
        """The tool's pruner of `model`, which it changes in place."""
        tool = _tool()
        return tool.pruner.BasePruner(
            model,
            torch.zeros(2, *problem.input_shape),
            importance=tool.importance.MagnitudeImportance(),
            pruning_ratio=ratio,
            global_pruning=self.global_pruning,
            isomorphic=self.isomorphic,
            iterative_steps=self.steps,
            ignored_layers=[model.get_submodule(problem.classifier())],
            # its defaults are shared by all pruners of a process, which write into them
            in_channel_groups={},
            out_channel_groups={},
            num_heads={},
        )


class _OneShot(Family):
    """Pruned once, by ratios k / 4096."""

    def __init__(self, rival: TorchPruning, problem: Problem) -> None:
        self.rival = rival
        self.problem = problem

    def __len__(self) -> int:
        return RATIOS

    def label(self, index: int) -> float:
        return index / RATIOS

    def member(self, index: int) -> nn.Module:
        model = self.problem.fresh_teacher()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.rival.pruner(model, self.label(index), self.problem).step()
        return model

    def counted(self, index: int) -> Cost:
        return self.problem.counted(self.member(index))


class _Steps(Family):
    """Pruned step by step; one walk is kept, so that going upwards costs each step once."""

    def __init__(self, rival: TorchPruning, problem: Problem) -> None:
        self.rival = rival
        self.problem = problem
        self._begin()

    def _begin(self) -> None:
        self._model = self.problem.fresh_teacher()
        self._pruner = self.rival.pruner(self._model, 1.0, self.problem)
        self._done = 0

    def __len__(self) -> int:
        return self.rival.steps

    def label(self, index: int) -> float:
        return index / self.rival.steps

    def _walk(self, index: int) -> nn.Module:
        if index < self._done:
            self._begin()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            while self._done < index:
                self._pruner.step()
                self._done += 1
        return self._model

    def member(self, index: int) -> nn.Module:
        model = self._walk(index)
        self._begin()  # the model is the caller's now
        return model

    def counted(self, index: int) -> Cost:
        return self.problem.counted(self._walk(index))


VARIANTS: dict[str, TorchPruning] = {
    "torch-pruning uniform": TorchPruning(),
    "torch-pruning global": TorchPruning(global_pruning=True),
    "torch-pruning isomorphic": TorchPruning(global_pruning=True, isomorphic=True),
    "torch-pruning global-steps": TorchPruning(global_pruning=True, steps=STEPS),
    "torch-pruning isomorphic-steps": TorchPruning(
        global_pruning=True, isomorphic=True, steps=STEPS
    ),
}
