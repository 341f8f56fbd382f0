"""A budget that was given as Python data, as the YAML text that stands for it in a run's folder."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any

import yaml


def as_yaml(budget: Mapping[str, Any]) -> str:
    """The YAML text of a mapping that `load_budget` takes; it reads the text as the same budget."""
    return yaml.safe_dump(_plain(budget), sort_keys=False)


def _plain(value: Any) -> Any:
    """A copy of dict, list, str, int, float, bool and None only.

    PyYAML writes no subclasses of these, such as OrderedDict, and no numbers of NumPy. It writes
    what stands in two places as an alias, which budgets must not have; a copy stands in one.
    """
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, str):
        return str(value)
    if isinstance(value, bool):  # which is Integral, too
        return value
    if isinstance(value, Integral):
        return int(value)
    return float(value) if isinstance(value, Real) else value
