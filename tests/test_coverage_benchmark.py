"""The walk over model zoos: what passes, what the table says, and one network really checked."""

import json
from pathlib import Path

import pytest
from networks import Mixed, seeded

from benchmarks import coverage, coverage_check, coverage_zoo

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


def test_summary():
    rival = {"model": "net", "prunes": None, "passed": True, "wall_seconds": 3.0}
    slow = ROW | {"model": "other", "onnx": "differs by 1", "wall_seconds": 20.3}
    lines = coverage.summary("torchvision", 80, [ROW, slow], [rival]).split("\n")
    assert lines[2] == "| torchvision | 80 | hwn2n | 2 | 1 | 16 |"
    assert lines[3] == "| torchvision | 80 | Torch-Pruning 1.6.1 | 1 | 1 | 3 |"
    assert len(coverage.summary("timm", 89, [ROW], []).split("\n")) == 3


@pytest.mark.parametrize(
    "path", sorted(coverage.RESULTS.glob("coverage-*.json")), ids=lambda p: p.stem
)
def test_published_results_say_what_they_are_of(path):
    content = json.loads(path.read_text())
    assert content["command"].startswith("python -m benchmarks.coverage")
    rows, rivals = content["rows"], content["rival"]
    assert content["passed"] == sum(coverage.verdict(row) == "passed" for row in rows)
    assert len(rows) <= content["of"]
    source = path.stem.removeprefix("coverage-")
    assert content["table"] == coverage.summary(source, content["of"], rows, rivals)
    whole = path.with_suffix(".md").read_text()
    assert coverage.table(rows, {row["model"]: row for row in rivals}) in whole


def test_a_network_is_checked(monkeypatch):
    monkeypatch.setattr(coverage_check, "DECISIONS", 3)
    monkeypatch.setattr(coverage_check, "build", lambda source, name: seeded(Mixed))
    monkeypatch.setattr(coverage_zoo, "IMAGE_SIZES", (8,))
    row = coverage_check.check("mine", "mixed", with_export=False)
    assert row["captured"]
    assert row["difference"] == 0
    assert row["counts"] is None
    assert row["widths"] == row["removals"] == {"passed": 3, "failed": []}
    assert row["reachable"]["params"] == 1
    assert coverage.verdict(row | {"wall_seconds": 1.0}) == "passed"
    monkeypatch.setattr(coverage_zoo, "IMAGE_SIZES", (4,))
    assert "no image size fits" in coverage_check.check("mine", "mixed", with_export=False)["error"]


def test_a_walk_goes_on_from_what_is_published(tmp_path):
    published = tmp_path / "coverage.json"
    published.write_text(json.dumps({"rows": [{"model": "a", "x": 1}, {"model": "b", "x": 2}]}))
    folder = tmp_path / "rows"
    folder.mkdir()
    (folder / "b.json").write_text(json.dumps({"model": "b", "x": 3}))
    coverage.restore(published, "rows", folder)
    found = coverage.collect(folder, ["a", "b", "c"])
    assert [(row["model"], row["x"]) for row in found] == [("a", 1), ("b", 3)]
    coverage.restore(tmp_path / "none.json", "rows", folder)
