"""A row from its teacher to its table, on digits: stopped, gone on with, and read again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import hwn2n
from benchmarks.paper import __main__ as command
from benchmarks.paper.lab import Lab, Teacher
from benchmarks.paper.results import body, entries_of
from benchmarks.paper.search import Search, search
from benchmarks.paper.sizes import TINY
from benchmarks.paper.table1 import FIRST_STAGE, CompressionRow
from benchmarks.paper.table5 import TransferRow
from benchmarks.starts import ARMS, bias_alone
from hwn2n.distil.recipes import TrainSettings
from hwn2n.errors import InputError, InterruptedRunError
from hwn2n.network.files import load_teacher
from hwn2n.run.ledger import Ledger
from hwn2n.run.progress import Silent, StageProgress
from hwn2n.run.stop import Stop
from hwn2n.search.choices.actions import RemovalStage
from hwn2n.search.policies import load_policy
from hwn2n.search.recipes import RECIPES
from hwn2n.search.strategies.learning import policy_for

ROW = CompressionRow(
    name="tried", title="8x8 digits, tried", data="digits", arch="digits-cnn", stages=1
)


class StopsAfter(Silent):
    """Asks for a stop once so many candidates were evaluated."""

    def __init__(self, stop: Stop, candidates: int) -> None:
        self.stop, self.left = stop, candidates

    def stage(self, progress: StageProgress) -> None:
        self.left -= 1
        if self.left == 0:
            self.stop.request()


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    folder = tmp_path_factory.mktemp("lab")
    return Lab(data_root=folder, runs=folder / "runs", size=TINY)


@pytest.fixture(scope="module")
def first(lab: Lab) -> tuple[Teacher, Search, dict[str, Any]]:
    """The first stage alone, stopped after a candidate and gone on with."""
    teacher = lab.teacher("digits", "digits-cnn", "fast")
    asked = Search(what="stage1", recipe="fast", seed=0, overrides=FIRST_STAGE)
    stop = Stop()
    with pytest.raises(InterruptedRunError):
        search(replace(lab, stop=stop, reporter=StopsAfter(stop, 1)), teacher, asked)
    ledger = Ledger(asked.folder(lab, teacher) / "ledger.sqlite")
    assert len(ledger.candidates()) == 1
    ledger.close()
    return teacher, asked, search(lab, teacher, asked)


def test_a_stopped_teacher_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    how = TrainSettings(epochs=2, batch_size=32, max_images=128, precision="fp32", keep_best=True)

    class Stops(Silent):
        def __init__(self, stop: Stop) -> None:
            self.stop = stop

        def epoch(self, name: str, epoch: int, epochs: int, text: str) -> None:
            self.stop.request()

    stop, part = Stop(), tmp_path / "part"
    asked: dict[str, Any] = {"data": "digits", "recipe": how}
    with pytest.raises(InterruptedRunError):
        hwn2n.teach(
            "digits-cnn", out=tmp_path / "a.pt", checkpoint=part, stop=stop,
            reporter=Stops(stop), **asked,
        )  # fmt: skip
    assert part.exists() and not (tmp_path / "a.pt").exists()
    hwn2n.teach("digits-cnn", out=tmp_path / "a.pt", checkpoint=part, **asked)
    assert not part.exists()
    hwn2n.teach("digits-cnn", out=tmp_path / "b.pt", **asked)
    a, b = (load_teacher(tmp_path / f"{name}.pt").model.state_dict() for name in "ab")
    assert all(torch.equal(a[name], b[name]) for name in b)


def test_a_teacher_is_taught_once_and_says_how(
    lab: Lab, first: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hwn2n, "teach", None)
    teacher = lab.teacher("digits", "digits-cnn", "fast")
    said = teacher.to_json()
    assert said["params"] == 103_466 and 0 < said["test_accuracy"] <= 1
    assert (said["recipe"]["epochs"], said["recipe"]["max_images"]) == (2, 300)


def test_the_second_stage_takes_the_first_ones_candidates_over(lab: Lab, first: Any) -> None:
    teacher, asked, _ = first
    both = Search(what="both", recipe="fast", seed=0, overrides={"anchor": False})
    found = search(lab, teacher, both, on=asked.folder(lab, teacher))
    assert found["candidates"]["all"] == 8 + RECIPES["fast"].runoff
    ledgers = [Ledger(s.folder(lab, teacher) / "ledger.sqlite") for s in (asked, both)]
    removal = [[c.comparable() for c in ledger.candidates("removal")] for ledger in ledgers]
    for ledger in ledgers:
        ledger.close()
    assert removal[0] == removal[1] and len(removal[0]) == 4
    other = Search(what="other", recipe="fast", seed=1, overrides={"anchor": False})
    with pytest.raises(InputError, match="differs in seed"):
        search(lab, teacher, other, on=asked.folder(lab, teacher))
    assert not other.folder(lab, teacher).exists()


def test_a_row_runs_and_is_then_read(
    lab: Lab, first: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    results = tmp_path / "results"
    assert command.run([ROW], lab, ["fast"], None, results) == 0
    printed = capsys.readouterr().out
    made = entries_of(ROW, results)["fast"]
    assert (
        body(ROW, {"fast": made}) in printed
        and "fast, tiny |" in printed
        and "tiny: at most 300" in printed
    )
    student = made["arms"]["student"][0]
    narrowed = made["arms"]["uniform width, same size"][0]
    assert narrowed["params"] <= student["params"]
    ours, theirs = (made["settings"][arm]["final"] for arm in made["settings"])
    assert ours == theirs  # the same training, so its gains are nobody's
    assert made["seeds"] == [0] and made["spread"]["student"]["test_accuracy"]["runs"] == 1
    monkeypatch.setattr(hwn2n, "compress", None)
    monkeypatch.setattr(hwn2n, "resume", None)
    assert command.run([ROW], lab, ["fast"], None, results) == 0
    assert capsys.readouterr().out == printed


def test_another_search_is_not_taken_for_one_that_was_run(lab: Lab, first: Any) -> None:
    teacher, asked, _ = first
    changed = replace(asked, overrides={**FIRST_STAGE, "removal.lr": 0.5})
    with pytest.raises(InputError, match="differs in settings"):
        search(lab, teacher, changed)


def test_a_new_policy_with_the_learned_output_bias(lab: Lab, first: Any, tmp_path: Path) -> None:
    teacher, asked, _ = first
    learned = asked.folder(lab, teacher) / "policies" / "removal.safetensors"
    alone, _ = load_policy(bias_alone(learned, tmp_path / "alone.safetensors", seed=7))
    whole, _ = load_policy(learned)
    settings = lab.settings("fast", {"seed": 7})
    captured = hwn2n.network.capture.capture(load_teacher(teacher.path).model, (1, 8, 8))
    planner = hwn2n.network.planner.Planner(captured.architecture)
    stage = RemovalStage(planner, features="normalised", granularity="unit")
    scratch = policy_for(settings, stage, settings.removal, {})
    assert torch.equal(alone.get_parameter("output.bias"), whole.get_parameter("output.bias"))
    for name, value in scratch.state_dict().items():
        if name != "output.bias":
            assert torch.equal(alone.state_dict()[name], value), name
    assert not torch.equal(
        alone.get_parameter("output.weight"), whole.get_parameter("output.weight")
    )


@pytest.mark.slow
def test_a_search_that_was_taken_over_is_the_one_it_would_have_been(lab: Lab, first: Any) -> None:
    teacher, asked, _ = first
    ledgers = []
    for what, on in (("whole", None), ("taken", asked.folder(lab, teacher))):
        both = Search(what=what, recipe="fast", seed=0, overrides={"anchor": False})
        search(lab, teacher, both, on=on)
        ledger = Ledger(both.folder(lab, teacher) / "ledger.sqlite")
        ledgers.append([(c.stage, c.actions, c.accuracy, c.reward) for c in ledger.candidates()])
        ledger.close()
    assert ledgers[0] == ledgers[1]


@pytest.mark.slow
def test_transfer_compares_three_starts(lab: Lab) -> None:
    row = TransferRow(
        name="moved", title="8x8 digits", data="digits", arch="resnet20", source="digits-cnn"
    )
    made = row.entry(lab, "fast", (0,))
    assert tuple(made["arms"]) == ARMS
    lines = row.lines(made)
    assert len(lines) == 3 and all(len(line) == len(row.columns) for line in lines)
    rewards = {name: runs[0]["stages"]["removal"]["reward"] for name, runs in made["arms"].items()}
    assert len(set(rewards.values())) > 1
