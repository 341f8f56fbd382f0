"""The paper's search: two stages, one policy each (Algorithm 1, arXiv 1709.06030).

With `strategy: random` the same stages take uniform random actions and learn nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path

import torch

from hwn2n.budget.cost import cost_from_json
from hwn2n.network.decision import Decision
from hwn2n.run.candidate import Candidate
from hwn2n.run.folder import load_checkpoint, save_checkpoint
from hwn2n.search.choices.actions import SHRINK_VALUES, RemovalStage, ShrinkageStage
from hwn2n.search.choices.masks import mask_for
from hwn2n.search.choices.prior import removal_prior, share_at_budget, shrinkage_prior
from hwn2n.search.learners.actor_critic import LEARNERS
from hwn2n.search.learners.base import Learner
from hwn2n.search.learners.imitation import best_actions
from hwn2n.search.learners.reports import ReinforceSettings
from hwn2n.search.policies import (
    Policy,
    RemovalPolicy,
    ShrinkagePolicy,
    UniformPolicy,
    load_policy,
    save_policy,
)
from hwn2n.search.proposals import Place, Proposal
from hwn2n.search.reward import epsilon
from hwn2n.search.rounds import ANCHOR, Rounds
from hwn2n.search.seeds import derive_seed
from hwn2n.search.settings import Settings, StageSettings


def run_stages(rounds: Rounds, start_from: Mapping[str, Path]) -> None:
    """Both stages; a stage of no updates is left out."""
    settings = rounds.settings
    removed: frozenset[str] = frozenset()
    if settings.removal.updates:
        removal = RemovalStage(
            rounds.planner, features=settings.features, granularity=settings.granularity
        )
        _stage(rounds, removal, settings.removal, start_from)
        removed = _best_removal(rounds)
    if settings.shrinkage.updates:
        shrinkage = ShrinkageStage(
            rounds.planner,
            removed,
            features=settings.features,
            granularity=settings.granularity,
            widths=settings.widths,
        )
        _stage(rounds, shrinkage, settings.shrinkage, start_from)


def _stage(
    rounds: Rounds,
    stage: RemovalStage | ShrinkageStage,
    how: StageSettings,
    start_from: Mapping[str, Path],
) -> None:
    """One stage: sample, evaluate, reinforce, `how.updates` times."""
    settings, folder = rounds.settings, rounds.folder
    steps = stage.steps
    if how.prior and settings.strategy == "policies":
        steps = replace(steps, prior=_prior(rounds, stage, how.prior))
    if settings.mask:
        countable = rounds.evaluator.countable
        steps = replace(steps, mask=mask_for(stage, rounds.planner, settings, countable))
    learner = _learner(settings, stage, how, start_from)
    checkpoint = load_checkpoint(folder.checkpoint(stage.name))
    first = 0
    if checkpoint is not None:
        learner.load_state_dict(checkpoint["learner"])
        first = int(checkpoint["iteration"])
    for iteration in range(first, how.updates):
        seed = derive_seed(settings.seed, stage.name, iteration)
        generator = torch.Generator().manual_seed(seed)
        actions = learner.policy.sample(steps, how.rollouts, generator).tolist()
        eps = epsilon(iteration, settings.annealing)
        proposals = [
            Proposal(
                decision=stage.decision(row),
                place=Place(stage.name, iteration, rollout),
                actions=tuple(row),
            )
            for rollout, row in enumerate(actions)
        ]
        rollouts = rounds.evaluate(proposals, epsilon=eps, iterations=how.updates)
        # As the ledger has them: after a resume on another machine, a rounding error in the
        # policy must not attach a reward to other actions than those that earned it.
        taken = torch.tensor([candidate.actions for candidate in rollouts])
        report = learner.update(
            steps,
            taken,
            [candidate.reward for candidate in rollouts],
            imitate=_to_imitate(rounds, stage.name, iteration),
        )
        rounds.ledger.add_update(stage.name, iteration, {**asdict(report), "epsilon": eps})
        save_checkpoint(
            folder.checkpoint(stage.name),
            {"iteration": iteration + 1, "learner": learner.state_dict()},
        )
    meta = {"features": settings.features, "stage": stage.name}
    save_policy(folder.policy(stage.name), learner.policy, meta)


def _to_imitate(rounds: Rounds, stage: str, iteration: int) -> torch.Tensor | None:
    settings = rounds.settings
    if not settings.imitate:
        return None
    return best_actions(
        rounds.ledger.candidates(stage),
        settings.imitate,
        by=rounds.evaluator.settings.choose_by,
        until=iteration,
    )


def _learner(
    settings: Settings,
    stage: RemovalStage | ShrinkageStage,
    how: StageSettings,
    start_from: Mapping[str, Path],
) -> Learner:
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
    return LEARNERS[name](_policy(settings, stage, how, start_from), how_to_learn)


def _policy(
    settings: Settings,
    stage: RemovalStage | ShrinkageStage,
    how: StageSettings,
    start_from: Mapping[str, Path],
) -> Policy:
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


def _best_removal(rounds: Rounds) -> frozenset[str]:
    """What the best candidate so far removes: stage 2 shrinks what that one leaves.

    Inside the budget comes first, then the reward without the constraint: removal alone
    rarely meets a tight budget, and then the constrained reward says only how early a
    candidate came. What is measured of a candidate outside counts against it, by how far it is
    outside: shrinking lowers latency far less than it lowers parameters. With nothing trained,
    nothing is removed.
    """
    rows = [c for c in rounds.ledger.candidates() if c.accuracy is not None]
    rows = [c for c in rows if c.stage in (ANCHOR.stage, RemovalStage.name)]
    if not rows:
        return frozenset()
    best = max(
        rows, key=lambda c: (c.satisfied, c.terms["base"] - _missed(rounds, c), -(c.id or 0))
    )
    return Decision.from_json(best.decision).removed


def _missed(rounds: Rounds, candidate: Candidate) -> float:
    """How far outside the rows that need a measurement a candidate is, as a share of a limit."""
    cost, teacher = cost_from_json(candidate.cost), cost_from_json(candidate.teacher)
    constraints = rounds.evaluator.limits.given(teacher)
    counted = {row.id for row in rounds.evaluator.countable.rows}
    measured = [row.residual(cost) for row in constraints.rows if row.id not in counted]
    return max([0.0, *(residual for residual in measured if residual is not None)])


def _prior(rounds: Rounds, stage: RemovalStage | ShrinkageStage, strength: float) -> torch.Tensor:
    if isinstance(stage, RemovalStage):
        return removal_prior(stage, strength)
    if rounds.settings.project:
        return shrinkage_prior(stage, strength)
    share = share_at_budget(
        rounds.planner, stage.removed, rounds.evaluator.countable, rounds.settings.widths
    )
    return shrinkage_prior(stage, strength, share)
