"""README's tables are those of the published results, and of nothing else."""

import json
from pathlib import Path

import pytest

from benchmarks.runs import RESULTS, table

README = (Path(__file__).parent.parent / "README.md").read_text()
PUBLISHED = sorted(RESULTS.glob("*.json"))


def test_there_are_published_results():
    assert [path.stem for path in PUBLISHED if path.stem == "mnist-20k"]


@pytest.mark.parametrize("path", PUBLISHED, ids=lambda path: path.stem)
def test_the_table_of_each_result_stands_in_readme(path):
    content = json.loads(path.read_text())
    assert (content["table"] if "table" in content else table(content["runs"])) in README


@pytest.mark.parametrize("path", PUBLISHED, ids=lambda path: path.stem)
def test_each_result_names_what_is_needed_to_judge_it(path):
    content = json.loads(path.read_text())
    assert content["machine"] and content["versions"]["torch"] and content["date"]
    assert content["command"].startswith("python -m benchmarks.")
    if "table" not in content:
        seeds = {(run["strategy"], run["seed"]) for run in content["runs"]}
        assert len(seeds) == len(content["runs"]) > 0
