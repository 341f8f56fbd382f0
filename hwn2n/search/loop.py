"""The search, as Algorithm 1 of the paper reads (arXiv 1709.06030): two stages, one policy each.

Departures from the paper, each a setting and each off in `recipe: paper`:
1. The uniformly shrunk teacher may be evaluated first, as an anchor (`anchor`).
2. Decisions may be scaled to what is countable of the budget (`project`, projection.py).
3. The first policies may prefer to keep (`prior`, prior.py).
4. Advantages may be leave-one-out instead of against the moving average (`advantage`).
5. A candidate outside the budget may keep the more the nearer it is (`near_miss`, reward.py).
6. What the countable limits already exclude may never be sampled (`mask`, masks.py).
7. Updates may also imitate the best candidates so far (`imitate`, imitation.py, learner.py).
And always: a candidate whose reward cannot depend on its accuracy is not trained, and a network
that was trained before is not trained again; neither changes a reward.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path

import torch

from hwn2n.network.decision import NOTHING, Decision
from hwn2n.network.planner import Planner
from hwn2n.run.clock import Clock
from hwn2n.run.folder import RunFolder, load_checkpoint, save_checkpoint
from hwn2n.run.ledger import Ledger
from hwn2n.run.progress import Reporter, StageProgress
from hwn2n.run.stop import Stop
from hwn2n.search.actions import SHRINK_VALUES, RemovalStage, ShrinkageStage
from hwn2n.search.actor_critic import LEARNERS
from hwn2n.search.evaluate import Evaluator, Place
from hwn2n.search.imitation import best_actions
from hwn2n.search.learner import Learner
from hwn2n.search.learning import ReinforceSettings
from hwn2n.search.masks import mask_for
from hwn2n.search.policies import (
    Policy,
    RemovalPolicy,
    ShrinkagePolicy,
    UniformPolicy,
    load_policy,
    save_policy,
)
from hwn2n.search.prior import removal_prior, shrinkage_prior
from hwn2n.search.reward import epsilon
from hwn2n.search.seeds import derive_seed
from hwn2n.search.settings import Settings, StageSettings

ANCHOR = Place("anchor", 0, 0)
SEARCH = "search"
"""The phase to which the clock books all of this."""


class Search:
    """One search: what it works on, and where it writes."""

    def __init__(
        self,
        *,
        planner: Planner,
        evaluator: Evaluator,
        ledger: Ledger,
        folder: RunFolder,
        settings: Settings,
        reporter: Reporter,
        stop: Stop,
        clock: Clock,
        start_from: Mapping[str, Path] | None = None,
    ) -> None:
        self.planner = planner
        self.evaluator = evaluator
        self.ledger = ledger
        self.folder = folder
        self.settings = settings
        self.reporter = reporter
        self.stop = stop
        self.clock = clock
        self.start_from = start_from or {}

    def run(self) -> None:
        """Both stages. Raises `InterruptedRunError` where it was asked to stop."""
        settings = self.settings
        if settings.anchor and settings.project and self.evaluator.countable.rows:
            self.evaluator.evaluate(NOTHING, place=ANCHOR, actions=(), epsilon=0.0)
            self.clock.lap(SEARCH)
            self.stop.check()
        removed: frozenset[str] = frozenset()
        if settings.removal.updates:
            stage = RemovalStage(
                self.planner, features=settings.features, granularity=settings.granularity
            )
            self._stage(stage, settings.removal)
            removed = self._best_removal()
        if settings.shrinkage.updates:
            self._stage(
                ShrinkageStage(
                    self.planner,
                    removed,
                    features=settings.features,
                    granularity=settings.granularity,
                ),
                settings.shrinkage,
            )
        self.clock.lap(SEARCH)

    def _stage(self, stage: RemovalStage | ShrinkageStage, how: StageSettings) -> None:
        """One stage: sample, evaluate, reinforce, `how.updates` times."""
        steps = stage.steps
        if how.prior and self.settings.strategy == "policies":
            steps = replace(steps, prior=_prior(stage, how.prior))
        if self.settings.mask:
            countable = self.evaluator.countable
            steps = replace(steps, mask=mask_for(stage, self.planner, self.settings, countable))
        learner = self._learner(stage, how)
        checkpoint = load_checkpoint(self.folder.checkpoint(stage.name))
        first = 0
        if checkpoint is not None:
            learner.load_state_dict(checkpoint["learner"])
            first = int(checkpoint["iteration"])
        for iteration in range(first, how.updates):
            seed = derive_seed(self.settings.seed, stage.name, iteration)
            generator = torch.Generator().manual_seed(seed)
            actions = learner.policy.sample(steps, how.rollouts, generator)
            eps = epsilon(iteration, self.settings.annealing)
            rollouts = []
            for rollout, row in enumerate(actions.tolist()):
                rollouts.append(
                    self.evaluator.evaluate(
                        stage.decision(row),
                        place=Place(stage.name, iteration, rollout),
                        actions=row,
                        epsilon=eps,
                    )
                )
                self._report(stage.name, how, iteration, rollout)
                self.stop.check()
            # As the ledger has them: after a resume on another machine, a rounding error in the
            # policy must not attach a reward to other actions than those that earned it.
            taken = torch.tensor([candidate.actions for candidate in rollouts])
            report = learner.update(
                steps,
                taken,
                [candidate.reward for candidate in rollouts],
                imitate=self._to_imitate(stage.name, iteration),
            )
            self.ledger.add_update(stage.name, iteration, {**asdict(report), "epsilon": eps})
            save_checkpoint(
                self.folder.checkpoint(stage.name),
                {"iteration": iteration + 1, "learner": learner.state_dict()},
            )
        meta = {"features": self.settings.features, "stage": stage.name}
        save_policy(self.folder.policy(stage.name), learner.policy, meta)

    def _to_imitate(self, stage: str, iteration: int) -> torch.Tensor | None:
        settings = self.settings
        if not settings.imitate:
            return None
        limited = bool(self.evaluator.constraints.rows)
        return best_actions(
            self.ledger.candidates(stage),
            settings.imitate,
            # as `finish.choose`: without a budget the most accurate network is the teacher
            by=settings.choose_by if limited else "reward",
            until=iteration,
        )

    def _learner(self, stage: RemovalStage | ShrinkageStage, how: StageSettings) -> Learner:
        settings = self.settings
        how_to_learn = ReinforceSettings(
            lr=how.lr,
            baseline_decay=settings.baseline_decay,
            entropy_weight=how.entropy_weight,
            clip_norm=settings.clip_norm,
            advantage=settings.advantage,
            normalise=settings.normalise,
            imitate_weight=settings.imitate_weight,
        )
        name = "none" if settings.strategy == "random" else settings.learner
        return LEARNERS[name](self._policy(stage, how), how_to_learn)

    def _policy(self, stage: RemovalStage | ShrinkageStage, how: StageSettings) -> Policy:
        features = stage.steps.features.shape[1]
        removing = isinstance(stage, RemovalStage)
        if self.settings.strategy == "random":
            return UniformPolicy(features, 2 if removing else len(SHRINK_VALUES))
        if path := self.start_from.get(stage.name):
            kind = "removal" if removing else "shrinkage"
            return load_policy(path, kind=kind, features=self.settings.features)[0]
        with torch.random.fork_rng(devices=[]):
            seed = derive_seed(self.settings.seed, stage.name, "policy")
            torch.default_generator.manual_seed(seed)  # and not those of a GPU
            maker = RemovalPolicy if removing else ShrinkagePolicy
            return maker(features, how.hidden, how.layers)

    def _best_removal(self) -> frozenset[str]:
        """What the best candidate so far removes: stage 2 shrinks what that one leaves.

        Inside the budget comes first, then the reward without the constraint: removal alone
        rarely meets a tight budget, and then the constrained reward says only how early a
        candidate came. With nothing trained, nothing is removed.
        """
        rows = [c for c in self.ledger.candidates() if c.accuracy is not None]
        rows = [c for c in rows if c.stage in (ANCHOR.stage, RemovalStage.name)]
        if not rows:
            return frozenset()
        best = max(rows, key=lambda c: (c.satisfied, c.terms["base"], -(c.id or 0)))
        return Decision.from_json(best.decision).removed

    def _report(self, stage: str, how: StageSettings, iteration: int, rollout: int) -> None:
        self.clock.lap(SEARCH)
        standing = self.ledger.standing(stage, iteration)
        best = standing.best
        self.reporter.stage(
            StageProgress(
                stage=stage,
                iteration=iteration,
                iterations=how.updates,
                candidates=iteration * how.rollouts + rollout + 1,
                total=how.updates * how.rollouts,
                reward=standing.reward,
                best=best.reward if best else None,
                best_accuracy=best.accuracy if best else None,
                best_params=int(best.cost["params"]["value"]) if best else None,
                feasible_share=standing.inside,
            )
        )


def _prior(stage: RemovalStage | ShrinkageStage, strength: float) -> torch.Tensor:
    if isinstance(stage, RemovalStage):
        return removal_prior(stage, strength)
    return shrinkage_prior(stage, strength)
