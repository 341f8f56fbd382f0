"""One greedy pruning of a teacher from the whole network down, stopped by two rules.

Stopping rules, as we read the paper's: prune until the network is as small as our student (`size`),
and as far as it is still as accurate on the validation images (`accuracy`). One walk serves both,
and goes on from where it was interrupted: what was cut is kept, and cut again.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from benchmarks.paper.taylor import Cut, Normal, Pruner
from benchmarks.rivals.base import Found, Rival
from benchmarks.rivals.problem import Problem
from hwn2n.distil.images import ImageSet
from hwn2n.distil.losses import CrossEntropy
from hwn2n.distil.recipes import TrainSettings
from hwn2n.distil.train import train
from hwn2n.errors import BudgetNotMetError
from hwn2n.run.folder import load_checkpoint, save_checkpoint
from hwn2n.run.stop import Stop
from hwn2n.search.seeds import derive_seed

Rule = Literal["size", "accuracy"]
RULES: tuple[Rule, ...] = ("size", "accuracy")


@dataclass(frozen=True, kw_only=True)
class Greedy:
    """How greedy: `channels` go at a time, then `updates` minibatches of `batch_size` at `lr`.

    Molchanov et al. take 1 and 30. `criterion_images` are what the criterion is read on, and after
    every `check` steps the network is scored on the validation images.
    """

    channels: int = 1
    updates: int = 30
    batch_size: int = 32
    lr: float = 1e-3
    criterion_images: int = 512
    check: int = 10


@dataclass(kw_only=True)
class Walk:
    """The walk of one seed; `params` and `accuracy` are the limits of the two rules."""

    problem: Problem
    greedy: Greedy
    params: float
    accuracy: float
    checkpoint: Path
    stop: Stop

    def run(self) -> dict[str, Any]:
        """What it kept: under `kept` by rule the number of cuts and the weights, and the `trace`.

        Raises `InterruptedRunError` when stopped.
        """
        state = load_checkpoint(self.checkpoint) or {
            "step": 0, "cuts": [], "weights": None, "kept": {}, "trace": [], "over": False,
        }  # fmt: skip
        if state["over"]:
            return state
        model = self.pruned(state["cuts"], state["weights"])
        device = torch.device(self.problem.settings.device)
        pruner = Pruner(model.to(device), self.problem.input_shape, self.problem.classifier())
        if not state["trace"]:
            self._look(model, state)
        while not state["over"]:
            cuts = self._step(model, pruner, state["step"])
            state["cuts"] += cuts
            state["step"] += 1
            if not cuts or state["step"] % self.greedy.check == 0 or self._small(model):
                self._look(model, state, end=not cuts)
                self.stop.check()
        return state

    def pruned(self, cuts: list[Cut], weights: dict[str, Any] | None) -> nn.Module:
        """The teacher after these cuts, on the CPU, with the weights that it then had."""
        model = self.problem.fresh_teacher()
        Pruner(model, self.problem.input_shape, self.problem.classifier()).cut(cuts)
        if weights is not None:
            model.load_state_dict(weights)
        return model

    def _small(self, model: nn.Module) -> bool:
        return sum(p.numel() for p in model.parameters()) <= self.params

    def _step(self, model: nn.Module, pruner: Pruner, step: int) -> list[Cut]:
        """Cut the least channels, then train a little; nothing where no more can go."""
        school, data, seed = self.problem.school, self.problem.data, self.problem.settings.seed
        normal = Normal(mean=data.mean, std=data.std)
        read = _some(school.train_images, self.greedy.criterion_images, derive_seed(seed, step, 0))
        cuts = pruner.least(read, normal, self.greedy.channels)
        pruner.cut(cuts)
        if cuts and self.greedy.updates:
            count = self.greedy.updates * self.greedy.batch_size
            how = TrainSettings(
                epochs=1,
                batch_size=self.greedy.batch_size,
                lr=self.greedy.lr,
                momentum=0.9,
                augment=data.augment,
            )
            train(
                model,
                _some(school.train_images, count, derive_seed(seed, step, 1)),
                CrossEntropy(),
                how,
                mean=data.mean,
                std=data.std,
                device=school.device,
                seed=derive_seed(seed, step),
            )
        return cuts

    def _look(self, model: nn.Module, state: dict[str, Any], *, end: bool = False) -> None:
        """Score the network, keep it for the rules that want it, and write all of that down."""
        params = sum(p.numel() for p in model.parameters())
        accuracy = self.problem.school.score(model).top1
        weights = {k: v.detach().cpu().clone() for k, v in model.state_dict().items()}
        state["weights"] = weights
        state["trace"].append({"step": state["step"], "params": params, "accuracy": accuracy})
        here = {"cuts": len(state["cuts"]), "weights": weights, "params": params}
        fell = state.get("fell", False) or accuracy < self.accuracy
        if not fell or "accuracy" not in state["kept"]:
            state["kept"]["accuracy"] = here
        if params <= self.params and "size" not in state["kept"]:
            state["kept"]["size"] = here
        state["fell"] = fell
        state["over"] = end or (fell and "size" in state["kept"])
        self.checkpoint.parent.mkdir(parents=True, exist_ok=True)
        save_checkpoint(self.checkpoint, state)


class TaylorPruned(Rival):
    """The network at which a walk stops by one of the rules.

    `trained`: with the weights that it has after the training between the cuts; otherwise the
    teacher's own, which tells what the choice of channels is worth by itself.
    """

    weights = "inherit"
    packages = ("torch-pruning",)

    def __init__(self, walk: Walk, rule: Rule, *, trained: bool = True) -> None:
        self.walk = walk
        self.rule = rule
        self.trained = trained

    def options(self) -> dict[str, Any]:
        """The rule, its limits and how the walk goes."""
        limits = {"params": self.walk.params, "accuracy": self.walk.accuracy}
        how = {} if self.trained else {"weights": "teacher"}
        return {"rule": self.rule, "limits": limits, **asdict(self.walk.greedy), **how}

    def find(self, problem: Problem, seed: int) -> Found:
        """The network, walked to; raises `BudgetNotMetError` where the size cannot be reached."""
        state = self.walk.run()
        if self.rule not in state["kept"]:
            least = min(look["params"] for look in state["trace"])
            raise BudgetNotMetError(
                f"pruning must reach {self.walk.params:,.0f} parameters, but with a channel in "
                f"each layer there are still {least:,}"
            )
        kept = state["kept"][self.rule]
        weights = kept["weights"] if self.trained else None
        model = self.walk.pruned(state["cuts"][: kept["cuts"]], weights)
        return Found(
            model=model.eval(),
            evaluations=len(state["trace"]),
            details={"steps": state["step"], "trace": state["trace"]},
        )


def _some(images: ImageSet, count: int, seed: int) -> ImageSet:
    generator = torch.Generator().manual_seed(seed)
    index = torch.randperm(len(images), generator=generator)[:count]
    return images.subset(index.to(images.labels.device))
