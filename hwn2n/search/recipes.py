"""The two presets of a search, `paper` and `fast`, and how settings are made from them.

`paper` follows arXiv 1709.06030 with the faults of the authors' code left out; `fast` is our best
effort for a short search. Each setting can be overridden by a YAML file or by `--set name=value`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from hwn2n.distil.recipes import STUDENT_RECIPES
from hwn2n.errors import InputError
from hwn2n.search.settings import Settings, dotted, settings_from_json, settings_to_json
from hwn2n.search.strategy_settings import StageSettings

RECIPES: dict[str, Settings] = {
    "paper": Settings(),
    "fast": Settings(
        recipe="fast",
        granularity="block",
        update_steps=10,
        screen=8,
        zero_cost=True,
        shrink_from=3,
        budget_prior=True,
        align=True,
        advantage="leave-one-out",
        normalise=True,
        features="normalised",
        removal=StageSettings(updates=10, lr=0.01, hidden=30, entropy_weight=0.01, prior=1.0),
        shrinkage=StageSettings(updates=10, lr=0.02, hidden=50, entropy_weight=0.01, prior=1.0),
        weights="inherit",
        recalibrate_images=1000,
        validation_images=2500,
        project=True,
        forecast=True,
        refits=2,
        anchor=True,
        annealing=3,
        near_miss=0.5,
        formula="accuracy",
        choose_by="accuracy",
        size_weight=0.6,
        depth_weight=0.3,
        runoff=5,
        runoff_epochs=6,
        train=STUDENT_RECIPES["fast-search"],
        final=STUDENT_RECIPES["fast-final"],
    ),
}


def build_settings(
    recipe: str | Settings = "fast", overrides: Mapping[str, Any] | None = None
) -> Settings:
    """A recipe with overrides: nested mappings, or dotted names (`{"train.epochs": 2}`).

    Raises `InputError` naming the setting, what it must be, and what was given. The name of the
    recipe is no setting: it would change nothing but what the result claims.
    """
    if isinstance(recipe, str):
        if recipe not in RECIPES:
            raise InputError(f"recipe must be one of {', '.join(RECIPES)}, but got {recipe!r}")
        recipe = RECIPES[recipe]
    values = settings_to_json(recipe)
    for name, value in (overrides or {}).items():
        if str(name) == "recipe":
            raise InputError("setting recipe: must be chosen by itself, not as an override")
        _put(values, str(name).split("."), value, str(name))
    if ("final.augment", "none") in dotted(overrides or {}):
        values["final_augment"] = False  # else the data's own would take its place
    return settings_from_json(values)


def _put(values: dict[str, Any], path: list[str], value: Any, name: str) -> None:
    at = values
    for part in path[:-1]:
        nested = at.get(part)
        if not isinstance(nested, dict):
            raise InputError(f"there is no setting {name!r}")
        at = nested
    if path[-1] not in at:
        raise InputError(f"there is no setting {name!r}; those beside it: {', '.join(at)}")
    if isinstance(value, Mapping) and isinstance(at[path[-1]], dict):
        for key, item in value.items():
            _put(at[path[-1]], [str(key)], item, f"{name}.{key}")
        return
    at[path[-1]] = value


def suited_to(settings: Settings, augment: str) -> Settings:
    """The settings with `augment`, the data's own augmentation, in the final training."""
    if not settings.final_augment or settings.final.augment != "none":
        return settings
    return settings.model_copy(update={"final": replace(settings.final, augment=augment)})
