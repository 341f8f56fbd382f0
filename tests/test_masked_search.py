"""Masks and imitation in a whole search: what is sampled, resuming, policies of other teachers."""

from __future__ import annotations

import contextlib
import itertools
from pathlib import Path
from typing import Any

import pytest
import small
import torch
from fakes import FakeEvaluator, Heard
from test_resume import assert_same, process, rows, updates
from torch import Tensor, nn

from hwn2n.budget.cost import cost_from_json
from hwn2n.errors import BudgetNotMetError
from hwn2n.network.capture import capture
from hwn2n.network.counts import count
from hwn2n.network.decision import Decision
from hwn2n.network.planner import Planner
from hwn2n.run.candidate import Candidate, State
from hwn2n.run.clock import Clock
from hwn2n.run.folder import RunFolder
from hwn2n.run.ledger import Ledger
from hwn2n.run.stop import Stop
from hwn2n.search.choices.actions import RemovalStage, ShrinkageStage
from hwn2n.search.choices.masks import mask_for
from hwn2n.search.learners.imitation import best_actions
from hwn2n.search.loop import Rounds, run_search
from hwn2n.search.policies import load_policy
from hwn2n.search.seeds import derive_seed
from hwn2n.search.settings import Settings

LIMIT = 0.04
BUDGET = small.budget_text(f"{{metric: params, max: {LIMIT:.0%}}}")
FREE = {"project": False, "anchor": False, "shrinkage__prior": 0.0, "final__epochs": 1}


def searched(out: Path, budget: str, **changes: Any) -> list[Candidate]:
    """The candidates of a short search; whether one of them met the budget does not matter."""
    with contextlib.suppress(BudgetNotMetError):
        small.compress(out, budget=budget, recipe=small.as_sampled(**{**FREE, **changes}))
    ledger = Ledger(out / "ledger.sqlite")
    found = ledger.candidates()
    ledger.close()
    return found


def share_inside(candidates: list[Candidate], limit: float) -> float:
    inside = [
        c.state is not State.ILLEGAL and cost_from_json(c.cost)["params"].value <= limit
        for c in candidates
    ]
    return sum(inside) / len(inside)


@pytest.mark.parametrize("strategy", ["policies", "random"])
def test_every_candidate_is_inside_and_without_masks_few_are(tmp_path: Path, strategy: str) -> None:
    limit = LIMIT * 1131
    how = {"strategy": strategy, "removal__updates": 0, "shrinkage__updates": 4}
    how |= {"size_weight": 0.0, "depth_weight": 0.0}  # accuracy alone teaches the policies
    masked = searched(tmp_path / "masked", BUDGET, mask=True, **how)
    plain = searched(tmp_path / "plain", BUDGET, **how, shrinkage__rollouts=5)
    assert len(masked) == 8 and len(plain) == 20
    assert share_inside(masked, limit) == 1.0
    assert all(c.satisfied for c in masked)
    assert share_inside(plain, limit) < 0.2
    assert len({c.actions for c in masked}) > 4


def test_after_a_removal_too(tmp_path: Path) -> None:
    found = searched(tmp_path / "run", BUDGET, mask=True)
    shrunk = [c for c in found if c.stage == "shrinkage"]
    assert len(shrunk) == 4
    assert share_inside(shrunk, LIMIT * 1131) == 1.0
    assert all(c.state is not State.ILLEGAL for c in found)


def test_removal_alone_must_meet_the_budget_itself(tmp_path: Path) -> None:
    budget = small.budget_text("{metric: params, max: 50%}")
    how = {"shrinkage__updates": 0, "removal__updates": 5, "removal__prior": 0.0}
    masked = searched(tmp_path / "masked", budget, mask=True, **how)
    plain = searched(tmp_path / "plain", budget, **how)
    assert share_inside(masked, 0.5 * 1131) == 1.0 > share_inside(plain, 0.5 * 1131)
    assert len({c.actions for c in masked}) > 2


def test_removals_that_no_projection_brings_inside_are_not_sampled(tmp_path: Path) -> None:
    """The limit is the median of what removals leave with one channel in each group."""
    planner = Planner(capture(small.small_teacher().model, small.SHAPE).architecture)
    stage = RemovalStage(planner)
    free = stage.steps.free.tolist()
    sizes = {}
    for choice in itertools.product(*[(0, 1) if f else (1,) for f in free]):
        removed = stage.decision(choice).removed
        _, channels = planner.left(removed)
        one = {g.name: g.step for g in channels.groups.values() if not g.frozen}
        sizes[choice] = count(planner.plan(Decision(removed, one))).params
    limit = sorted(sizes.values())[len(sizes) // 2]
    budget = small.budget_text(f"{{metric: params, max: {limit}}}")
    how = {"project": True, "removal__prior": 0.0, "removal__updates": 4, "shrinkage__updates": 0}
    masked = searched(tmp_path / "masked", budget, mask=True, **how)
    plain = searched(tmp_path / "plain", budget, **how)
    assert {c.actions for c in masked} <= {actions for actions in sizes if sizes[actions] <= limit}
    assert State.ILLEGAL not in {c.state for c in masked}
    assert State.ILLEGAL in {c.state for c in plain}
    assert len({c.actions for c in masked}) > 2


# ---- resuming

POINTS = ("after-row-5", "before-checkpoint")


def test_a_masked_search_that_was_killed_ends_as_one_that_was_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HWN2N_TEST_SEARCH", "masked")
    out, err = process(tmp_path, "--each", "never", *POINTS).communicate(timeout=250)
    codes = {line.split()[0]: line.split()[1:] for line in out.splitlines()}
    assert codes == {"never": ["0", "0"], **{point: ["-9", "0"] for point in POINTS}}, err
    whole = rows(tmp_path / "never")
    shrunk = [row for row in whole if row["stage"] == "shrinkage"]
    assert len(shrunk) == 4
    assert all(row["cost"]["params"]["value"] <= 0.4 * 1131 for row in shrunk)
    assert any(update["imitation"] > 0 for update in updates(tmp_path / "never"))
    for point in POINTS:
        assert_same(tmp_path / point, tmp_path / "never")


# ---- policies of other teachers, with masks and imitation


class Other(nn.Module):
    """A teacher that is not `small.SmallNet`: wider, one convolution fewer."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 12, 3, padding=1)
        self.second = nn.Conv2d(12, 16, 3, padding=1)
        self.classifier = nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.second(torch.relu(self.first(x)))).mean((2, 3))
        logits: Tensor = self.classifier(x)
        return logits


class Limited(FakeEvaluator):
    """The fake, with the limits of another teacher, and a real judgement on them."""

    def __init__(self, ledger: Ledger, planner: Planner, limit: float, settings: Settings) -> None:
        def value(decision: Decision) -> float:
            return count(planner.plan(decision)).params / 1e5

        super().__init__(ledger, value)
        self.countable = small.budget(f"{{metric: params, max: {int(limit)}}}").resolve({})
        self.constraints = self.countable
        self.settings = settings


def run(folder: RunFolder, planner: Planner, settings: Settings, start_from: Any = None) -> Ledger:
    ledger = Ledger(folder.ledger)
    ledger._db.execute("PRAGMA synchronous = OFF")  # the disk is not what is tested
    limit = LIMIT * count(planner.teacher).params
    rounds = Rounds(
        planner=planner,
        evaluator=Limited(ledger, planner, limit, settings),  # type: ignore[arg-type]
        ledger=ledger,
        folder=folder,
        settings=settings,
        reporter=Heard(),
        stop=Stop(),
        clock=Clock(ledger),
    )
    run_search(rounds, start_from)
    return ledger


def test_a_policy_of_another_teacher_goes_with_masks_and_imitation(tmp_path: Path) -> None:
    how = small.as_sampled(**FREE, mask=True, imitate=2, imitate_weight=0.3)
    first = Planner(capture(small.small_teacher().model, small.SHAPE).architecture)
    other = Planner(capture(Other(), small.SHAPE).architecture)
    taught = RunFolder.create(tmp_path / "taught")
    run(taught, first, how).close()
    paths = {stage: taught.policy(stage) for stage in ("removal", "shrinkage")}
    folder = RunFolder.create(tmp_path / "again")
    ledger = run(folder, other, how, start_from=paths)
    rows_ = ledger.candidates("shrinkage")
    limit = LIMIT * count(other.teacher).params
    assert len(rows_) == 4
    for row in rows_:
        architecture = other.plan(Decision.from_json(row.decision))
        assert count(architecture).params <= limit

    # The first samples are those of the loaded policy under the masks of the new teacher, and no
    # prior or weight of the old search is lost on the way.
    best = max(ledger.candidates("removal"), key=lambda c: (c.reward, -(c.id or 0)))
    stage = ShrinkageStage(other, Decision.from_json(best.decision).removed, features=how.features)
    countable = small.budget(f"{{metric: params, max: {int(limit)}}}").resolve({})
    mask = mask_for(stage, other, how, countable)
    policy, _ = load_policy(paths["shrinkage"], kind="shrinkage", features=how.features)
    generator = torch.Generator().manual_seed(derive_seed(how.seed, "shrinkage", 0))
    steps = type(stage.steps)(**{**vars(stage.steps), "mask": mask})
    sampled = policy.sample(steps, 2, generator)
    assert [list(row.actions) for row in rows_[:2]] == sampled.tolist()

    # And what the first update imitated is what the loaded policy thought of the best two.
    imitated = best_actions(rows_, 2, by=how.choose_by, until=0)
    assert imitated is not None
    unlikely = -policy.log_prob(steps, imitated)[0].detach().mean()
    assert float(unlikely) > 1.0
    assert ledger.updates("shrinkage")[0]["imitation"] == pytest.approx(float(unlikely), rel=1e-5)
    learned, _ = load_policy(folder.policy("shrinkage"))
    assert not torch.equal(learned.output.weight, policy.output.weight)  # type: ignore[arg-type]
    ledger.close()
