"""Going on: with a training that was stopped, and with a run from another folder."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from cli_tools import BUDGET, SHORT, hwn2n
from small import files, settings, small_data

import hwn2n as library
from hwn2n.commands.request import Request
from hwn2n.distil.recipes import TrainSettings
from hwn2n.distil.train import train
from hwn2n.errors import InputError, InterruptedRunError
from hwn2n.run.folder import save_checkpoint
from hwn2n.run.ledger import Ledger
from hwn2n.run.stop import Stop

TEACH: dict[str, Any] = {"data": "digits", "validation": 0.3, "epochs": 2}


def test_a_training_goes_on_with_the_same_command_and_with_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[int] = []

    def spied(*args: Any, resume_state: Any, **how: Any) -> Any:
        begun.append(len(resume_state.history) if resume_state else 0)
        return train(*args, resume_state=resume_state, **how)

    monkeypatch.setattr("hwn2n.commands.teach.train", spied)
    part = tmp_path / "t.pt.training"
    stop = Stop()
    stop.request()
    with pytest.raises(InterruptedRunError):
        library.teach("digits-cnn", out=tmp_path / "t.pt", checkpoint=part, stop=stop, **TEACH)
    assert part.exists() and not (tmp_path / "t.pt").exists()
    other = shutil.copy(part, tmp_path / "other")
    library.teach("digits-cnn", out=tmp_path / "o.pt", checkpoint=other, seed=1, **TEACH)
    arguments = ["--data", "digits", "--validation", 0.3, "--epochs", 2, "-o", tmp_path / "t.pt"]
    outcome = hwn2n("teach", "digits-cnn", *arguments)
    assert outcome.code == 0, outcome.err
    assert begun == [0, 0, 1] and not part.exists()


def test_the_data_says_how_it_is_augmented(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    used: list[str] = []

    def spied(model: Any, images: Any, loss: Any, settings: TrainSettings, **how: Any) -> Any:
        used.append(settings.augment)
        return train(model, images, loss, settings, **how)

    monkeypatch.setattr("hwn2n.commands.teach.train", spied)
    for policy in ("crop-flip", "none"):
        given = small_data(augment=policy)
        library.teach("digits-cnn", data=given, out=tmp_path / "t.pt", epochs=1)
    assert used == ["crop-flip", "none"]


def test_a_training_begins_anew_on_other_images(tmp_path: Path) -> None:
    """The folder has the name that it had, and other images."""
    from PIL import Image

    def written(count: int) -> None:
        for split in ("train", "test"):
            for name in ("a", "b"):
                folder = tmp_path / "images" / split / name
                folder.mkdir(parents=True, exist_ok=True)
                for n in range(count):
                    Image.new("L", (8, 8), n * 20 + 90 * (name == "b")).save(folder / f"{n}.png")

    how: dict[str, Any] = {
        "data": f"imagefolder:{tmp_path / 'images'}", "epochs": 2, "out": tmp_path / "t.pt",
        "checkpoint": tmp_path / "t.pt.training",
    }  # fmt: skip
    stop = Stop()
    stop.request()
    written(4)
    with pytest.raises(InterruptedRunError):
        library.teach("digits-cnn", stop=stop, **how)
    written(6)
    assert library.teach("digits-cnn", **how).epochs == 2


def test_test_images_that_cannot_be_read_cost_no_training(tmp_path: Path) -> None:
    from PIL import Image

    for split in ("train", "test"):
        for name in ("a", "b"):
            folder = tmp_path / "images" / split / name
            folder.mkdir(parents=True)
            for n in range(4):
                Image.new("L", (8, 8), n * 40).save(folder / f"{n}.png")
    (tmp_path / "images" / "test" / "b" / "2.png").write_bytes(b"no image")
    outcome = hwn2n(
        "teach", "digits-cnn", "--data", f"imagefolder:{tmp_path / 'images'}", "--epochs", 2,
        "-o", tmp_path / "t.pt",
    )  # fmt: skip
    assert outcome.code == 2 and "2.png" in outcome.err
    assert "epoch 1" not in outcome.err and not (tmp_path / "t.pt").exists()


def test_a_run_goes_on_from_another_folder(
    digits_teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(digits_teacher, tmp_path / "t.pt")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    begun = hwn2n(
        "compress", "t.pt", "--budget", BUDGET, "--data", "digits", "--out", "run", *SHORT
    )
    assert begun.code == 0, begun.err
    monkeypatch.chdir(tmp_path / "elsewhere")
    shown = hwn2n("compress", "--resume", "../run")
    assert shown.code == 0 and "results: ../run " in shown.out
    (tmp_path / "run" / "result.json").unlink()
    again = hwn2n("compress", "--resume", "../run")
    assert again.code == 0, again.err


def test_paths_of_a_run_that_was_begun_in_another_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))

    def found(**changes: str) -> Request:
        values: dict[str, Any] = {"teacher": "t.pt", "data": "digits", "begun_in": "/there"}
        return Request(**values | changes, settings=settings()).from_here()

    assert (found().teacher, found().data_root) == ("/there/t.pt", "/there/data")
    assert found(data_root="sets").data_root == "/there/sets"
    assert found(data_root="~/sets").data_root == str(tmp_path / "home" / "sets")
    assert found(data="imagefolder:~/photos").data == f"imagefolder:{tmp_path}/home/photos"
    assert found(begun_in=str(Path.cwd()), data_root="~/sets").data_root == "~/sets"
    with pytest.raises(InputError, match="no user here: '~nosuchuser/sets'"):
        found(data_root="~nosuchuser/sets")


def test_a_module_is_not_found_from_another_folder_and_the_message_names_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder is not searched: it stands in a file, and a module runs code."""
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun" / "my_far_module.py").write_text("raise SystemExit(0)")
    monkeypatch.chdir(tmp_path)
    begun = str(tmp_path / "begun")
    hint = rf"\(the run was begun in {begun}: go on from there, or name it in PYTHONPATH\)"
    of_data = Request(
        teacher="t.pt", data="my_far_module:load", settings=settings(), begun_in=begun
    )
    with pytest.raises(InputError, match=rf"No module named 'my_far_module' {hint}"):
        of_data.load_data()
    with pytest.raises(InputError, match=r"'my_far_module'$"):
        replace(of_data, begun_in=str(tmp_path)).load_data()
    with pytest.raises(InputError, match=r"but got 'no_such_data'$"):
        replace(of_data, data="no_such_data").load_data()
    torch.save({"weight": torch.zeros(2)}, tmp_path / "weights.pt")
    of_teacher = replace(of_data, teacher=str(tmp_path / "weights.pt"), arch="my_far_module:Net")
    with pytest.raises(InputError, match=rf"my_far_module.* {hint}"):
        of_teacher.load_teacher()


def test_reading_a_ledger_changes_nothing(digits_run: tuple[Path, Any], tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(digits_run[0], run)
    path = run / "ledger.sqlite"
    before = (path.read_bytes(), files(run))
    whole = Ledger(path)
    rows = [c.comparable() for c in whole.candidates()]
    whole.close()
    path.write_bytes(before[0])
    ledger = Ledger(path, read_only=True)
    assert [c.comparable() for c in ledger.candidates()] == rows
    with pytest.raises(InputError, match="readonly"):
        ledger.add_seconds("search", 1.0)
    ledger.close()
    assert (path.read_bytes(), files(run)) == before


def test_a_checkpoint_on_a_full_disk_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 118976")

    monkeypatch.setattr("hwn2n.run.folder.torch.save", full)
    with pytest.raises(InputError, match=r"part\.pt: must be writable, but: \[enforce"):
        save_checkpoint(tmp_path / "part.pt", {})
    assert not list(tmp_path.iterdir())


USERS = """
class Items:
    def __init__(self, item): self.item = item
    def __len__(self): return 3
    def __getitem__(self, index): return self.item(index)

def broken(index): raise RuntimeError("broken item")

def raises(): raise KeyError("nothing here")
def needs(folder): return folder
def items(): return Items(broken), Items(broken)
def lonely(): return Items(lambda index: 5), Items(lambda index: 5)
"""


@pytest.mark.parametrize(
    ("function", "words"),
    [
        ("raises", "must return data when it is called without arguments, but: 'nothing here'"),
        ("needs", "missing 1 required positional argument"),
        ("items", "must give pairs of an image and a label, but number 0: broken item"),
        ("lonely", "must give pairs of an image and a label, but number 0: "),
    ],
)
def test_faults_of_the_users_data_are_the_users(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str, words: str
) -> None:
    (tmp_path / "users_faults.py").write_text(USERS)
    monkeypatch.chdir(tmp_path)
    outcome = hwn2n(
        "teach", "digits-cnn", "--data", f"users_faults:{function}", "-o", tmp_path / "t.pt"
    )
    assert outcome.code == 2 and outcome.err.count("\n") == 1
    assert f"users_faults:{function}" in outcome.err and words in outcome.err


@pytest.mark.parametrize("value", ["nan", "inf", "1e400"])
def test_a_validation_size_is_a_number(tmp_path: Path, value: str) -> None:
    outcome = hwn2n(
        "teach", "digits-cnn", "--data", "digits", "--validation", value, "-o", tmp_path / "t.pt"
    )
    assert outcome.code == 2 and f"found '{value}'" in outcome.err


def test_the_working_folder_is_no_file_to_write(digits_teacher: Path, tmp_path: Path) -> None:
    outcome = hwn2n("inspect", digits_teacher, "--svg", tmp_path)
    assert outcome.code == 2 and "directory" in outcome.err.lower()
    outcome = hwn2n("inspect", digits_teacher, "--svg", ".")
    assert outcome.code == 2 and outcome.err.count("\n") == 1


def test_a_run_in_place_of_a_network_names_its_student(digits_run: tuple[Path, Any]) -> None:
    outcome = hwn2n("profile", digits_run[0], "--columns", "params")
    assert outcome.code == 2
    assert f"the folder of a run, whose student is {digits_run[0] / 'student.pt2'}" in outcome.err


BRANCHY = """
from torch import nn

class Branchy(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.linear = nn.Conv2d(1, 4, 3), nn.Linear(4, 2)

    def forward(self, x):
        y = self.conv(x).mean((2, 3))
        return self.linear(y * 2 if y.sum() > 0 else y)
"""


def test_what_cannot_be_traced_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "users_branch.py").write_text(BRANCHY)
    monkeypatch.chdir(tmp_path)
    outcome = hwn2n("inspect", "users_branch:Branchy", "--input-shape", "1,8,8")
    assert outcome.code == 2 and outcome.err.count("\n") == 1, outcome.err
    assert "torch.export must be able to trace the model" in outcome.err


def test_a_row_of_two_kinds_says_so(tmp_path: Path) -> None:
    budget = tmp_path / "both.yaml"
    row = "{metric: params, sum: [{metric: flops, scale: 1}], max: 10}"
    budget.write_text(f"apiVersion: hwn2n/v1\nname: both\nconstraints:\n  - {row}\n")
    outcome = hwn2n("budget", "validate", budget)
    assert outcome.code == 2
    assert f"{budget}:4: a row must have either metric or sum; found both" in outcome.err
