"""What learns in a stage: a policy, new or loaded, its learner, and what it prefers at first."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from statistics import mean

import torch

from hwn2n.network.decision import Decision
from hwn2n.search.choices.actions import SHRINK_VALUES, RemovalStage, ShrinkageStage
from hwn2n.search.choices.prior import (
    kept_at_budget,
    removal_prior,
    share_at_budget,
    shrinkage_prior,
)
from hwn2n.search.fitting.projection import upper_rows
from hwn2n.search.learners.actor_critic import LEARNERS
from hwn2n.search.learners.base import Learner
from hwn2n.search.learners.reports import ReinforceSettings
from hwn2n.search.policies import (
    Policy,
    RemovalPolicy,
    ShrinkagePolicy,
    UniformPolicy,
    load_policy,
)
from hwn2n.search.proposals import ANCHOR
from hwn2n.search.rounds import Rounds
from hwn2n.search.seeds import derive_seed
from hwn2n.search.settings import Settings
from hwn2n.search.strategy_settings import StageSettings


def learner_for(
    settings: Settings,
    stage: RemovalStage | ShrinkageStage,
    how: StageSettings,
    start_from: Mapping[str, Path],
) -> Learner:
    """The learner of a stage, with the policy that it teaches."""
    how_to_learn = ReinforceSettings(
        lr=how.lr,
        baseline_decay=settings.baseline_decay,
        entropy_weight=how.entropy_weight,
        clip_norm=settings.clip_norm,
        advantage=settings.advantage,
        normalise=settings.normalise,
        imitate_weight=settings.imitate_weight,
        steps=settings.update_steps,
    )
    name = "none" if settings.strategy == "random" else settings.learner
    return LEARNERS[name](policy_for(settings, stage, how, start_from), how_to_learn)


def policy_for(
    settings: Settings,
    stage: RemovalStage | ShrinkageStage,
    how: StageSettings,
    start_from: Mapping[str, Path],
) -> Policy:
    """A stage's policy: a loaded one, or a new one whose weights follow from the seed."""
    features = stage.steps.features.shape[1]
    removing = isinstance(stage, RemovalStage)
    if settings.strategy == "random":
        return UniformPolicy(features, 2 if removing else len(SHRINK_VALUES))
    if path := start_from.get(stage.name):
        kind = "removal" if removing else "shrinkage"
        return load_policy(path, kind=kind, features=settings.features)[0]
    with torch.random.fork_rng(devices=[]):
        seed = derive_seed(settings.seed, stage.name, "policy")
        torch.default_generator.manual_seed(seed)  # and not those of a GPU
        maker = RemovalPolicy if removing else ShrinkagePolicy
        return maker(features, how.hidden, how.layers)


def prior_for(
    rounds: Rounds, stage: RemovalStage | ShrinkageStage, strength: float
) -> torch.Tensor:
    """What policies prefer in this stage before they have learned anything, in logits."""
    settings, width = rounds.settings, None
    if settings.budget_prior:
        width = _anchors_width(rounds) or _width_at_budget(rounds)
    if isinstance(stage, RemovalStage):
        return removal_prior(stage, strength if width is None else kept_at_budget(width))
    if width is not None and not rounds.evaluator.constraints.rows:
        return shrinkage_prior(stage, strength, max(min(SHRINK_VALUES), width))
    if settings.project:
        return shrinkage_prior(stage, strength)
    share = share_at_budget(
        rounds.planner, stage.removed, rounds.evaluator.countable, settings.widths
    )
    return shrinkage_prior(stage, strength, share)


def _anchors_width(rounds: Rounds) -> float | None:
    """The share of the teacher's widths that the best anchor has; None where there is none."""
    _, channels = rounds.planner.left(frozenset())
    groups = channels.free.values()
    anchors = [c for c in rounds.ledger.candidates(ANCHOR.stage) if c.satisfied]
    if not anchors or not groups:
        return None
    widths = Decision.from_json(max(anchors, key=lambda c: c.reward).decision).widths
    return mean(widths.get(group.name, group.width) / group.width for group in groups)


def _width_at_budget(rounds: Rounds) -> float | None:
    """The share of them that meets what can be counted of the budget; None where nothing can be."""
    countable = rounds.evaluator.countable
    if not upper_rows(countable).rows:
        return None
    return share_at_budget(rounds.planner, frozenset(), countable, rounds.settings.widths)
