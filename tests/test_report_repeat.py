"""The command that repeats a run: as many threads, and files whatever their names."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest
import small
import torch
import yaml

from hwn2n.commands.request import read_request
from hwn2n.commands.run_facts import repeat_command
from hwn2n.hardware.targets import build_target
from hwn2n.reporting.repeat import command
from hwn2n.run.folder import IN_MEMORY, RunFolder


def words_of(**request: Any) -> list[str] | None:
    values = {"teacher": "t.pt", "data": "digits", **request}
    line = command(values, small.settings(), budget=None, target=None)
    return None if line is None else shlex.split(line)


def test_the_threads_are_named_where_they_are_known() -> None:
    named = words_of(threads=3)
    assert named is not None and named[named.index("--threads") + 1] == "3"
    for request in ({}, {"threads": None}):
        plain = words_of(**request)
        assert plain is not None and "--threads" not in plain


@pytest.mark.parametrize("name", ["(x)/t.pt", "(given as an object)/t.pt"])
def test_a_file_may_begin_with_a_parenthesis(name: str) -> None:
    words = words_of(teacher=name)
    assert words is not None and words[:3] == ["hwn2n", "compress", name]
    assert words_of(teacher=IN_MEMORY) is None and words_of(data=IN_MEMORY) is None


def test_a_run_writes_down_its_threads(tmp_path: Path) -> None:
    small.compress(tmp_path / "run", recipe=small.settings(removal__updates=0, final__epochs=1))
    folder = RunFolder.open(tmp_path / "run")
    config = json.loads(folder.config.read_text())
    assert config["request"]["threads"] == torch.get_num_threads() > 0
    config["request"] |= {"teacher": "t.pt", "data": "digits"}
    folder.config.write_text(json.dumps(config))
    assert f"--threads {torch.get_num_threads()}" in (repeat_command(folder) or "")
    del config["request"]["threads"]  # as versions wrote it that did not know of them
    folder.config.write_text(json.dumps(config))
    assert read_request(folder)[0].threads is None
    assert "--threads" not in (repeat_command(folder) or "--threads")


@pytest.mark.parametrize(
    ("budgets", "used", "named"),
    [
        (None, "cpu", None),
        (None, "cuda:1", "cuda:1"),
        ("cpu", "cpu", None),
        ("cpu", "cuda", "cuda"),
        ("cuda", "cpu", "cpu"),
        ("cuda", "cuda", None),
        ("{device: cpu, runtime: compile}", "{device: cpu, runtime: compile}", None),
        ("no-such-profile", "cpu", None),
    ],
)
def test_a_target_is_named_where_it_is_not_the_budgets(
    digits_run: tuple[Path, Any], tmp_path: Path, budgets: str | None, used: str, named: str | None
) -> None:
    folder = RunFolder(tmp_path)
    line = "" if budgets is None else f"target: {budgets}\n"
    folder.budget.write_text(small.BUDGET + line)
    config = json.loads(RunFolder(digits_run[0]).config.read_text())
    config["request"]["target"] = build_target(yaml.safe_load(used)).to_json()
    folder.config.write_text(json.dumps(config))
    words = shlex.split(repeat_command(folder) or "")
    assert (words[words.index("--target") + 1] if "--target" in words else None) == named


def test_a_target_is_named_as_it_was_asked_for(
    digits_run: tuple[Path, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my boards").mkdir()
    board = tmp_path / "my boards" / "board.yaml"
    board.write_text(
        "apiVersion: hwn2n/v1\nkind: target\nname: board\ndevice: cpu\nruntime: compile\n"
    )
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir()
    config = json.loads(RunFolder(digits_run[0]).config.read_text())
    config["request"]["target"] = build_target(str(board)).to_json()
    config["request"] |= {"target_given": "my boards/board.yaml", "begun_in": str(tmp_path)}
    folder.config.write_text(json.dumps(config))
    for here, named in ((tmp_path, "my boards/board.yaml"), (folder.path, str(board))):
        monkeypatch.chdir(here)
        words = shlex.split(repeat_command(folder) or "")
        assert words[words.index("--target") + 1] == named
        assert build_target(named).to_json() == config["request"]["target"]


def test_a_run_keeps_by_what_its_target_was_asked_for(tmp_path: Path) -> None:
    small.compress(tmp_path / "run", target="cpu", budget=None, recipe=small.settings())
    assert read_request(RunFolder(tmp_path / "run"))[0].target_given == "cpu"
