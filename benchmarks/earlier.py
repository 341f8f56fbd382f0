"""Rows of earlier sessions: one experiment may take many, on machines that keep nothing.

A result file that lies in benchmarks/results already is gone on with, not replaced: its rows stay
where they are of the very same experiment, and are not run again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hwn2n.errors import InputError
from hwn2n.run.folder import read_json

Rows = list[dict[str, Any]]


def earlier_rows(path: Path, same: Mapping[str, Any]) -> Rows:
    """The rows of the result file, with their settings; [] where there is no file.

    Raises `InputError` where it is of another experiment: where it has not what `same` has.
    """
    if not path.exists():
        return []
    before = read_json(path)
    wanted = json.loads(json.dumps(dict(same), default=dict))
    if different := sorted(name for name in wanted if before.get(name) != wanted[name]):
        raise InputError(
            f"{path}: must be of the experiment that is asked for, but differs in "
            f"{', '.join(different)}; move it away to begin anew"
        )
    settings = before.get("settings", {})
    return [{"settings": settings.get(row["strategy"]), **row} for row in before["runs"]]


def joined(now: Rows, earlier: Rows, order: Sequence[str]) -> Rows:
    """Both, in the order of strategies and seeds; a row of now stands for an earlier one.

    Earlier rows of a strategy whose settings are others now are left out: a line of a table must
    be of one thing.
    """
    settings = {row["strategy"]: row["settings"] for row in now}
    known = {(row["strategy"], row["seed"]) for row in now}
    kept = [
        row
        for row in earlier
        if (row["strategy"], row["seed"]) not in known
        and settings.get(row["strategy"], row["settings"]) == row["settings"]
    ]
    return sorted([*now, *kept], key=lambda row: (order.index(row["strategy"]), row["seed"]))
