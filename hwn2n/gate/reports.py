"""The formats that machines read, by their names."""

from __future__ import annotations

import json
from collections.abc import Callable

from hwn2n.gate.github import github
from hwn2n.gate.junit import junit
from hwn2n.gate.markdown import markdown
from hwn2n.gate.outcome import Check


def as_json(check: Check) -> str:
    """One JSON document (`Check.to_json`). Ends with a line break."""
    return json.dumps(check.to_json(), indent=2, allow_nan=False) + "\n"


REPORTS: dict[str, Callable[[Check], str]] = {
    "json": as_json,
    "junit": junit,
    "github": github,
    "markdown": markdown,
}

FORMATS = ("text", *REPORTS)
