"""Bad inputs end to end: one line on stderr, the documented exit code, and nothing left behind."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import crafted
import pytest
import torch
from cli_tools import BUDGET, SHORT, Outcome, hwn2n, process, tree
from crafted import saved, tiny

HEAD = "apiVersion: hwn2n/v1\nname: mine\nconstraints:\n"


@pytest.fixture(scope="module")
def files(digits_teacher: Path) -> dict[str, bytes]:
    """A good teacher and all sorts of bad files, by name."""
    teacher, content = digits_teacher.read_bytes(), torch.load(digits_teacher)
    next(iter(content["state_dict"].values()))[0] = float("nan")
    texts = {
        "text.pt": "this is no network\n",
        "duplicate.yaml": f"{HEAD}  - {{metric: params, max: 1k}}\nname: again\n",
        "unit.yaml": f"{HEAD}  - {{metric: params, max: 1k}}\n"
        "  - {metric: latency, stat: p50, max: 10}\n",
        "tiny.yaml": f"{HEAD}  - {{metric: params, max: 3}}\n",
        "power.yaml": f"{HEAD}  - {{metric: power, max: 1W}}\n",
        "latency.yaml": f"{HEAD}  - {{metric: latency, stat: p50, max: 1s}}\n",
        "warning.yaml": f"{HEAD}  - {{metric: params, max: 1k, severity: warn}}\n",
        "input.yaml": f"{HEAD}  - {{metric: params, max: 1k}}\ninput: [1, 3, 32, 32]\n",
        "target.yaml": f"{HEAD}  - {{metric: params, max: 1k}}\ntarget: toaster\n",
        "settings-unknown.yaml": "seed: 1\ntrain:\n  epochs: 1\n  epoch: 2\n",
        "settings-value.yaml": "seed: 1\n\nfinal:\n  epochs: none\n",
        "settings-list.yaml": "- seed\n",
        "settings-yaml.yaml": "seed: 1\ntrain: {epochs: 1\n",
        "settings-together.yaml": "final:\n  milestones: [1, 2]\n  gamma: [0.1]\n",
        "policy.safetensors": "no policy",
        "full/precious.txt": "keep me",
    }
    return {
        "teacher.pt": teacher,
        "truncated.pt": teacher[: len(teacher) // 2],
        "empty.pt": b"",
        "random.pt": bytes(range(1, 200)),
        "list.pt": saved([1, 2]),
        "nan.pt": saved(content),
        "weights.pt": saved(tiny().state_dict()),
        "three-classes.pt2": crafted.exported(),
        **{name: text.encode() for name, text in texts.items()},
    }


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, bytes]) -> Path:
    """The current directory, with the files, a folder that is full and one that is empty."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "no images").mkdir()
    (tmp_path / "full").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    return tmp_path


def refused(here: Path, code: int, *arguments: str) -> str:
    """The one line of a command that must be refused and leave everything as it was."""
    before = {path: path.stat().st_mtime_ns for path in tree(here)}
    outcome = hwn2n(*arguments)
    assert (outcome.code, outcome.out) == (code, ""), outcome
    assert {path: path.stat().st_mtime_ns for path in tree(here)} == before
    assert outcome.err.startswith("error: ") and outcome.err.count("\n") == 1
    return outcome.err


def compress(teacher: str = "teacher.pt", *more: str, data: str = "digits") -> list[str]:
    run = [] if "--out" in more else ["--out", "run"]
    return ["compress", teacher, "--data", data, *run, *SHORT, *more]


def test_the_good_teacher_is_good(here: Path) -> None:
    assert hwn2n(*compress(), "--quiet", "--budget", BUDGET).code == 0


BAD_TEACHERS: dict[str, tuple[list[str], str]] = {
    "missing": (["nothing.pt"], "nothing.pt: the file of the network must exist"),
    "a folder": (["full"], "full: the network must be a file"),
    "truncated": (["truncated.pt"], "truncated.pt: "),
    "empty": (["empty.pt"], "empty.pt: the file of the network must not be empty"),
    "text": (["text.pt"], "text.pt: a teacher file must be written by"),
    "random bytes": (["random.pt"], "random.pt: a teacher file must be"),
    "no weights": (["list.pt"], "list.pt: "),
    "weights alone": (["weights.pt"], "must come with its architecture"),
    "arch with an exported program": (
        ["three-classes.pt2", "--arch", "conv4"], "--arch must not be given",
    ),
    "unknown arch": (["weights.pt", "--arch", "conv99"], "arch"),
    "arch that cannot be imported": (["weights.pt", "--arch", "no.such:thing"], "no.such"),
    "arch of other weights": (
        ["weights.pt", "--arch", "digits-cnn", "--input-shape", "1,8,8"], "weights.pt: "
    ),
    "wrong input shape": (["teacher.pt", "--input-shape", "3,8,8"], "teacher.pt: "),
    "wrong input shape of a program": (
        ["three-classes.pt2", "--input-shape", "1,9,9"], "three-classes.pt2: ",
    ),
    "NaN": (["nan.pt"], "nan.pt: teacher weights must be finite: "),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_TEACHERS)
@pytest.mark.parametrize("command", ["compress", "profile", "check"])
def test_bad_teachers(here: Path, case: str, command: str) -> None:
    arguments, error = BAD_TEACHERS[case]
    line = {
        "compress": compress(*arguments),
        "profile": ["profile", *arguments],
        "check": ["check", *arguments, "--budget", "tiny.yaml"],
    }[command]
    assert error in refused(here, 2, *line)


BOMBS = [
    crafted.pickled_module,
    crafted.bare_pickle,
    crafted.state_dict,
    crafted.own_file,
    crafted.pickled_weight,
    crafted.pickled_samples,
]


@pytest.mark.parametrize("command", ["compress", "profile", "check"])
@pytest.mark.parametrize("bomb", BOMBS, ids=lambda bomb: bomb.__name__)
def test_bombs_do_not_run(here: Path, bomb: Callable[[Path], bytes], command: str) -> None:
    marker = here / "marker"
    (here / "bomb.pt").write_bytes(bomb(marker))
    line = {
        "compress": compress("bomb.pt", "--budget", BUDGET),
        "profile": ["profile", "bomb.pt"],
        "check": ["check", "bomb.pt", "--budget", "tiny.yaml"],
    }[command]
    assert "bomb.pt" in refused(here, 2, *line)
    assert not marker.exists()


def test_bombs_do_not_run_as_teacher_of_a_check(here: Path) -> None:
    marker = here / "marker"
    (here / "bomb.pt").write_bytes(crafted.pickled_module(marker))
    line = refused(here, 2, "check", "teacher.pt", "--budget", BUDGET, "--teacher", "bomb.pt")
    assert "--unsafe-pickle" in line
    assert not marker.exists()


BAD_COMPRESSIONS: dict[str, tuple[int, list[str], str]] = {
    "class count": (
        2,
        compress("three-classes.pt2"),
        "one logit for each of the 10 classes of digits, but has 3",
    ),
    "no teacher": (2, ["compress", "--data", "digits"], "TEACHER and --data must be given"),
    "no data": (2, ["compress", "teacher.pt"], "TEACHER and --data must be given"),
    "unknown data": (2, compress(data="numerals"), "data must be one of mnist,"),
    "missing data": (
        2,
        compress("teacher.pt", "--data-root", "no images", data="mnist"),
        "no images",
    ),
    "empty data folder": (2, compress(data="imagefolder:no images"), "no images"),
    "missing data folder": (2, compress(data="imagefolder:nowhere"), "nowhere"),
    "data function": (2, compress(data="no_module:function"), "no_module"),
    "image size": (2, compress("teacher.pt", "--image-size", "0"), "image_size must be"),
    "validation text": (2, compress("teacher.pt", "--validation", "some"), "--validation must be"),
    "validation size": (2, compress("teacher.pt", "--validation", "99999"), "validation must be"),
    "missing budget": (2, compress("teacher.pt", "--budget", "nothing.yaml"), "nothing.yaml"),
    "budget with a line": (
        2,
        compress("teacher.pt", "--budget", "unit.yaml"),
        "unit.yaml:5: a unit is needed",
    ),
    "budget with a key twice": (
        2,
        compress("teacher.pt", "--budget", "duplicate.yaml"),
        "duplicate.yaml:5: a key must stand once; found 'name' on line 2 and again on line 5",
    ),
    "budget for other images": (
        2,
        compress("teacher.pt", "--budget", "input.yaml"),
        "input.yaml:5: input must be that of the data, [1, 8, 8]",
    ),
    "budget too small": (
        1,
        compress("teacher.pt", "--budget", "tiny.yaml"),
        "no student can be inside the budget, which is proven: params <= 3 (tiny.yaml:4)",
    ),
    "budget that cannot be measured": (
        3,
        compress("teacher.pt", "--budget", "power.yaml"),
        "the budget needs power_avg, which target cpu cannot measure",
    ),
    "unknown target": (2, compress("teacher.pt", "--target", "toaster"), "toaster"),
    "target that is not here": (
        3,
        compress("teacher.pt", "--target", "cuda:63", "--budget", "latency.yaml"),
        "target cuda:63 cannot measure",
    ),
    "unknown device": (2, compress("teacher.pt", "--device", "toaster"), "device must be cpu"),
    "device that is not here": (2, compress("teacher.pt", "--device", "cuda:63"), "cuda:63"),
    "unknown recipe": (2, compress("teacher.pt", "--recipe", "slow"), "one of paper, fast"),
    "unknown strategy": (2, compress("teacher.pt", "--strategy", "luck"), "setting strategy"),
    "unknown setting": (2, compress("teacher.pt", "--set", "epochs=1"), "no setting 'epochs'"),
    "unknown nested setting": (
        2,
        compress("teacher.pt", "--set", "train.epoch=1"),
        "no setting 'train.epoch'; those beside it: epochs,",
    ),
    "value of a setting": (
        2,
        compress("teacher.pt", "--set", "train.epochs=some"),
        "setting train.epochs: ",
    ),
    "range of a setting": (2, compress("teacher.pt", "--set", "final_lambda=-1"), "final_lambda"),
    "negative seed": (2, compress("teacher.pt", "--seed", "-1"), "setting seed"),
    "set without value": (2, compress("teacher.pt", "--set", "seed="), "--set must be name=value"),
    "set without name": (2, compress("teacher.pt", "--set", "=1"), "--set must be name=value"),
    "set that is no YAML": (
        2,
        compress("teacher.pt", "--set", "train.milestones=[1"),
        "--set train.milestones must have a YAML value; found '[1'",
    ),
    "missing config": (2, compress("teacher.pt", "--config", "nothing.yaml"), "nothing.yaml"),
    "config that is no YAML": (
        2,
        compress("teacher.pt", "--config", "settings-yaml.yaml"),
        "settings-yaml.yaml:3: ",
    ),
    "config with an unknown setting": (
        2,
        compress("teacher.pt", "--config", "settings-unknown.yaml"),
        "settings-unknown.yaml:4: there is no setting 'train.epoch'",
    ),
    "config with a bad value": (
        2,
        compress("teacher.pt", "--config", "settings-value.yaml"),
        "settings-value.yaml:4: setting final.epochs: ",
    ),
    "config of another shape": (
        2,
        compress("teacher.pt", "--config", "settings-list.yaml"),
        "settings-list.yaml:1: settings must be a mapping",
    ),
    "config with settings that do not go together": (
        2,
        compress("teacher.pt", "--config", "settings-together.yaml"),
        "settings-together.yaml:",
    ),
    "config of an unknown recipe": (
        2,
        compress("teacher.pt", "--config", "settings-value.yaml", "--recipe", "slow"),
        "error: recipe must be one of paper, fast",
    ),
    "missing policy": (2, compress("teacher.pt", "--policy", "nothing.safetensors"), "nothing"),
    "no policy": (2, compress("teacher.pt", "--policy", "policy.safetensors"), "policy"),
    "auto beside a policy": (
        2,
        compress("teacher.pt", "--policy", "auto", "--policy", "policy.safetensors"),
        "--policy auto must stand alone, but --policy is auto and policy.safetensors",
    ),
    "auto without a budget": (
        2,
        compress("teacher.pt", "--policy", "auto"),
        "policy auto needs a budget",
    ),
    "out not empty": (2, compress("teacher.pt", "--out", "full"), "full: the run folder must be"),
    "out is a file": (2, compress("teacher.pt", "--out", "text.pt"), "text.pt: the run folder"),
    "resume of nothing": (2, ["compress", "--resume", "nowhere"], "nowhere: must be the folder"),
    "resume of no run": (2, ["compress", "--resume", "full"], "full: must be the folder of a run"),
    "resume with a teacher": (
        2,
        ["compress", "teacher.pt", "--resume", "full"],
        "--resume must stand without TEACHER",
    ),
    "resume with a seed": (
        2,
        ["compress", "--resume", "full", "--seed", "1"],
        "--resume must stand without --seed",
    ),
    "input shape": (2, compress("teacher.pt", "--input-shape", "8,8"), "--input-shape must be"),
}


@pytest.mark.parametrize("case", BAD_COMPRESSIONS)
def test_bad_compressions(here: Path, case: str) -> None:
    code, arguments, error = BAD_COMPRESSIONS[case]
    assert error in refused(here, code, *arguments)


BAD_OTHERS: dict[str, tuple[int, list[str], str]] = {
    "images' folder without images": (
        2,
        ["profile", "teacher.pt", "--data-root", "full"],
        "--data-root is for --data",
    ),
    "images' folder of a check without images": (
        2,
        ["check", "teacher.pt", "--budget", "tiny.yaml", "--data-root", "full"],
        "--data-root is for --data",
    ),
    "architecture of no teacher": (
        2,
        ["check", "teacher.pt", "--budget", "tiny.yaml", "--teacher-arch", "conv4"],
        "--teacher-arch is for --teacher",
    ),
    "a folder as teacher of a check": (
        2,
        ["check", "teacher.pt", "--budget", "tiny.yaml", "--teacher", "full"],
        "full: the teacher must be a file that exists",
    ),
    "teach an unknown arch": (
        2,
        ["teach", "conv99", "--data", "digits", "-o", "new/t.pt"],
        "arch must be one of",
    ),
    "teach unknown data": (
        2,
        ["teach", "conv4", "--data", "numerals", "-o", "new/t.pt"],
        "data must be one of",
    ),
    "teach by an unknown recipe": (
        2,
        ["teach", "conv4", "--data", "digits", "-o", "new/t.pt", "--recipe", "slow"],
        "recipe must be one of paper-mnist",
    ),
    "teach for no epochs": (
        2,
        ["teach", "digits-cnn", "--data", "digits", "-o", "new/t.pt", "--epochs", "0"],
        "epochs must be a whole number >= 1",
    ),
    "teach on a toaster": (
        2,
        ["teach", "digits-cnn", "--data", "digits", "-o", "new/t.pt", "--device", "toaster"],
        "device must be cpu",
    ),
    "teach into a folder": (
        2,
        ["teach", "digits-cnn", "--data", "digits", "-o", "full"],
        "full: the teacher must be written to a file",
    ),
    "teach into this folder": (
        2,
        ["teach", "digits-cnn", "--data", "digits", "-o", "."],
        ".: the teacher must be written to a file",
    ),
    "teach into a file of a long name": (
        2,
        ["teach", "digits-cnn", "--data", "digits", "-o", "t" * 250],
        "the file's name must have at most 200 bytes, but has 250",
    ),
    "teach into a file of a name that no system takes": (
        2,
        ["teach", "digits-cnn", "--data", "digits", "-o", "t" * 300],
        "the file's name must have at most 200 bytes, but has 300",
    ),
    "teach into a pipe": (
        2,
        ["teach", "digits-cnn", "--data", "digits", "-o", "pipe"],
        "pipe: must be writable, but: it is a device or a pipe, not a file",
    ),
    "teach into a folder of a long name": (
        2,
        ["teach", "digits-cnn", "--data", "digits", "-o", f"{'t' * 300}/t.pt"],
        "must be writable, but: File name too long",
    ),
    "resume a long name": (
        2,
        ["compress", "--resume", "r" * 300],
        "must be the folder of a run, but: File name too long",
    ),
    "teach below a file": (
        2,
        ["teach", "digits-cnn", "--data", "digits", "-o", "text.pt/t.pt"],
        "text.pt is no folder to write to",
    ),
    "profile an unknown column": (
        2,
        ["profile", "teacher.pt", "--columns", "params,taste"],
        "a column must be one of",
    ),
    "profile on a toaster": (2, ["profile", "teacher.pt", "--target", "toaster"], "toaster"),
    "profile into nowhere": (
        2,
        ["profile", "teacher.pt", "--columns", "params", "-o", "nowhere/p.json"],
        "nowhere/p.json: must lie in a folder that exists",
    ),
    "profile into a pipe": (
        2,
        ["profile", "teacher.pt", "--columns", "params", "-o", "pipe"],
        "pipe: must be writable, but: it is a device or a pipe",
    ),
    "inspect into nowhere": (
        2,
        ["inspect", "teacher.pt", "--svg", "nowhere/p.svg"],
        "nowhere/p.svg: must lie in a folder that exists",
    ),
    "profile a million and one images": (
        2,
        ["profile", "teacher.pt", "--columns", "params", "--batch", "1000001"],
        "--batch",
    ),
    "more threads than can be started": (
        2,
        ["compare", "teacher.pt", "teacher.pt", "--threads", "4096"],
        "on this machine; found 4096",
    ),
    "check without the budget's file": (
        2,
        ["check", "teacher.pt", "--budget", "nothing.yaml"],
        "nothing.yaml",
    ),
    "check what is relative": (
        2,
        ["check", "teacher.pt", "--budget", BUDGET],
        "must have a teacher to be relative to: give --teacher FILE",
    ),
    "check other images": (
        2,
        ["check", "teacher.pt", "--budget", "input.yaml"],
        "input.yaml:5: input must have the shape of the images of teacher.pt, 1,8,8, but has 3,32",
    ),
    "check on a target that is none": (
        2,
        ["check", "teacher.pt", "--budget", "target.yaml", "--static-only"],
        "target.yaml:5: a target must be cpu, cuda, cuda:N, the name of a file in profiles/",
    ),
    "check nothing that can be counted": (
        2,
        ["check", "teacher.pt", "--budget", "latency.yaml", "--static-only"],
        "must have a row that can be judged without measuring",
    ),
    "check warnings alone by what can be counted": (
        2,
        ["check", "teacher.pt", "--budget", "warning.yaml", "--static-only"],
        "must have a row that is no mere warning",
    ),
    "check beside a teacher that is not there": (
        2,
        ["check", "teacher.pt", "--budget", "tiny.yaml", "--teacher", "nosuch.pt2"],
        "nosuch.pt2: the teacher must be a file that exists",
    ),
    "check warnings alone": (
        2,
        ["check", "teacher.pt", "--budget", "warning.yaml"],
        "must have a row that is no mere warning",
    ),
}


@pytest.mark.parametrize("case", BAD_OTHERS)
def test_bad_other_commands(here: Path, case: str) -> None:
    code, arguments, error = BAD_OTHERS[case]
    assert error in refused(here, code, *arguments)


def test_what_is_in_the_way_is_kept(here: Path) -> None:
    refused(here, 2, *compress("teacher.pt", "--out", "full"))
    assert (here / "full" / "precious.txt").read_text() == "keep me"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_is_read_only(here: Path) -> None:
    (here / "full").chmod(0o500)
    arguments = ["teach", "digits-cnn", "--data", "digits", "-o", "full/t.pt"]
    assert "is no folder to write to" in refused(here, 2, *arguments)


def test_also_in_a_process_of_its_own(here: Path) -> None:
    """Nothing that torch or Python says at import or at exit joins the one line."""
    outcome = process("compress", "nan.pt", "--data", "digits", "--json", cwd=here)
    assert outcome.code == 2
    assert outcome.err.count("\n") == 1 and outcome.err.startswith("error: nan.pt: ")
    assert outcome.json["kind"] == "InputError"
    assert not (here / "runs").exists()


def test_with_stdout_closed(here: Path) -> None:
    """As by `>&-` in a shell: there is nobody to tell, and the exit code says it."""
    line = f"exec {shlex.quote(sys.executable)} -m hwn2n budget explain tiny.yaml >&-"
    done = subprocess.run(["sh", "-c", line], cwd=here, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_control_characters_in_names_do_not_reach_the_terminal(here: Path) -> None:
    outcome = hwn2n("profile", "\x1b[2Jgone\nnext line.pt")
    assert outcome == Outcome(2, "", outcome.err)
    assert "\x1b" not in outcome.err and outcome.err.count("\n") == 1
