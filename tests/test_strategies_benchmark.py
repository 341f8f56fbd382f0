"""Tables of strategies, and experiments that many sessions go on with: by hand-made rows."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from benchmarks.contenders import DEFAULT, STRATEGIES
from benchmarks.earlier import earlier_rows, joined
from benchmarks.paper.registry import chosen
from benchmarks.runs import NOTHING_FOUND, collect, table
from benchmarks.strategies import TRAINING, curves, rivals_row
from hwn2n.errors import InputError
from hwn2n.search.recipes import RECIPES, build_settings
from hwn2n.search.settings import settings_to_json


def row(strategy: str, seed: int, test: float = 0.9, **more: Any) -> dict[str, Any]:
    return {
        "strategy": strategy,
        "seed": seed,
        "settings": {"strategy": strategy},
        "inside": True,
        "params": 100 + seed,
        "test_accuracy": test,
        "candidates": {"all": 3},
        "seconds": {"search": 10.0, "final_training": 5.0},
        "seconds_per_trained_candidate": 2.0,
        "feasible_share": 1.0,
        "best_search_accuracy_by_candidate": [0.5],
        "seconds_by_candidate": [1.0],
        **more,
    }


def nothing(strategy: str, seed: int) -> dict[str, Any]:
    return {"strategy": strategy, "seed": seed, "settings": {"strategy": strategy}, "inside": False}


def test_a_table_has_medians_and_says_how_many_found_nothing() -> None:
    rows = [row("a", 0, 0.90), row("a", 1, 0.91), row("a", 2, 0.98), nothing("a", 3)]
    lines = table([*rows, nothing("b", 0)]).splitlines()
    assert lines[2] == "| a | 3 of 4 | 3 | 100 to 102 | 91.00 % (90.00 to 98.00) | 10 | 2.0 | 5 |"
    assert lines[3] == "| b | 0 of 1 | | | | | | |"


def test_curves_are_medians_of_searches_with_more_than_one_candidate() -> None:
    curve = [0.1] * 9 + [0.2] * 11
    seconds = [float(n) for n in range(1, 21)]
    many = [
        row("a", seed, best_search_accuracy_by_candidate=[x + lift for x in curve],
            seconds_by_candidate=seconds)
        for seed, lift in enumerate((0.0, 0.01, 0.5))
    ]  # fmt: skip
    lines = curves([*many, row("one candidate", 0), nothing("none", 0)]).splitlines()
    assert lines[0].startswith("| strategy | best of 10 | best of 20 | after 5 s | after 10 s |")
    assert lines[2:] == ["| a | 21.00 | 21.00 | 11.00 | 21.00 | 21.00 | 100% |"]


def published(path: Path, rows: list[dict[str, Any]], **same: Any) -> Path:
    settings = {one["strategy"]: one["settings"] for one in rows}
    runs = [{k: v for k, v in one.items() if k != "settings"} for one in rows]
    path.write_text(json.dumps({**same, "settings": settings, "runs": runs}))
    return path


def test_rows_that_were_published_are_gone_on_with(tmp_path: Path) -> None:
    path = published(tmp_path / "r.json", [row("b", 1), row("a", 0)], teacher_weights="x")
    earlier = earlier_rows(path, {"teacher_weights": "x"})
    assert earlier == [row("b", 1), row("a", 0)]
    again = row("b", 1, 0.5)
    assert joined([again, row("b", 0)], earlier, ["a", "b"]) == [row("a", 0), row("b", 0), again]


def test_rows_of_other_settings_are_left_out() -> None:
    other = {**row("a", 0), "settings": {"strategy": "a", "population": 7}}
    assert joined([row("a", 1)], [other, row("b", 0)], ["a", "b"]) == [row("a", 1), row("b", 0)]


def test_a_file_of_another_experiment_is_refused(tmp_path: Path) -> None:
    path = published(tmp_path / "r.json", [], teacher_weights="x", case={"limits": {}})
    with pytest.raises(InputError, match=r"r\.json: must be of the experiment .* teacher_weights"):
        earlier_rows(path, {"teacher_weights": "y", "case": {"limits": {}}})
    assert earlier_rows(tmp_path / "none.json", {}) == []


def test_a_search_that_found_nothing_has_a_row(tmp_path: Path) -> None:
    folder = tmp_path / "random-actions-4"
    folder.mkdir()
    told = {"inside": False, "reason": "none of 3 candidates", "settings": {"seed": None}}
    (folder / NOTHING_FOUND).write_text(json.dumps(told))
    assert collect(["random actions"], [3, 4], tmp_path) == [
        {"strategy": "random actions", "seed": 4, **told}
    ]


def test_of_a_rival_only_the_settings_of_its_training_count() -> None:
    settings = settings_to_json(build_settings("fast"))
    searched_otherwise = {**settings, "strategy": "local", "granularity": "operator"}
    rows = [
        rivals_row({**row("a", seed), "settings": given, "machine": {}})
        for seed, given in enumerate((settings, searched_otherwise))
    ]
    assert joined(rows[1:], rows[:1], ["a"]) == rows
    assert rows[0]["settings"] == {name: settings[name] for name in TRAINING}
    assert "machine" not in rows[0] and rows[0]["test_accuracy"] == 0.9


def test_what_is_called_the_default_is_what_the_recipe_does() -> None:
    assert build_settings("fast", STRATEGIES[DEFAULT]) == RECIPES["fast"]


def test_what_is_run_on_a_gpu_exists() -> None:
    script = (Path(__file__).parent.parent / "benchmarks/gpu.sh").read_text(encoding="utf-8")
    script = script.replace("\\\n", " ")
    named = re.search(r"--strategies (.*)", script)
    assert named
    strategies = shlex.split(named[1])
    assert strategies[0] == DEFAULT
    assert set(strategies) <= set(STRATEGIES)
    rows = [shlex.split(line) for line in re.findall(r"^row (.*)", script, re.MULTILINE)]
    assert len(rows) > 10
    for pattern, *_ in rows:
        assert chosen([pattern])
