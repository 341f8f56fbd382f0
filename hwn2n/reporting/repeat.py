"""The command that repeats a run, and which of its settings are not the recipe's."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hwn2n.reporting.axes import NOTHING
from hwn2n.run.folder import IN_MEMORY
from hwn2n.search.recipes import RECIPES
from hwn2n.search.settings import Settings, dotted, settings_to_json

_OPTIONS = {
    "arch": "--arch",
    "data_root": "--data-root",
    "image_size": "--image-size",
    "validation": "--validation",
    "split_seed": "--split-seed",
    "threads": "--threads",
}
_FLAGS = {"download": "--download", "unsafe_pickle": "--unsafe-pickle"}


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One setting of a run; `usual` is the recipe's value, in JSON as `value` is."""

    name: str
    value: str
    usual: str

    @property
    def changed(self) -> bool:
        """Whether the recipe says otherwise."""
        return self.value != self.usual


def settings_table(settings: Settings) -> list[Setting]:
    """Every setting by its dotted name, but for the recipe's, which is the first column's."""
    recipe = RECIPES.get(settings.recipe, RECIPES["paper"])
    usual = dict(dotted(settings_to_json(recipe)))
    return [
        Setting(name=name, value=json.dumps(value), usual=json.dumps(usual.get(name)))
        for name, value in dotted(settings_to_json(settings))
        if name != "recipe"
    ]


def command(
    request: Mapping[str, Any],
    settings: Settings,
    *,
    budget: str | None,
    target: str | None,
    policies: Sequence[str] = (),
) -> str | None:
    """The shell line that repeats a run; None where it was given objects, and not files.

    `budget` is the budget's file, `target` the name of what measures where the budget does not
    say it, `policies` are the files that the search started from.
    """
    if IN_MEMORY in (request["teacher"], request["data"]):
        return None
    words = ["hwn2n", "compress", str(request["teacher"]), "--data", str(request["data"])]
    if budget is not None:
        words += ["--budget", budget]
    if settings.recipe in RECIPES:
        words += ["--recipe", settings.recipe]
    for name, option in _OPTIONS.items():
        if request.get(name) is not None:
            words += [option, str(request[name])]
    if request.get("input_shape") is not None:
        words += ["--input-shape", ",".join(str(size) for size in request["input_shape"])]
    words += [flag for name, flag in _FLAGS.items() if request.get(name)]
    if target is not None:
        words += ["--target", target]
    for policy in policies:
        words += ["--policy", policy]
    for setting in settings_table(settings):
        if setting.changed:
            words += ["--set", f"{setting.name}={_yaml(setting.value)}"]
    return shlex.join(words)


def target_name(stored: Any) -> str | None:
    """What `--target` says for the target that a request stored; None for an object."""
    if not isinstance(stored, Mapping):
        return None
    return str(stored.get("name") or stored.get("device", "cpu"))


def _yaml(text: str) -> str:
    """JSON as a person types it: a plain word without its quotes."""
    value = json.loads(text)
    return value if isinstance(value, str) and value.isidentifier() else text


def flat_texts(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Nested values as lines of a table: dotted name and text."""
    return [
        (name, NOTHING if value is None or value in ({}, []) else _text(value))
        for name, value in dotted(values)
    ]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
