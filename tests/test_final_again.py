"""Going on with other settings of the final training: where it came to nothing, or by wish."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import small
import torch
from cli_tools import BUDGET, SHORT, hwn2n

import hwn2n as library
from hwn2n.errors import Hwn2nError, InputError, InterruptedRunError
from hwn2n.hardware.matching import most_threads
from hwn2n.run.ledger import Ledger
from hwn2n.run.progress import Silent
from hwn2n.run.stop import Stop


def candidates(run: Path) -> list[Any]:
    ledger = Ledger(run / "ledger.sqlite", read_only=True)
    rows = [candidate.comparable() for candidate in ledger.candidates()]
    ledger.close()
    return rows


def again(run: Path, **changes: Any) -> Any:
    given: dict[str, Any] = {"data": small.small_data(), "target": small.CalmTarget()}
    return library.resume(run, model=small.small_teacher(), **given, **changes)


class StopsInTheEnd(Silent):
    """Asks for the end after the first epoch of the final training."""

    def __init__(self) -> None:
        self.asked = Stop()

    def epoch(self, *_: object) -> None:
        self.asked.request()


@pytest.fixture
def stopped(tmp_path: Path) -> Path:
    reporter = StopsInTheEnd()
    with pytest.raises(InterruptedRunError):
        small.compress(
            tmp_path / "run",
            recipe=small.settings(final__epochs=3),
            reporter=reporter,
            stop=reporter.asked,
        )
    return tmp_path / "run"


def test_a_diverged_final_training_is_mended_by_the_line_that_its_error_names(
    tmp_path: Path, digits_teacher: Path
) -> None:
    run = tmp_path / "a run"
    outcome = hwn2n(
        "compress", digits_teacher, "--budget", BUDGET, "--data", "digits", "--out", run, *SHORT,
        "--set", "final.optimizer=sgd", "--set", "final.lr=1e30",
    )  # fmt: skip
    assert outcome.code == 2
    line = re.search(r"hwn2n compress --resume '(.*)' --set (final\.lr=\S+)", outcome.err)
    assert line is not None and line[1] == str(run)
    before = candidates(run)
    assert line[2] == "final.lr=2.5e+29"
    mended = hwn2n("compress", "--resume", run, "--set", "final.lr=0.01", "--json")
    assert mended.code == 0, mended.err
    assert candidates(run) == before
    settings = json.loads((run / "config.json").read_text())["settings"]
    assert (settings["final"]["lr"], settings["final"]["optimizer"]) == (0.01, "sgd")


def test_it_begins_anew_and_ends_as_if_it_had_been_begun_so(stopped: Path, tmp_path: Path) -> None:
    before = candidates(stopped)
    changed = again(stopped, overrides={"final.lr": 0.003, "final_lambda": 0.5})
    small.compress(
        tmp_path / "other",
        recipe=small.settings(final__epochs=3, final__lr=0.003, final_lambda=0.5),
    )
    assert candidates(stopped) == before == candidates(tmp_path / "other")
    weights = [
        torch.load(run / "checkpoints" / "final.pt", weights_only=True)["state"]["model"]
        for run in (stopped, tmp_path / "other")
    ]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[1])
    assert vars(again(stopped)) == vars(changed)


def test_the_same_settings_go_on_where_it_stopped(
    stopped: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hwn2n.search.school import School

    begun: list[int] = []
    original = School.train_fully

    def spied(self: School, student: Any, *, resume_state: Any, **how: Any) -> Any:
        begun.append(len(resume_state.history) if resume_state else 0)
        return original(self, student, resume_state=resume_state, **how)

    monkeypatch.setattr(School, "train_fully", spied)
    again(stopped, overrides={"final.epochs": 3})
    assert begun == [1]


@pytest.mark.parametrize("name", ["train.lr", "seed", "final_augment", "finale.lr", "device"])
def test_what_is_not_of_the_final_training_stays(stopped: Path, name: str) -> None:
    files = small.files(stopped)
    with pytest.raises(InputError, match=rf"setting {name}: a run goes on as it was begun"):
        again(stopped, overrides={name: 1})
    assert small.files(stopped) == files


def test_what_cannot_be_is_refused_before_anything_is_lost(stopped: Path) -> None:
    files = small.files(stopped)
    for name, value in (("final.lr", -1), ("final.epoch", 3), ("final", 7)):
        with pytest.raises(Hwn2nError, match="final"):
            again(stopped, overrides={name: value})
    assert small.files(stopped) == files


def test_a_complete_run_keeps_its_student(tmp_path: Path) -> None:
    before = small.compress(tmp_path / "run")
    files = small.files(tmp_path / "run")
    with pytest.raises(InputError, match="the run is complete, so its final training cannot be"):
        again(tmp_path / "run", overrides={"final.epochs": 9})
    assert small.files(tmp_path / "run") == files
    same = small.settings().final.epochs
    assert vars(again(tmp_path / "run", overrides={"final.epochs": same})) == vars(before)


def test_a_run_goes_on_with_the_threads_that_it_was_begun_with(
    stopped: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hwn2n.search.school import School

    config = json.loads((stopped / "config.json").read_text())
    config["request"]["threads"] = 2
    (stopped / "config.json").write_text(json.dumps(config))
    used: list[int] = []
    original = School.train_fully

    def spied(self: School, *given: Any, **how: Any) -> Any:
        used.append(torch.get_num_threads())
        if len(used) == 1:
            raise KeyboardInterrupt
        return original(self, *given, **how)

    monkeypatch.setattr(School, "train_fully", spied)
    before = torch.get_num_threads()
    with pytest.raises(InterruptedRunError):
        again(stopped)
    again(stopped, threads=1)
    assert used == [min(2, most_threads()), 1] and torch.get_num_threads() == before


def test_without_augmentation_stays_so_when_it_is_repeated(stopped: Path) -> None:
    again(stopped, overrides={"final.augment": "none"})
    settings = json.loads((stopped / "config.json").read_text())["settings"]
    assert (settings["final"]["augment"], settings["final_augment"]) == ("none", False)


def test_a_checkpoint_of_an_older_version_goes_on_and_of_another_machine_says_how(
    stopped: Path,
) -> None:
    path = stopped / "checkpoints" / "final.pt"
    saved = torch.load(path, weights_only=True)
    del saved["state"]["plan"]["settings"]["patience"]
    torch.save(saved, path)
    saved["state"]["plan"]["precision"] = "bf17"
    other = path.with_name("other.pt")
    torch.save(saved, other)
    content = path.read_bytes()
    other.replace(path)
    with pytest.raises(InputError, match=r"run: .* precision differ; .* --set final\.precision"):
        again(stopped)
    path.write_bytes(content)
    again(stopped)
