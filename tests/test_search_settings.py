"""Settings: recipes, overrides, and what is said about those that cannot be."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import pytest
import yaml

from hwn2n.distil.recipes import STUDENT_RECIPES
from hwn2n.errors import InputError
from hwn2n.search.recipes import RECIPES, build_settings, suited_to
from hwn2n.search.seeds import derive_seed
from hwn2n.search.settings import WEIGHTS, settings_from_json, settings_to_json


def test_paper_is_the_paper() -> None:
    paper = build_settings("paper")
    assert (paper.removal.updates, paper.removal.rollouts, paper.removal.lr) == (100, 5, 0.003)
    assert (paper.removal.hidden, paper.removal.layers, paper.removal.prior) == (30, 2, 0.0)
    assert (paper.shrinkage.lr, paper.shrinkage.hidden, paper.shrinkage.layers) == (0.01, 50, 2)
    assert (paper.train.epochs, paper.weights, paper.features) == (5, "fresh", "paper")
    assert not (paper.project or paper.anchor or paper.normalise)
    assert (paper.advantage, paper.learner, paper.formula) == ("ema", "reinforce", "paper")


@pytest.mark.parametrize("recipe", RECIPES)
def test_round_trip_through_json_and_yaml(recipe: str) -> None:
    settings = build_settings(
        recipe, {"final.milestones": [1, 2], "final.gamma": [0.1, 0.5], "final.schedule": "step"}
    )
    values = settings_to_json(settings)
    assert settings_from_json(json.loads(json.dumps(values))) == settings
    assert settings_from_json(yaml.safe_load(yaml.safe_dump(values))) == settings
    assert settings.recipe == recipe
    assert settings.final.milestones == (1, 2) and settings.final.gamma == (0.1, 0.5)


@pytest.mark.parametrize(
    "overrides",
    [
        {"train.epochs": 3, "removal.updates": 7, "seed": 5},
        {"train": {"epochs": 3}, "removal": {"updates": 7}, "seed": 5},
        {"train": {"epochs": 3}, "removal.updates": 7, "seed": "5"},
    ],
)
def test_overrides_nested_and_dotted(overrides: dict[str, Any]) -> None:
    settings = build_settings("fast", overrides)
    fast = RECIPES["fast"]
    assert settings.train == replace(fast.train, epochs=3)
    assert settings.removal == fast.removal.model_copy(update={"updates": 7})
    assert settings.seed == 5
    rest = {"train", "removal", "seed"}
    assert settings.model_dump(exclude=rest) == fast.model_dump(exclude=rest)


def test_later_overrides_win_and_recipes_stay() -> None:
    settings = build_settings("fast", {"train": {"epochs": 3, "lr": 0.5}, "train.epochs": 4})
    assert (settings.train.epochs, settings.train.lr) == (4, 0.5)
    assert build_settings(settings, {"train.lr": 0.1}).train.epochs == 4
    assert RECIPES["fast"].train == STUDENT_RECIPES["fast-search"]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"sed": 1}, "there is no setting 'sed'; those beside it: strategy, population,"),
        ({"train.epoch": 1}, "there is no setting 'train.epoch'; those beside it: epochs,"),
        ({"train": {"epoch": 1}}, "there is no setting 'train.epoch'; those beside"),
        ({"train.epochs.x": 1}, "there is no setting 'train.epochs.x'"),
        ({3: 1}, "there is no setting '3'"),
        ({"train.epochs": "many"}, "setting train.epochs: .* valid integer.*, but got 'many'"),
        ({"train.epochs": 0}, "setting train: epochs must be a whole number >= 1, but got 0"),
        ({"final.optimizer": "lion"}, "setting final: optimizer must be one of .* got 'lion'"),
        ({"train": 5}, "setting train: input should be a dictionary .* but got 5"),
        ({"removal.lr": float("inf")}, "setting removal.lr: .*finite number, but got inf"),
        ({"train.lr": float("nan")}, "setting train.lr: .*finite number, but got nan"),
        ({"clip_norm": 0}, "setting clip_norm: .*greater than 0, but got 0"),
        ({"seed": -1}, "setting seed: .*greater than or equal to 0, but got -1"),
        ({"strategy": "luck"}, "setting strategy: .*'evolution' or 'local', but got 'luck'"),
        ({"validation_images": 3}, "setting validation_images: .* 10, but got 3"),
        ({"recipe": "paper"}, "setting recipe: must be chosen by itself, not as an override"),
        (
            {"shrinkage.rollouts": 1, "strategy": "policies"},
            "settings: with advantage leave-one-out shrinkage.rollouts must be at least 2, but is",
        ),
        (
            {"removal.updates": 0, "shrinkage.updates": 0, "anchor": False},
            "settings: one of removal.updates, shrinkage.updates and anchor must give a candidate",
        ),
    ],
)
def test_what_cannot_be_is_named(overrides: dict[Any, Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        build_settings("fast", overrides)
    assert re.match(message, str(caught.value)), str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "overrides",
    [
        {"removal.rollouts": 1, "removal.updates": 0, "strategy": "policies"},
        {"removal.rollouts": 1, "strategy": "random"},
        {"removal.rollouts": 1, "strategy": "evolution"},
        {"removal.rollouts": 1, "strategy": "policies", "learner": "actor-critic"},
        {"removal.rollouts": 1, "strategy": "policies", "advantage": "ema"},
    ],
)
def test_one_rollout_is_enough_elsewhere(overrides: dict[str, Any]) -> None:
    assert build_settings("fast", overrides).removal.rollouts == 1


def test_unknown_recipe() -> None:
    with pytest.raises(InputError, match="recipe must be one of paper, fast, but got 'slow'"):
        build_settings("slow")


def test_settings_of_a_damaged_file() -> None:
    values = settings_to_json(RECIPES["paper"])
    values["train"]["speed"] = 1
    with pytest.raises(InputError, match=r"setting train\.speed: unexpected keyword argument"):
        settings_from_json(values)


def test_the_final_training_is_augmented_as_suits_the_data() -> None:
    fast = RECIPES["fast"]
    assert suited_to(fast, "crop-flip").final == replace(fast.final, augment="crop-flip")
    chosen = build_settings("fast", {"final.augment": "flip"})
    assert suited_to(chosen, "crop-flip").final.augment == "flip"
    for none in ({"final.augment": "none"}, {"final": {"augment": "none"}}):
        assert suited_to(build_settings("fast", none), "crop-flip").final.augment == "none"
    refused = build_settings("fast", {"final_augment": False})
    assert suited_to(refused, "crop-flip").final.augment == "none"
    assert suited_to(suited_to(fast, "flip"), "flip") == suited_to(fast, "flip")


def test_without_limits_nothing_looks_at_accuracy_alone() -> None:
    fast = RECIPES["fast"]
    assert (fast.choose_by, fast.formula) == ("accuracy", "accuracy")
    rewarded = {"choose_by": "reward", "formula": "paper"}
    changed = {**rewarded, **dict.fromkeys(WEIGHTS, 0.0)}
    assert fast.unlimited() == build_settings(fast, changed)
    naive = build_settings("paper", {"formula": "naive"})
    assert naive.unlimited() == naive and RECIPES["paper"].unlimited() == RECIPES["paper"]


def test_seeds_depend_on_all_parts_and_their_borders() -> None:
    seeds = [derive_seed(*parts) for parts in ((0, "a"), (1, "a"), (0, "b"), ("0a",), (0, "a", 0))]
    assert len(set(seeds)) == len(seeds)
    assert derive_seed(0, "removal", 3) == 190333046, "runs that were begun could not be resumed"
    assert all(0 <= derive_seed(i) < 2**31 for i in range(100))


def test_one_image_tells_no_variance():
    with pytest.raises(InputError, match="recalibrate_images: must be 0 or at least 2, but got 1"):
        build_settings("fast", {"recalibrate_images": 1})


@pytest.mark.parametrize("training", ["train", "final"])
def test_labels_of_students_are_not_smoothed(training):
    with pytest.raises(InputError, match=f"setting {training}: label_smoothing is for teachers"):
        build_settings("fast", {f"{training}.label_smoothing": 0.1})


@pytest.mark.parametrize(("name", "value"), [("keep_best", True), ("patience", 3)])
def test_search_training_has_no_best_epoch(name, value):
    with pytest.raises(InputError, match="setting train: keep_best and patience are for the final"):
        build_settings("fast", {f"train.{name}": value})
    assert getattr(build_settings("fast", {f"final.{name}": value}).final, name) == value
