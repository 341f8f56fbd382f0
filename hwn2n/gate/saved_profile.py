"""A profile that was saved: what a network cost, once, on a machine that may be far away."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NoReturn

from hwn2n.budget.cost import Reading, cost_from_json
from hwn2n.errors import InputError, one_line

FORMAT = "hwn2n-profile"
FORMAT_VERSION = 1
LARGEST_FILE = 64 * 2**20
"""Bytes. A profile keeps its raw samples; a few hundred thousand of them fit."""
USUAL_CONFIDENCE = 0.95
"""Where a profile names none, as the first ones did not."""


@dataclass(frozen=True, kw_only=True)
class SavedProfile:
    """The part of a saved profile that a check reads.

    `cost` holds what could be had, `unavailable` the reason for what could not; `machine` is the
    fingerprint of machine and target, `confidence` the level of each interval, `inputs` what the
    network ran on, `threads` how many CPU threads it was timed with, None where it was not or the
    profile does not say. `model_digest` says which network it was
    (`network.identity.model_digest`); None where nobody could tell.
    """

    path: str
    model: str
    model_digest: str | None
    input_shape: tuple[int, int, int]
    target: str
    cost: Mapping[str, Reading]
    unavailable: Mapping[str, str]
    machine: Mapping[str, Any]
    confidence: Mapping[str, float] = field(default_factory=dict)
    inputs: str = "noise"
    threads: int | None = None
    torch: str | None = None
    notes: tuple[str, ...] = field(default=())

    def missing(self, column: str) -> str | None:
        """Why the profile has no `column`; None if it has."""
        if column in self.cost:
            return None
        reason = self.unavailable.get(column, "it was not asked for")
        return f"{self.path} does not have it: {reason}"

    def too_vague(self, column: str, confidence: float) -> str | None:
        """Why the interval of `column` does not hold at `confidence`; None if it does."""
        reading = self.cost[column]
        if reading.low is None and reading.high is None:
            return None
        known = self.confidence.get(column, USUAL_CONFIDENCE)
        if confidence <= known + 1e-9:
            return None
        return (
            f"its interval in {self.path} holds at {known:g}, and must at {confidence:g}: "
            "hwn2n profile --budget measures so"
        )

    def cached(self, column: str) -> Reading:
        """The reading of `column`, which says that it was not measured now."""
        reading = self.cost[column]
        return reading if reading.how == "exact" else replace(reading, how="cached")


def require_version(data: Mapping[str, Any], name: str) -> None:
    """Raises InputError where the profile in the file `name` is of another version."""
    if data.get("version") != FORMAT_VERSION or data["version"] is True:
        raise InputError(
            f"{name}: the version of a profile must be {FORMAT_VERSION}; found "
            f"{one_line(repr(data.get('version')), 40)}"
        )


def load_profile(path: str | os.PathLike[str]) -> SavedProfile:
    """Read what `hwn2n profile --out` or `--save-baseline` wrote.

    Raises InputError with the file and what is wrong for anything else.
    """
    name = os.fspath(path)
    data = _read(Path(path))
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise InputError(f"{name}: must be a profile saved by hwn2n profile --out or a baseline")
    require_version(data, name)
    try:
        channels, height, width = data["input_shape"]
        versions = _mapping(_mapping(data.get("provenance", {})).get("versions", {}))
        return SavedProfile(
            path=name,
            model=_text(data["model"]),
            model_digest=_optional_text(data.get("model_digest")),
            input_shape=(_size(channels), _size(height), _size(width)),
            target=_text(data["target"]),
            cost=cost_from_json(data["cost"]),
            unavailable={
                key: _text(value) for key, value in _mapping(data.get("unavailable", {})).items()
            },
            machine=_mapping(data["machine"]),
            confidence={
                key: _level(value) for key, value in _mapping(data.get("confidence", {})).items()
            },
            inputs=_text(data.get("inputs", "noise")),
            threads=timed_threads(_mapping(data.get("samples", {}))),
            torch=_optional_text(versions.get("torch")),
            notes=tuple(_text(note) for note in _list(data.get("notes", []))),
        )
    except KeyError as error:
        raise InputError(f"{name}: a profile must have {error.args[0]!r}; found none") from error
    except (TypeError, ValueError, InputError) as error:
        raise InputError(f"{name}: damaged profile: {one_line(error)}") from error


def timed_threads(samples: Mapping[str, Any]) -> int | None:
    """The CPU threads that raw `samples` were timed with (`hardware.latency.LatencySample`)."""
    found = _mapping(samples.get("latency", {})).get("threads")
    return None if found is None else _size(found)


def _read(path: Path) -> Any:
    try:
        with path.open("rb") as file:
            raw = file.read(LARGEST_FILE + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"{path}: must be a readable profile; found: {reason}") from error
    if len(raw) > LARGEST_FILE:
        raise InputError(f"{path}: a profile must be at most {LARGEST_FILE} bytes; this is not")
    try:
        return json.loads(raw, parse_constant=_not_finite)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: a profile must be JSON; found: {one_line(error)}") from error


def _not_finite(text: str) -> NoReturn:
    raise ValueError(f"numbers must be finite, and {text} is not")


def _mapping(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError(f"an object must stand where {type(value).__name__} does")
    return value


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError(f"a list must stand where {type(value).__name__} does")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"text must stand where {type(value).__name__} does")
    return value


def _optional_text(value: Any) -> str | None:
    return None if value is None else _text(value)


def _size(value: Any) -> int:
    if type(value) is not int or value < 1:
        raise ValueError(f"sizes must be whole numbers from 1; found {value!r}")
    return value


def _level(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1:
        raise ValueError(f"confidence must lie between 0 and 1; found {value!r}")
    return float(value)


def is_profile(path: str | os.PathLike[str]) -> bool:
    """Whether a file's name says that it is a saved profile and not a network."""
    return Path(path).suffix.lower() == ".json"
