"""From charts and tables to one HTML file that opens offline and asks for nothing.

Every text goes through Jinja's escaping, the data of the page through its JSON filter; a content
security policy in the page forbids all requests, so that nothing that a name may contain can
reach the network.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from hwn2n.atomic import write_atomic, writing
from hwn2n.budget.units import format_quantity

LARGEST_PAGE = 6_000_000
"""Bytes. Of them plotly takes nearly five million, however little is drawn."""

_DIGITS = 6
"""Significant digits of the numbers in charts: more than a screen has pixels."""


def render(template: str, *, figures: Mapping[str, Any], **values: Any) -> str:
    """The page of a template in `templates/`.

    `figures` (of `as_data`) are drawn in the elements `<div class="chart" data-chart="KEY">`.
    """
    return (
        _environment()
        .get_template(template)
        .render(
            style=Markup(_file("style.css")),
            script=Markup(_file("page.js")),
            plotly=Markup(get_plotlyjs()),
            figures=figures,
            **values,
        )
    )


def as_data(charts: Mapping[str, go.Figure]) -> dict[str, Any]:
    """Charts as plotly.js reads them, in JSON values."""
    return {key: short(json.loads(figure.to_json())) for key, figure in charts.items()}


def save(page: str, path: str | os.PathLike[str]) -> Path:
    """Write a page, whole or not at all. Raises `InputError` if it cannot."""
    target = Path(path)
    text = page.encode("utf-8", "backslashreplace")  # names of folders need not be UTF-8
    with writing(path):
        write_atomic(target, lambda temporary: temporary.write_bytes(text))
    return target


def room(figures: Mapping[str, Any], taken: int) -> int:
    """Characters that are left in a page with these figures and `taken` others."""
    fixed = len(get_plotlyjs().encode()) + len(_file("style.css")) + len(_file("page.js"))
    drawn = len(json.dumps(figures, separators=(",", ":")))
    return max(0, LARGEST_PAGE - fixed - drawn - taken)


def short(value: Any) -> Any:
    """JSON values with floats cut to the digits that can be seen."""
    if isinstance(value, float):
        return float(f"{value:.{_DIGITS}g}")
    if isinstance(value, dict):
        return {key: short(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [short(entry) for entry in value]
    return value


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("hwn2n.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["seconds"] = lambda seconds: format_quantity(seconds, "latency_p50")
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "ensure_ascii": False}
    return environment


def _file(name: str) -> str:
    return (files("hwn2n.reporting") / "templates" / name).read_text("utf-8")
