"""NVIDIA Model-Optimizer's FastNAS (`modelopt.torch.prune`, mode `fastnas`), versions 0.47 or so.

Its search is its own: a sensitivity map (the loss of validation accuracy when one layer alone is
narrowed, batch norm recalibrated each time), then a binary search for the largest loss that it must
allow to meet its one limit. What is chosen here, and why:

- Widths. The default divides channels by 32, which leaves a ResNet-20 nothing to choose. Any number
  of channels is allowed here, at shares of 1, 2, 3, 5, 10, 15 ... 100 %, thinned evenly if more
  candidates would be scored than `evaluations` allows; by default as many as hwn2n's search of the
  same settings evaluates.
- The score is the accuracy on the validation images that score hwn2n's candidates. The tool
  recalibrates batch norm on the images that hwn2n recalibrates with, in its 50 batches.
- The limit. It counts parameters and FLOPs without batch norm, so the limit that it is told is
  moved until what it returns is the largest inside by our counts; the sensitivity map is measured
  once, in the first search, and the seconds of each search stand in the result. It sometimes
  returns a network outside its own limit without a word: that is not taken. And where narrowing
  any one layer costs no validation image, it takes the narrowest of each: far inside, and no larger
  whatever it is told.

Its `params` and `flops` are the only limits that it has without TensorRT, and one at a time.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.rivals.base import Found, Rival
from benchmarks.rivals.modelopt import count_widths, prune_module, quiet, seeded, width_rules
from benchmarks.rivals.problem import Problem
from hwn2n.budget.rows import Row
from hwn2n.distil.augment import normalise
from hwn2n.distil.images import stratified_sample
from hwn2n.errors import BudgetNotMetError, InputError, one_line
from hwn2n.search.settings import Settings

BATCHES = 50
"""The tool keeps so many batches to recalibrate with, and says that fewer are too few."""
SHARES = (0.01, 0.02, 0.03, *(k / 20 for k in range(1, 21)))
"""Its default shares of a layer's channels, and three below."""
ROUNDS = 8
"""So many limits are told."""
_MORE = 1.25


@dataclass(frozen=True, kw_only=True)
class FastNas(Rival):
    """`evaluations`: how many candidates may be scored; None for as many as hwn2n's search has."""

    evaluations: int | None = None

    packages = ("nvidia-modelopt", "torchprofile")

    def find(self, problem: Problem, seed: int) -> Found:
        """The network of the tool's own search; the seed is that of its random numbers."""
        prune_module()  # it may be missing
        row = _only_row(problem)
        limit = row.upper / row.coefficients[_column(row)]
        with tempfile.TemporaryDirectory() as folder, seeded(seed):
            search = _Search(problem, row, self._most(problem.settings), Path(folder) / "map.pth")
            best = search.closest(limit)
        if best is None:
            raise BudgetNotMetError(
                f"FastNAS found no network inside the budget; binding: {row.source}; told "
                f"{limit:,.0f}, it {_answer(search.said[0])}"
            )
        return Found(
            model=best,
            evaluations=search.scored,
            details={"shares": list(search.shares), "limits_told": search.said},
        )

    def _most(self, settings: Settings) -> int:
        if self.evaluations is not None:
            return self.evaluations
        return 1 + sum(
            stage.updates * stage.rollouts for stage in (settings.removal, settings.shrinkage)
        )


class _Search:
    """Searches of one problem that share a sensitivity map."""

    def __init__(self, problem: Problem, row: Row, most: int, checkpoint: Path) -> None:
        self.problem = problem
        self.row = row
        self.column = _column(row)
        self.whole = problem.limits.teacher_cost[self.column].value
        self.checkpoint = checkpoint
        self.scored = 0
        self.said: list[dict[str, Any]] = []
        self.images = _batches(problem)
        self.shares = self._shares(most)

    def closest(self, limit: float) -> nn.Module | None:
        """The largest network inside `limit` by our counts, of at most `ROUNDS` searches.

        The tool is told the limit itself first. As long as it returns networks inside, it is told
        more, then the limit that it is told is halved between the last one inside and the first
        one outside.
        """
        best, largest = None, 0.0
        inside, outside, told = 0.0, None, limit
        for _ in range(ROUNDS):
            start = time.perf_counter()
            model = self.search(told)
            seconds = time.perf_counter() - start
            if model is None:
                inside = told  # it refuses what it cannot reach: more must be told
            else:
                counted = self.problem.counted(model)
                ours = counted[self.column].value
                self.said.append({"told": told, "returned": ours, "seconds": seconds})
                if self.problem.countable.satisfied(counted):
                    inside = told
                    if ours > largest:
                        best, largest = model, ours
                else:
                    outside = told
            if outside is None and told > self.whole:
                break  # it has all that there is, and wants no more
            told = told * _MORE if outside is None else (inside + outside) / 2
        return best

    def search(self, limit: float) -> nn.Module | None:
        """What the tool returns for its own `limit`; None where it refuses it."""
        model = self.problem.fresh_teacher()
        try:
            with quiet():
                model, _ = prune_module().prune(
                    model,
                    mode=[("fastnas", width_rules(self.shares))],
                    constraints={self.column: limit},
                    dummy_input=torch.zeros(1, *self.problem.input_shape),
                    config={
                        "data_loader": self.images,
                        "collect_func": _as_it_is,
                        "max_iter_data_loader": BATCHES,
                        "score_func": self._score,
                        "checkpoint": str(self.checkpoint),
                        "verbose": False,
                    },
                )
        except Exception as error:  # the tool raises bare assertions and errors of all kinds
            self.said.append({"told": limit, "refused": one_line(error, 120)})
            return None
        return model.cpu().eval()

    def _score(self, model: nn.Module) -> float:
        """Validation accuracy; to switch to eval mode makes the tool recalibrate batch norm."""
        self.scored += 1
        school, settings = self.problem.school, self.problem.settings
        images = school.validation
        if settings.validation_images is not None and settings.validation_images < len(images):
            index = stratified_sample(images.labels, settings.validation_images, 0)
            images = images.subset(index.to(images.labels.device))
        return school.score(model, images).top1

    def _shares(self, most: int) -> tuple[float, ...]:
        """`SHARES`, or every second of them, or third ..., so that at most `most` are scored."""
        for stride in range(1, len(SHARES)):
            kept = SHARES[::-1][::stride]
            shares = tuple(sorted({SHARES[0], *kept}))
            if count_widths(self.problem.fresh_teacher(), shares) <= most:
                return shares
        least = count_widths(self.problem.fresh_teacher(), (SHARES[0], 1.0))
        raise InputError(
            f"FastNAS needs at least {least} evaluations for this teacher, but may have {most}"
        )


def _answer(said: dict[str, Any]) -> str:
    if "refused" in said:
        return f"refused: {said['refused']}"
    return f"returned {said['returned']:,.0f}"


def _only_row(problem: Problem) -> Row:
    rows = problem.searched.at_first.rows
    if len(rows) == 1 and not rows[0].lower and rows[0].column in ("params", "flops"):
        return rows[0]
    found = ", ".join(row.written for row in rows) or "none"
    raise InputError(f"FastNAS takes one upper limit, on params or on flops; found {found}")


def _column(row: Row) -> str:
    return next(iter(row.coefficients))


def _batches(problem: Problem) -> list[Tensor]:
    """The images to recalibrate with, normalised, in `BATCHES` batches."""
    images = problem.school.train_images
    wanted = problem.settings.recalibrate_images or 2000
    count = min(len(images), wanted)
    chosen = images.subset(
        stratified_sample(images.labels, count, problem.settings.seed).to(images.labels.device)
    )
    # in the order of the set, which may be sorted by class
    order = torch.randperm(count, generator=torch.Generator().manual_seed(0))
    pixels = normalise(chosen.images.cpu()[order], problem.data.mean, problem.data.std)
    return list(pixels.tensor_split(min(BATCHES, count // 2)))


def _as_it_is(batch: Tensor) -> Tensor:
    return batch


VARIANTS: dict[str, FastNas] = {"fastnas": FastNas()}
