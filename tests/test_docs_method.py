"""docs/method.md, the search and its settings agree on the departures from the paper."""

from __future__ import annotations

import dataclasses
import re

import pytest
from cli_tools import ROOT

from hwn2n.distil.recipes import TrainSettings
from hwn2n.search import loop
from hwn2n.search.recipes import RECIPES
from hwn2n.search.settings import settings_to_json
from hwn2n.search.strategy_settings import StageSettings

PAGE = (ROOT / "docs" / "method.md").read_text()
PAPER, FAST = (settings_to_json(RECIPES[name]) for name in ("paper", "fast"))
NO_DEPARTURES = {"recipe", "seed", "device", "learner", "imitate_weight"}
"""Settings that say what is searched with, or only how much of a departure there is."""


def departures() -> dict[int, str]:
    """What the page says of each departure, by number: items of its list, rows of its tables."""
    items = re.findall(r"^(\d+)\. (.*?)(?=^\d+\. |^#|\Z)", PAGE, re.MULTILINE | re.DOTALL)
    rows = re.findall(r"^\| (\d+) \| (.*)$", PAGE, re.MULTILINE)
    return {int(number): text for number, text in items + rows}


def settings_in(text: str) -> set[str]:
    """The names in a text that are settings, with or without a value: `anchor=false`."""
    return {name for name in re.findall(r"`([a-z_.]+)(?:=[^`]*)?`", text) if is_setting(name)}


def is_setting(name: str) -> bool:
    top, _, rest = name.partition(".")
    fields = {"removal": set(StageSettings.model_fields)}
    fields["shrinkage"] = fields["removal"]
    fields["train"] = fields["final"] = {f.name for f in dataclasses.fields(TrainSettings)}
    return top in PAPER if not rest else rest in fields.get(top, set())


def test_departures_are_numbered_in_a_row():
    assert sorted(departures()) == list(range(1, 45))


def test_each_setting_that_the_recipes_differ_in_is_named():
    named = settings_in("".join(departures().values()))
    for name, value in PAPER.items():
        if FAST[name] == value or name in NO_DEPARTURES:
            continue
        if name in ("train", "final"):
            assert f"`{name}.*`" in PAGE
        elif isinstance(value, dict):
            different = {f"{name}.{k}" for k, v in value.items() if FAST[name][k] != v}
            assert different <= named
        else:
            assert name in named, name


@pytest.mark.parametrize("name", sorted(set(PAPER) - NO_DEPARTURES))
def test_each_setting_is_named(name):
    assert re.search(rf"`{name}\b", PAGE)


def test_values_that_turn_departures_off_are_those_of_the_paper():
    for name, value in re.findall(r"`([a-z_.]+)=([^`]+)`", "".join(departures().values())):
        if name in ("learner", "teacher_beside", "final_augment", "strategy"):
            continue  # on in both recipes, or an example
        top, _, rest = name.partition(".")
        stated = PAPER[top][rest] if rest else PAPER[top]
        written = "null" if stated is None else str(stated).lower()
        assert written == value or float(stated) == float(value), name


def test_the_search_uses_the_numbers_of_the_page():
    said = departures()
    lines = re.findall(r"^(\d+)\. (.*)$", loop.__doc__ or "", re.MULTILINE)
    assert len(lines) == 22
    for number, text in lines:
        named = settings_in(text)
        assert named
        assert named <= settings_in(said[int(number)]), number
