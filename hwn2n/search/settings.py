"""Everything a search can be told. Defaults are the paper's; recipes.py has the presets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

from pydantic import (
    Field,
    ValidationError,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from hwn2n.distil.recipes import STUDENT_RECIPES, TrainSettings
from hwn2n.errors import InputError
from hwn2n.search.reward import ANNEALING_HORIZON, Formula
from hwn2n.search.strategy_settings import StrategySettings

WEIGHTS = ("activations_weight", "size_weight", "depth_weight")
"""What may count beside an accuracy."""


class Settings(StrategySettings):
    """A search. Defaults are the paper's."""

    recipe: str = "paper"
    seed: int = Field(0, ge=0, lt=2**31)
    device: str = "cpu"
    weights: Literal["fresh", "inherit"] = "fresh"
    recalibrate_images: int = Field(
        0,
        ge=0,
        description="images to estimate batch-norm statistics on after search training; 0 = do not",
    )
    project: bool = Field(
        False,
        description="scale widths to what can be counted of the budget (fitting/projection.py)",
    )
    forecast: bool = Field(
        False,
        description="with `project`: scale widths to what is measured too, as far as earlier "
        "candidates tell it (fitting/forecast.py)",
    )
    refits: int = Field(
        0,
        ge=0,
        le=10,
        description="with `forecast`: so often at most a network is scaled again by what it "
        "measures itself, before it is trained (fitting/refit.py); 0 = never",
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
    size_weight: float = Field(
        0.0,
        ge=0,
        le=10,
        description="the same of its parameters, and after a run-off; 0 = nothing",
    )
    depth_weight: float = Field(
        0.0,
        ge=0,
        le=10,
        description="the same of its depth, and after a run-off; 0 = nothing",
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
        "chosen (runoff.py); at least 2, or none do",
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

    def unlimited(self) -> Settings:
        """The settings that count where a search has no limits to keep to.

        What looks at the accuracy alone looks at the paper's reward there, for the most accurate
        network would be the teacher.
        """
        formula = "paper" if self.formula == "accuracy" else self.formula
        rewarded = {"choose_by": "reward", "formula": formula}
        return self.model_copy(update={**rewarded, **dict.fromkeys(WEIGHTS, 0.0)})

    @field_validator("train", "final", mode="wrap")
    @classmethod
    def _say_which(
        cls, value: Any, check: ValidatorFunctionWrapHandler, info: ValidationInfo
    ) -> Any:
        """`TrainSettings` checks itself, but does not know which of the two it is, nor that it is a
        student's: a teacher's logits smooth enough, and nothing is validated in search training."""
        try:
            found = check(value)
        except InputError as error:
            raise PydanticCustomError("training", "{reason}", {"reason": str(error)}) from error
        if found.label_smoothing:
            raise PydanticCustomError(
                "training",
                "label_smoothing is for teachers and must be 0, but is {given}",
                {"given": found.label_smoothing},
            )
        if info.field_name == "train" and (found.keep_best or found.patience is not None):
            raise PydanticCustomError(
                "training",
                "keep_best and patience are for the final training: "
                "search training is not validated between its epochs",
            )
        return found

    @field_validator("recalibrate_images")
    @classmethod
    def _check_recalibration(cls, value: int) -> int:
        if value == 1:  # whose variance nobody can tell
            raise PydanticCustomError("recalibration", "must be 0 or at least 2")
        return value

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
    def _check_candidates(self) -> Settings:
        if not (self.anchor or self.removal.updates or self.shrinkage.updates):
            raise PydanticCustomError(
                "candidates",
                "one of removal.updates, shrinkage.updates and anchor must give a candidate, but "
                "none does",
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


def dotted(values: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Each value by its dotted name, nested or not."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from dotted(value, f"{before}{name}.")
        else:
            yield f"{before}{name}", value
