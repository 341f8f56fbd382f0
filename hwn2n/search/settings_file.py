"""Settings overrides in a YAML file, every error with its file and line."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from hwn2n.budget.strict_yaml import Document, load_yaml
from hwn2n.errors import InputError
from hwn2n.search.recipes import build_settings
from hwn2n.search.settings import Settings


def load_overrides(path: str | os.PathLike[str], recipe: str | Settings) -> dict[str, Any]:
    """The overrides of `recipe` in the file at `path`, nested or with dotted names, checked.

    Raises InputError with `file:line` of the first setting that the recipe does not take.
    """
    build_settings(recipe)  # an unknown recipe is no fault of the file
    document = load_yaml(os.fspath(path))
    if not isinstance(document.data, dict):
        raise document.error((), f"settings must be a mapping; found {document.data!r:.60}")
    try:
        build_settings(recipe, document.data)
    except InputError as error:
        raise _located(error, document, recipe) from error
    return document.data


def _located(error: InputError, document: Document, recipe: str | Settings) -> InputError:
    """The error with the line of the first setting that is wrong by itself.

    Settings that are wrong only together (milestones and their factors) have no such line.
    """
    for path, value in _leaves(document.data, ()):
        try:
            build_settings(recipe, {".".join(path): value})
        except InputError as own:
            return document.error(path, str(own))
    return document.error((), str(error))


def _leaves(data: Any, path: tuple[str, ...]) -> Iterator[tuple[Any, Any]]:
    """(keys, value) of all that is no mapping, in the order of the file; empty mappings too."""
    if not isinstance(data, dict) or not data:
        yield path, data
        return
    for key, value in data.items():
        yield from _leaves(value, (*path, key))
