"""The paper's search: two stages, one policy each (Algorithm 1, arXiv 1709.06030).

With `strategy: random` the same stages take uniform random actions and learn nothing.

The paper's second stage shrinks what the best candidate of the first one leaves. It may also
(`Settings.shrink_from`) shrink what several of them leave, side by side and with one policy: brief
trainings of uniform widths often misjudge which removal has the best widths. A removal has steps
of its own, so the policy is updated for each of them in turn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from statistics import mean
from typing import Any

import torch

from hwn2n.network.decision import Decision
from hwn2n.run.candidate import Candidate
from hwn2n.run.folder import load_checkpoint, save_checkpoint
from hwn2n.search.choices.actions import RemovalStage, ShrinkageStage
from hwn2n.search.choices.masks import mask_for
from hwn2n.search.choices.steps import Steps
from hwn2n.search.learners.base import Learner
from hwn2n.search.learners.imitation import best_actions
from hwn2n.search.policies import save_policy
from hwn2n.search.proposals import Place, Proposal
from hwn2n.search.reward import epsilon
from hwn2n.search.rounds import Rounds
from hwn2n.search.screening import Screening
from hwn2n.search.seeds import derive_seed
from hwn2n.search.settings import Settings
from hwn2n.search.strategies.handover import best_removals
from hwn2n.search.strategies.learning import learner_for, prior_for
from hwn2n.search.strategy_settings import StageSettings

Stage = RemovalStage | ShrinkageStage


def run_stages(rounds: Rounds, start_from: Mapping[str, Path]) -> None:
    """Both stages; a stage of no updates is left out."""
    settings = rounds.settings
    removals: list[frozenset[str]] = [frozenset()]
    if settings.removal.updates:
        removal = RemovalStage(
            rounds.planner, features=settings.features, granularity=settings.granularity
        )
        _stage(rounds, [removal], settings.removal, start_from)
        removals = best_removals(rounds, _most_variants(settings))
    if settings.shrinkage.updates:
        shrinkages = [
            ShrinkageStage(
                rounds.planner,
                removed,
                features=settings.features,
                granularity=settings.granularity,
                widths=settings.widths,
            )
            for removed in removals
        ]
        _stage(rounds, shrinkages, settings.shrinkage, start_from)


def _most_variants(settings: Settings) -> int:
    """So many removals are shrunk side by side: the policy learns of each by comparing rollouts of
    it, so there must be two of each."""
    return max(1, min(settings.shrink_from, settings.shrinkage.rollouts * settings.screen // 2))


def _stage(
    rounds: Rounds,
    variants: Sequence[Stage],
    how: StageSettings,
    start_from: Mapping[str, Path],
) -> None:
    """One stage: sample, evaluate, reinforce, `how.updates` times."""
    settings, folder, name = rounds.settings, rounds.folder, variants[0].name
    steps = [_steps(rounds, stage, how) for stage in variants]
    learner = learner_for(settings, variants[0], how, start_from)
    checkpoint = load_checkpoint(folder.checkpoint(name))
    screening = Screening(rounds.evaluator, rounds.ledger) if settings.screen > 1 else None
    first = 0
    if checkpoint is not None:
        learner.load_state_dict(checkpoint["learner"])
        first = int(checkpoint["iteration"])
    for iteration in range(first, how.updates):
        sampled = _sampled(rounds, learner, steps, how, Place(name, iteration, 0))
        decisions = [variants[v].decision(row) for v, row in sampled]
        eps = epsilon(iteration, settings.annealing)
        chosen = list(range(how.rollouts))
        if screening is not None:
            rounds.evaluator.look_back(Place(name, iteration, 0))
            screening.learn(until=(name, iteration))
            networks = screening.networks(decisions)
            chosen = screening.chosen(networks, how.rollouts)
        proposals = [
            Proposal(
                decision=decisions[i],
                place=Place(name, iteration, rollout),
                actions=tuple(sampled[i][1]),
            )
            for rollout, i in enumerate(chosen)
        ]
        rollouts = rounds.evaluate(
            proposals,
            epsilon=eps,
            iterations=how.updates,
            done=iteration * how.rollouts,
            total=how.updates * how.rollouts,
        )
        rewarded = [(*_taken(variants, row), row.reward) for row in rollouts]
        if screening is not None:
            others = [i for i in range(len(sampled)) if i not in chosen]
            guesses = screening.rewards([networks[i] for i in others])
            for i, guess in zip(others, guesses, strict=True):
                if guess is not None:
                    rewarded.append((*sampled[i], guess))
        report = _learned(rounds, learner, variants, steps, rewarded, iteration)
        rounds.ledger.add_update(name, iteration, {**report, "epsilon": eps})
        save_checkpoint(
            folder.checkpoint(name),
            {"iteration": iteration + 1, "learner": learner.state_dict()},
        )
    meta = {"features": settings.features, "stage": name}
    save_policy(folder.policy(name), learner.policy, meta)


def _steps(rounds: Rounds, stage: Stage, how: StageSettings) -> Steps:
    """The stage's steps with what is preferred and what is forbidden."""
    settings, steps = rounds.settings, stage.steps
    if settings.strategy == "policies" and (how.prior or settings.budget_prior):
        steps = replace(steps, prior=prior_for(rounds, stage, how.prior))
    if settings.mask:
        countable = rounds.evaluator.countable
        steps = replace(steps, mask=mask_for(stage, rounds.planner, settings, countable))
    return steps


def _sampled(
    rounds: Rounds, learner: Learner, steps: Sequence[Steps], how: StageSettings, place: Place
) -> list[tuple[int, list[int]]]:
    """What the policy takes in an iteration: the number of a variant and actions, in turns."""
    seed = derive_seed(rounds.settings.seed, place.stage, place.iteration)
    generator = torch.Generator().manual_seed(seed)
    wanted = how.rollouts * rounds.settings.screen
    each = -(-wanted // len(steps))
    actions = [learner.policy.sample(one, each, generator).tolist() for one in steps]
    turns = [(v, rows[n]) for n in range(each) for v, rows in enumerate(actions)]
    return turns[:wanted]


def _taken(variants: Sequence[Stage], row: Candidate) -> tuple[int, list[int]]:
    """The variant and the actions of a candidate, as the ledger has them: after a resume on another
    machine, a rounding error in the policy must not attach a reward to other actions than those
    that earned it."""
    v = 0
    if len(variants) > 1:
        removed = Decision.from_json(row.decision).removed
        v = next(
            v
            for v, stage in enumerate(variants)
            if isinstance(stage, ShrinkageStage) and stage.removed == removed
        )
    return v, list(row.actions)


def _learned(
    rounds: Rounds,
    learner: Learner,
    variants: Sequence[Stage],
    steps: Sequence[Steps],
    rewarded: Sequence[tuple[int, list[int], float]],
    iteration: int,
) -> dict[str, Any]:
    """Update the policy for each variant with at least two rollouts, of one variant for any; the
    means of what the updates report."""
    reports = []
    for v, stage in enumerate(variants):
        mine = [(actions, reward) for u, actions, reward in rewarded if u == v]
        if len(mine) < min(2, len(variants)):
            continue
        report = learner.update(
            steps[v],
            torch.tensor([actions for actions, _ in mine]),
            [reward for _, reward in mine],
            imitate=_to_imitate(rounds, stage, iteration),
        )
        reports.append(asdict(report))
    return {key: mean(report[key] for report in reports) for key in reports[0]} if reports else {}


def _to_imitate(rounds: Rounds, stage: Stage, iteration: int) -> torch.Tensor | None:
    settings = rounds.settings
    if not settings.imitate:
        return None
    rows = rounds.ledger.candidates(stage.name)
    if isinstance(stage, ShrinkageStage):  # of other removals there are other steps
        rows = [c for c in rows if Decision.from_json(c.decision).removed == stage.removed]
    return best_actions(
        rows, settings.imitate, by=rounds.evaluator.settings.choose_by, until=iteration
    )
