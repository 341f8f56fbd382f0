"""The walk over model zoos: what passes, what the table says, and one network really checked."""

import json
from pathlib import Path

import pytest
from networks import Mixed, seeded

from benchmarks import coverage, coverage_check

ROW = {
    "model": "net",
    "image": 32,
    "params": 1_500_000,
    "difference": 0.0,
    "counts": None,
    "reachable": {"params": 0.987, "params_by_widths": 0.9, "flops_by_widths": 0.9},
    "widths": {"passed": 20, "failed": []},
    "removals": {"passed": 20, "failed": []},
    "onnx": "passed",
    "freezing": [["the logits: one for each class", 1], ["divides its channels", 3]],
    "wall_seconds": 12.3,
}


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({}, "passed"),
        ({"difference": 2e-5}, "failed: no decision differs"),
        ({"counts": "counts differ"}, "failed: counts"),
        ({"widths": {"passed": 19, "failed": [["no", 1]]}}, "failed: widths"),
        ({"onnx": "differs by 1"}, "failed: ONNX"),
        ({"error": "took more than 5 s"}, "error: took more than 5 s"),
    ],
)
def test_verdicts(changes, verdict):
    assert coverage.verdict(ROW | changes) == verdict


def test_table():
    rival = {"net": {"model": "net", "prunes": "forward: RuntimeError: no", "passed": False}}
    lines = coverage.table([ROW, ROW | {"model": "other", "error": "too large"}], rival).split("\n")
    assert lines[2] == (
        "| net | 1.5M | 32 | 99 % | 20/20 | 20/20 | yes | divides its channels | 12 "
        "| failed: forward: RuntimeError: no |"
    )
    assert "too large" in lines[3]
    assert len({line.count("|") for line in lines}) == 1


def test_names():
    path = Path(coverage.__file__).with_name("timm-cnns.txt")
    found = coverage.names("timm", [str(path), "resnet10t"])
    assert len(found) == len(set(found)) > 60
    assert found[-1] == "resnet10t"


def test_results_of_one_walk_say_what_they_are_of():
    for path in coverage.RESULTS.glob("coverage-*.json"):
        content = json.loads(path.read_text())
        assert content["command"].startswith("python -m benchmarks.coverage")
        assert content["passed"] == sum(
            coverage.verdict(row) == "passed" for row in content["rows"]
        )
        assert content["table"] in coverage.table(
            content["rows"], {row["model"]: row for row in content["rival"]}
        )


def test_a_network_is_checked(monkeypatch):
    monkeypatch.setattr(coverage_check, "DECISIONS", 3)
    monkeypatch.setattr(coverage_check, "build", lambda source, name: seeded(Mixed))
    monkeypatch.setattr(coverage_check, "IMAGE_SIZES", (8,))
    row = coverage_check.check("mine", "mixed", with_export=False)
    assert row["captured"]
    assert row["difference"] == 0
    assert row["counts"] is None
    assert row["widths"] == row["removals"] == {"passed": 3, "failed": []}
    assert row["reachable"]["params"] == 1
    assert coverage.verdict(row | {"wall_seconds": 1.0}) == "passed"
    monkeypatch.setattr(coverage_check, "IMAGE_SIZES", (4,))
    assert "no image size fits" in coverage_check.check("mine", "mixed", with_export=False)["error"]
