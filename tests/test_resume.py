"""Kill a run anywhere, go on with it, and nothing is different from a run that nobody killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import small
import torch
from safetensors.torch import load_file

import hwn2n
from hwn2n.distil.datasets import Data
from hwn2n.errors import InputError
from hwn2n.network.files import load_teacher
from hwn2n.run.candidate import State
from hwn2n.run.ledger import Ledger

SCRIPT = Path(__file__).parent / "killed.py"
KILLED = (
    "before-teacher-cost",
    "in-training",
    "after-row-5",
    "before-checkpoint",
    "in-checkpoint-1",
    "after-search",
    "in-final-epoch-2",
    "after-final-epoch-3",
    "in-export",
    "in-result",
)
INTERRUPTED = ("ctrl-c", "ctrl-c-twice")


def process(*arguments: object, hash_seed: int = 0) -> subprocess.Popen[str]:
    environment = os.environ | {
        "PYTHONPATH": f"{SCRIPT.parent.parent}{os.pathsep}{SCRIPT.parent}",
        "PYTHONHASHSEED": str(hash_seed),
        "OMP_NUM_THREADS": "1",
    }
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", str(SCRIPT), *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, tuple[int, int]]]:
    """A run for each point, and the exit codes of its two processes."""
    folder = tmp_path_factory.mktemp("runs")
    out, err = process(folder, "--each", "never", *KILLED, *INTERRUPTED).communicate(timeout=280)
    codes = {}
    for line in out.splitlines():
        point, first, second = line.split()
        codes[point] = (int(first), int(second))
    assert set(codes) == {"never", *KILLED, *INTERRUPTED}, err
    return folder, codes


def rows(run: Path) -> list[dict[str, Any]]:
    ledger = Ledger(run / "ledger.sqlite")
    found = [candidate.comparable() for candidate in ledger.candidates()]
    ledger.close()
    return found


def updates(run: Path) -> list[dict[str, Any]]:
    ledger = Ledger(run / "ledger.sqlite")
    found = [*ledger.updates("removal"), *ledger.updates("shrinkage")]
    ledger.close()
    return found


def assert_same(run: Path, reference: Path) -> None:
    """Ledger, policies, student and result are equal to the last bit; the clock is not."""
    assert rows(run) == rows(reference)
    assert updates(run) == updates(reference)
    for name in ("removal", "shrinkage"):
        path = f"policies/{name}.safetensors"
        assert (run / path).read_bytes() == (reference / path).read_bytes()
    mine, theirs = (load_file(path / "student.safetensors") for path in (run, reference))
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)
    images = torch.rand(3, *small.SHAPE, generator=torch.Generator().manual_seed(5))
    outputs = [load_teacher(path / "student.pt2").model(images) for path in (run, reference)]
    assert torch.equal(*outputs)
    results = [json.loads((path / "result.json").read_text()) for path in (run, reference)]
    for result in results:
        assert result.pop("folder") and result.pop("seconds")
        # a budget that was given as text has no file until the run is resumed
        assert all(row.pop("text") for row in result["rows"])
    assert results[0] == results[1]
    # tensorboard, where it is installed, names its files by the clock
    passing = ("ledger.sqlite-", "tensorboard")
    left = {name for name in small.files(run) if not name.startswith(passing)}
    assert left == {name for name in small.files(reference) if not name.startswith(passing)}


def test_the_reference_has_something_to_compare(runs: tuple[Path, dict[str, Any]]) -> None:
    folder, codes = runs
    assert codes["never"] == (0, 0)
    candidates = rows(folder / "never")
    assert [row["id"] for row in candidates] == list(range(1, 10))
    states = {row["state"] for row in candidates}
    assert {State.TRAINED.value, State.REUSED.value} <= states
    assert len(updates(folder / "never")) == 4
    assert len({row["reward"] for row in candidates}) > 4


@pytest.mark.parametrize("point", KILLED)
def test_killed_and_resumed(runs: tuple[Path, dict[str, Any]], point: str) -> None:
    folder, codes = runs
    assert codes[point] == (-signal.SIGKILL, 0)
    assert_same(folder / point, folder / "never")


@pytest.mark.parametrize("point", INTERRUPTED)
def test_interrupted_and_resumed(runs: tuple[Path, dict[str, Any]], point: str) -> None:
    folder, codes = runs
    assert codes[point] == (130, 0)
    assert_same(folder / point, folder / "never")


def test_other_processes_with_other_hash_seeds(
    runs: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    """Ctrl-C, kill -9, and to the end, each in an interpreter that orders sets its own way."""
    run = tmp_path / "run"
    first = process(run, "slow", hash_seed=1)
    assert first.stdout is not None
    assert first.stdout.readline() == "training\n"
    first.send_signal(signal.SIGINT)
    _, err = first.communicate(timeout=100)
    assert first.returncode == 130, err
    assert err == f"interrupted; go on with: hwn2n compress --resume {run}\n"
    done = [row["state"] for row in rows(run)]
    assert done.count("trained") == 2 and done[-1] == "trained", "the one in hand, and no other"
    second = process(run, "in-checkpoint-1", hash_seed=2)
    second.communicate(timeout=100)
    assert second.returncode == -signal.SIGKILL
    assert any(name.endswith(".tmp") for name in small.files(run))
    # and in this process
    given = {"data": small.small_data(), "target": small.CalmTarget()}
    hwn2n.resume(run, model=small.small_teacher(), **given)
    assert_same(run, runs[0] / "never")


def test_seconds_add_up_over_processes(runs: tuple[Path, dict[str, Any]]) -> None:
    """The process that ended a run did only the last of it, but the result knows of all."""
    folder, _ = runs
    for point in ("after-final-epoch-3", "in-result"):
        result = json.loads((folder / point / "result.json").read_text())
        ledger = Ledger(folder / point / "ledger.sqlite")
        trained = sum(sum(c.seconds.values()) for c in ledger.candidates())
        booked = ledger.seconds()
        ledger.close()
        assert result["seconds"]["search"] == pytest.approx(booked["search"] + booked["choice"])
        assert result["seconds"]["search"] > trained
        assert result["seconds"]["final_training"] > 0
        assert result["seconds"]["candidates_train"] > 0


def _other_data() -> Data:
    """One label of one validation image is another."""
    data = small.small_data()
    labels = data.validation.labels.clone()
    labels[0] = (labels[0] + 1) % 3
    return replace(data, validation=replace(data.validation, labels=labels))


def test_a_complete_run_gives_its_result_again(runs: tuple[Path, dict[str, Any]]) -> None:
    run = runs[0] / "never"
    before = small.files(run)
    result = hwn2n.resume(run)
    assert vars(result) == json.loads((run / "result.json").read_text())
    assert small.files(run) == before


def test_a_run_that_ends_while_the_data_is_read_is_not_proven_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = small.compress(tmp_path / "run")
    path = tmp_path / "run" / "result.json"
    content = path.read_bytes()
    path.unlink()
    monkeypatch.setattr("hwn2n.commands.work.prove", lambda *_: pytest.fail("proven again"))
    monkeypatch.setattr(
        "hwn2n.commands.resume.check_same_data",
        lambda *_: path.write_bytes(content),  # as another process may do just then
    )
    given = {"data": small.small_data(), "target": small.CalmTarget()}
    after = hwn2n.resume(tmp_path / "run", model=small.small_teacher(), **given)
    assert vars(after) == vars(before)
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "the run's target was given as an object: give it again to resume"),
        ({"target": True}, "the run's teacher was given as an object: give it again to resume"),
        (
            {"target": True, "model": True},
            "the run's data was given as an object: give it again to resume",
        ),
        (
            {"target": True, "model": "other", "data": True},
            "SmallNet: the teacher must be the one that .* began with, but its weights have",
        ),
        (
            {"target": True, "model": True, "data": "other"},
            "the train and validation images must be those that .* began with, but they have",
        ),
    ],
)
def test_objects_must_be_given_again(
    runs: tuple[Path, dict[str, Any]], tmp_path: Path, given: dict[str, Any], message: str
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    for name in ("config.json", "budget.yaml"):
        (run / name).write_bytes((runs[0] / "never" / name).read_bytes())
    before = small.files(run)
    objects: dict[str, Any] = {
        "target": small.CalmTarget(),
        "model": small.SmallNet() if given.get("model") == "other" else small.small_teacher(),
        "data": _other_data() if given.get("data") == "other" else small.small_data(),
    }
    with pytest.raises(InputError, match=message):
        hwn2n.resume(run, **{name: objects[name] for name in given})
    assert small.files(run) == before
