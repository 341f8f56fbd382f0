"""Everything a search can be told. Defaults are the paper's; recipes.py has the presets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from hwn2n.distil.recipes import STUDENT_RECIPES, TrainSettings
from hwn2n.errors import InputError
from hwn2n.network.layers import Granularity
from hwn2n.search.choices.features import FeatureSet
from hwn2n.search.reward import ANNEALING_HORIZON, Formula
from hwn2n.search.widths import Widths

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


class Settings(_Frozen):
    """A search. Defaults are the paper's."""

    recipe: str = "paper"
    seed: int = Field(0, ge=0, lt=2**31)
    device: str = "cpu"
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
    features: FeatureSet = "paper"
    removal: StageSettings = StageSettings(updates=100, lr=0.003, hidden=30)
    shrinkage: StageSettings = StageSettings(updates=100, lr=0.01, hidden=50)
    weights: Literal["fresh", "inherit"] = "fresh"
    recalibrate_images: int = Field(
        0,
        ge=0,
        description="images to estimate batch-norm statistics on after search training; 0 = do not",
    )
    project: bool = Field(
        False, description="scale widths to what can be counted of the budget (projection.py)"
    )
    forecast: bool = Field(
        False,
        description="with `project`: scale widths to what is measured too, as far as earlier "
        "candidates tell it (forecast.py)",
    )
    anchor: bool = Field(
        False, description="evaluate the uniformly shrunk teacher before the first stage"
    )
    annealing: int = Field(
        ANNEALING_HORIZON, ge=0, description="updates until the budget counts in full"
    )
    near_miss: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="what a candidate at the very edge of the budget, outside, keeps (reward.py); "
        "0 is the paper",
    )
    teacher_beside: bool = Field(
        True,
        description="measure the teacher again beside each candidate where a limit is a share of "
        "what it measures (limits.py)",
    )
    formula: Formula = Field(
        "paper",
        description="the reward (reward.py); accuracy is for a budget, without one it is paper",
    )
    activations_weight: float = Field(
        0.0,
        ge=0,
        le=10,
        description="what the logarithm of a candidate's activations adds to the log-odds of its "
        "accuracy where those of brief trainings are compared (reward.py); 0 = nothing",
    )
    choose_by: Literal["reward", "accuracy"] = Field(
        "reward",
        description="what makes a candidate inside the budget the student; without a budget it is "
        "always the reward, for the most accurate network would be the teacher",
    )
    train: TrainSettings = STUDENT_RECIPES["paper-search"]
    final: TrainSettings = STUDENT_RECIPES["paper-final"]
    final_lambda: float = Field(1.0, ge=0, description="weight of the distillation term at the end")
    final_augment: bool = Field(
        True, description="augment the final training as suits the data, unless `final` says how"
    )
    repeats: int = Field(
        1, ge=1, le=100, description="trainings of a network until its mean accuracy is taken again"
    )
    halving_epochs: int = Field(
        0,
        ge=0,
        description="after so many epochs only the best of an update train on (halving.py); "
        "0 = all do",
    )
    halving_keep: float = Field(0.5, gt=0, lt=1, description="the share that trains on")
    runoff: int = Field(
        0,
        ge=0,
        le=1000,
        description="so many of the best candidates, and the anchor, train anew before one is "
        "chosen (runoff.py)",
    )
    runoff_epochs: int = Field(
        3,
        ge=1,
        le=10_000,
        description="epochs of their training; at least twice those of the search training",
    )
    validation_images: int | None = Field(
        None, ge=10, description="images that score a candidate; None = the whole split"
    )

    @property
    def widths(self) -> Widths:
        """The widths that the search may choose."""
        return Widths(round_to=self.round_to, floor=self.min_width)

    def unlimited(self) -> Settings:
        """The settings that count where a search has no limits to keep to.

        What looks at the accuracy alone looks at the paper's reward there, for the most accurate
        network would be the teacher.
        """
        formula = "paper" if self.formula == "accuracy" else self.formula
        rewarded = {"choose_by": "reward", "formula": formula, "activations_weight": 0.0}
        return self.model_copy(update=rewarded)

    @field_validator("train", "final", mode="wrap")
    @classmethod
    def _say_which(cls, value: Any, check: ValidatorFunctionWrapHandler) -> Any:
        """`TrainSettings` checks itself, but does not know which of the two it is."""
        try:
            return check(value)
        except InputError as error:
            raise PydanticCustomError("training", "{reason}", {"reason": str(error)}) from error

    @model_validator(mode="after")
    def _check_halving(self) -> Settings:
        if self.halving_epochs and self.halving_epochs >= self.train.epochs:
            raise PydanticCustomError(
                "halving",
                "halving_epochs must be below train.epochs, {epochs}, but is {rung}",
                {"epochs": self.train.epochs, "rung": self.halving_epochs},
            )
        return self

    @model_validator(mode="after")
    def _check_rollouts(self) -> Settings:
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


def settings_to_json(settings: Settings) -> dict[str, Any]:
    """JSON-able form, the inverse of `settings_from_json`."""
    return settings.model_dump(mode="json")


def settings_from_json(values: Mapping[str, Any]) -> Settings:
    """Settings from nested plain values; `InputError` names what is wrong."""
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        text = f"{first['msg'][:1].lower()}{first['msg'][1:]}"
        if not isinstance(first["input"], Mapping):  # else the text says what was found
            text += f", but got {first['input']!r}"
        raise InputError(f"setting {name}: {text}" if name else f"settings: {text}") from error
