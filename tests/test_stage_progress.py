"""Candidates are counted as they come, whatever the sizes of a stage's updates."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import small

from hwn2n.budget.cost import Reading
from hwn2n.hardware.measurement import Effort
from hwn2n.hardware.target import Target
from hwn2n.run.ledger import Ledger
from hwn2n.run.progress import Silent, StageProgress
from hwn2n.search.proposals import ANCHOR
from hwn2n.search.rounds import Rounds
from hwn2n.search.runoff import STAGE as RUNOFF
from hwn2n.search.runoff import run_off
from hwn2n.search.strategies.evolution import STAGE as EVOLUTION


class Counting(Silent):
    """Remembers how far each stage was said to be."""

    def __init__(self) -> None:
        self.told: list[StageProgress] = []

    def stage(self, progress: StageProgress) -> None:
        self.told.append(progress)

    def counts(self, stage: str) -> list[tuple[int, int]]:
        return [(p.candidates, p.total) for p in self.told if p.stage == stage]


class SlowOnce(small.OddTarget):
    """Reads ten times the latency of the first student of a run-off."""

    slow = False

    def odd(self, reading: Reading, effort: Effort) -> Reading:
        factor, self.slow = (10.0 if self.slow else 1.0), False
        return replace(reading, value=factor * reading.value)


def counted(folder: Path, target: Target | None = None, **changes: object) -> Counting:
    """What a run told; each of its candidates once, in the order of the ledger."""
    reporter = Counting()
    recipe = small.settings(**changes)
    small.compress(folder, recipe=recipe, reporter=reporter, target=target or small.CalmTarget())
    ledger = Ledger(folder / "ledger.sqlite")
    found = [(c.stage, c.iteration, c.rollout) for c in ledger.candidates()
             if c.stage != ANCHOR.stage]  # fmt: skip
    ledger.close()
    assert [(p.stage, p.iteration, p.rollout) for p in reporter.told] == found
    return reporter


def test_the_last_update_of_evolution_may_be_smaller(tmp_path: Path) -> None:
    told = counted(
        tmp_path / "run", strategy="evolution", removal__rollouts=3, shrinkage__rollouts=2
    )
    assert told.counts(EVOLUTION) == [(n, 10) for n in range(1, 11)]


def test_a_further_turn_of_a_run_off_counts_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = SlowOnce()

    def slowly(rounds: Rounds) -> None:
        target.slow = True
        run_off(rounds)

    monkeypatch.setattr("hwn2n.search.loop.run_off", slowly)
    changes = {"strategy": "random", "runoff": 3, "runoff_epochs": 4, "formula": "paper"}
    told = counted(tmp_path / "run", target, **changes)
    assert told.counts("removal") == [(n, 4) for n in range(1, 5)]
    assert told.counts(RUNOFF) == [(1, 3), (2, 3), (3, 3), (4, 4)]
