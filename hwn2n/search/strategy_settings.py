"""How a search proposes decisions: who does, how policies learn, and what may be decided."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from hwn2n.network.layers import Granularity
from hwn2n.search.choices.features import FeatureSet
from hwn2n.search.fitting.widths import Widths

Strategy = Literal["policies", "random", "evolution", "local"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class StageSettings(_Frozen):
    """One policy stage."""

    updates: int = Field(ge=0, le=100_000, description="policy updates; 0 leaves the stage out")
    rollouts: int = Field(5, ge=1, le=1000, description="candidates of an update")
    lr: float = Field(gt=0, description="learning rate of Adam")
    hidden: int = Field(ge=1, le=4096)
    layers: int = Field(2, ge=1, le=16)
    entropy_weight: float = Field(0.0, ge=0)
    prior: float = Field(
        0.0, ge=-20, le=20, description="how strongly the first policy prefers to keep, in logits"
    )


class StrategySettings(_Frozen):
    """The part of the settings (settings.py) that is about proposals. Defaults are the paper's."""

    strategy: Strategy = Field(
        "policies",
        description="who proposes: the paper's `policies`; `evolution` and `local` mutate good "
        "candidates (evolution.py); `random` takes uniform random actions and learns nothing",
    )
    population: int = Field(20, ge=2, description="evolution: how many candidates may be parents")
    founders: int = Field(10, ge=0, description="evolution: so many random candidates come first")
    tournament: int = Field(5, ge=1, description="evolution: of so many the best is the parent")
    learner: Literal["reinforce", "actor-critic"] = "reinforce"
    baseline_decay: float = Field(0.9, ge=0, lt=1)
    advantage: Literal["ema", "leave-one-out"] = "ema"
    normalise: bool = Field(
        False, description="divide advantages by the moving standard deviation of rewards"
    )
    clip_norm: float | None = Field(None, gt=0)
    granularity: Granularity = Field(
        "unit",
        description="what a removal takes out: a layer with its normalisation and activation "
        "(`unit`), each of those by itself (`operator`), or whole residual branches (`block`)",
    )
    round_to: int = Field(
        1, ge=1, le=1024, description="widths are multiples of this, or the teacher's own"
    )
    min_width: int = Field(
        1, ge=1, le=65536, description="no width goes below this, but where the teacher's does"
    )
    align: bool = Field(
        False,
        description="where time is limited and `round_to` is 1, ask the target of what widths are "
        "best multiples (alignment.py)",
    )
    mask: bool = Field(
        False,
        description="never sample what the countable limits already exclude (choices/masks.py)",
    )
    imitate: int = Field(
        0,
        ge=0,
        le=1000,
        description="how many of the best candidates so far an update also imitates (learners)",
    )
    imitate_weight: float = Field(
        0.0, ge=0, description="of their negative log-likelihood in the loss"
    )
    update_steps: int = Field(
        1, ge=1, le=1000, description="steps of Adam on the rollouts of an update (learners)"
    )
    screen: int = Field(
        1,
        ge=1,
        le=1000,
        description="so many decisions are sampled for each candidate, of which forecasts of their "
        "accuracy choose one (screening.py); 1 = each is evaluated",
    )
    zero_cost: bool = Field(
        False,
        description="with `screen`, before forecasts can be made: of the decisions sampled for a "
        "candidate choose the network with the most parameters",
    )
    shrink_from: int = Field(
        1,
        ge=1,
        le=100,
        description="the second stage shrinks what so many of the best removals leave (stages.py)",
    )
    budget_prior: bool = Field(
        False,
        description="the tighter the budget, the fewer layers the first removal policy keeps, in "
        "place of `removal.prior` (choices/prior.py)",
    )
    features: FeatureSet = "paper"
    removal: StageSettings = StageSettings(updates=100, lr=0.003, hidden=30)
    shrinkage: StageSettings = StageSettings(updates=100, lr=0.01, hidden=50)

    @property
    def widths(self) -> Widths:
        """The widths that the search may choose."""
        return Widths(round_to=self.round_to, floor=self.min_width)

    @model_validator(mode="after")
    def _check_rollouts(self) -> Self:
        """Now, and not at the first update, when candidates have been trained for it."""
        learns = self.strategy == "policies" and self.learner == "reinforce"
        if learns and self.advantage == "leave-one-out":
            for name, stage in (("removal", self.removal), ("shrinkage", self.shrinkage)):
                if stage.updates and stage.rollouts < 2:
                    raise PydanticCustomError(
                        "rollouts",
                        "with advantage leave-one-out {stage}.rollouts must be at least 2, "
                        "but is 1",
                        {"stage": name},
                    )
        if self.strategy == "policies" and self.imitate and not self.imitate_weight:
            raise PydanticCustomError(
                "imitate",
                "with imitate above 0 imitate_weight must be above 0, for nothing is imitated "
                "otherwise, but it is 0",
            )
        return self
