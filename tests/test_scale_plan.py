"""The arithmetic of benchmarks/scale_plan.py, by hand, and where its figures go."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import scale
from benchmarks.scale_plan import barrier, driver_ms, page, plan

DRIVER = {
    "teacher": "net",
    "sample_ms": 1.0,
    "plan_ms": 20.0,
    "plan_ms_max": 30.0,
    "learn_ms": 2.0,
    "hand_out_ms": 1.5,
    "task_kB": 10.0,
    "kit_MB": 4.0,
    "measure_s": 0.6,
}
LEDGER = {"rows": 1000, "add_ms": 3.0, "standing_ms": 2.0, "trainings_of_a_key_ms": 0.5}


def found() -> dict[str, list[dict[str, Any]]]:
    tables: dict[str, list[dict[str, Any]]] = {
        "searches": [{"teacher": "net", "workers": "this process", "setup_s": None}],
        "driver": [dict(DRIVER)],
        "barrier": barrier("net", [1.0], seed=0),
        "ledger": [dict(LEDGER)],
    }
    return {**tables, "plan": plan(tables)}


def test_workers_are_never_idle_where_all_trainings_last_as_long() -> None:
    rows = barrier("net", [3.0], seed=0)
    assert {row["busy_share"] for row in rows} == {1.0}
    assert {row["slowest_by_mean"] for row in rows} == {1.0}


def test_an_update_waits_for_its_slowest() -> None:
    """One candidate for each of 1,000 workers, half of them ten times as long: 5.5 of 10."""
    [row] = [r for r in barrier("net", [1.0, 10.0], 0) if r["candidates_of_an_update"] == 1000]
    assert row["workers"] == 1000 and row["busy_share"] == pytest.approx(0.55, abs=0.01)
    more = barrier("net", [1.0, 10.0], 0)[-1]
    assert more["candidates_of_an_update"] == 4000 and more["busy_share"] > row["busy_share"]


def test_the_driver_is_what_comes_on_top() -> None:
    assert driver_ms(DRIVER, LEDGER) == 1.0 + 20.0 + 2.0 + 1.5 + 3.0 + 2.0 + 0.5
    rows = {
        (r["workers"], r["candidates_of_an_update"], r["training_s"]): r for r in found()["plan"]
    }
    row = rows[1000, 1000, 10.0]
    assert row["driver_s_of_an_update"] == 30.0 and row["waiting_s_for_the_last"] == 0.0
    assert row["busy_share"] == 0.25  # 10 of 30 + 10
    assert rows[1000, 4000, 60.0]["busy_share"] == round(240 / (120 + 240), 3)
    assert row["boards_to_keep_up"] == 60 and rows[16, 16, 600.0]["boards_to_keep_up"] == 1
    assert row["sent_MB_of_an_update"] == 10.0
    assert row["broadcast_once_MB"] == 125 * 4.0 and row["broadcast_s"] == 0.4


def test_the_page_names_what_it_says() -> None:
    text = page(found())
    assert "the driver spends 30.0 ms on a candidate, most of it on `plan_ms`" in text
    assert "so it feeds 33 candidates a second" in text
    assert "| net | this process |  |" in text
    assert [part.strip("*") for part in text.split("\n\n")[:-1:2]] == [
        "searches",
        "driver",
        "barrier",
        "ledger",
        "plan",
    ]


def test_figures_stand_between_their_marks() -> None:
    document = scale.DOCUMENT.read_text()
    [old] = scale._FIGURES.findall(document)
    assert scale._FIGURES.sub("\nnew\n\n", document) == document.replace(old, "\nnew\n\n")
    results = Path(scale.RESULTS / "scale.json")
    expected = json.loads(results.read_text())["table"] if results.exists() else "Not measured yet."
    assert old.strip() == expected


def test_parts_are_measured_once_and_only_for_one_machine(tmp_path: Path) -> None:
    path = tmp_path / "kept" / "parts.json"
    calls: list[int] = []

    def measure() -> list[int]:
        calls.append(1)
        return [7]

    assert scale.Parts(path, {"machine": "a"}).part("x", measure) == [7]
    assert scale.Parts(path, {"machine": "a"}).part("x", measure) == [7] and len(calls) == 1
    with pytest.raises(SystemExit, match="must be of this machine and these versions"):
        scale.Parts(path, {"machine": "b"})
