"""The folder of a run, its lock, stopping a run, and what a person sees of it."""

from __future__ import annotations

import io
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from small import files

from hwn2n.atomic import destination, write_atomic
from hwn2n.errors import InputError, InterruptedRunError
from hwn2n.run.folder import (
    RunFolder,
    default_folder,
    load_checkpoint,
    read_json,
    save_checkpoint,
    write_json,
)
from hwn2n.run.lock import working_on
from hwn2n.run.progress import PlainLines, RichBars, Silent, StageProgress, reporter_for
from hwn2n.run.provenance import digest, versions
from hwn2n.run.stop import Stop


def test_created_and_discarded(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "a" / "b" / "run")
    assert files(folder.path) == {"policies", "checkpoints"}
    write_json(folder.config, {})
    (folder.policies / "x").write_text("x")
    folder.discard()
    assert files(tmp_path) == set(), "nor the folders above that were made for it"


def test_discarding_leaves_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "runs" / "mine").mkdir(parents=True)
    folder = RunFolder.create(tmp_path / "runs" / "mine")
    folder.discard()
    assert files(tmp_path) == {"runs", "runs/mine"}
    folder = RunFolder.create(tmp_path / "new" / "run")
    (tmp_path / "new" / "other").write_text("of somebody else")
    folder.discard()
    assert files(tmp_path / "new") == {"other"}


def test_not_into_a_folder_with_something_in_it(tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("...")
    (tmp_path / "file").write_text("...")
    for name in ("full", "file"):
        with pytest.raises(InputError, match=f"{name}: the run folder must be new or empty; go on"):
            RunFolder.create(tmp_path / name)
    with pytest.raises(InputError, match="run: must be writable: Not a directory"):
        RunFolder.create(tmp_path / "file" / "run")
    with pytest.raises(InputError, match=r"full: must be the folder of a run, but has no config"):
        RunFolder.open(tmp_path / "full")
    for name in ("r" * 300, f"{'r' * 300}/run"):
        with pytest.raises(InputError, match="must be writable: File name too long"):
            RunFolder.create(tmp_path / name)
        with pytest.raises(InputError, match="folder of a run, but: File name too long"):
            RunFolder.open(tmp_path / name)
    assert files(tmp_path) == {"full", "full/thesis.tex", "file"}


def test_a_process_killed_before_there_was_a_run_leaves_nothing_in_the_way(tmp_path: Path) -> None:
    """Without config.json there is nothing to go on with, and nothing of anybody else's."""
    folder = RunFolder.create(tmp_path / "run")
    with working_on(folder):
        folder.budget.write_text("apiVersion: hwn2n/v1")
        (folder.policies / "start-removal.safetensors").write_bytes(b"of another search")
        (folder.policies / ".start-shrinkage.safetensors.7.tmp").write_bytes(b"")
        (folder.path / ".config.json.7.ab.tmp").write_text("{")
    again = RunFolder.create(folder.path)
    with working_on(again):
        again.begin_anew()
        assert files(again.path) == {".lock", "policies", "checkpoints"}


@pytest.mark.parametrize("name", ["policies/mine.pt", "checkpoints/mine.pt", "config.json", "a/b"])
def test_what_somebody_else_left_is_in_the_way(tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("mine")
    with pytest.raises(InputError, match="must be new or empty"):
        RunFolder.create(tmp_path)
    assert (tmp_path / name).read_text() == "mine"


def test_a_file_is_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    write_json(path, {"a": 1})

    def fail(temporary: Path) -> None:
        temporary.write_text("half")
        raise RuntimeError("the disk is full")

    with pytest.raises(RuntimeError):
        write_atomic(path, fail)
    assert read_json(path) == {"a": 1} and files(tmp_path) == {"file.json"}


def test_pipes_and_devices_are_not_replaced_and_links_lead_to_their_files(tmp_path: Path) -> None:
    pipe, real, link = tmp_path / "pipe", tmp_path / "real", tmp_path / "link"
    os.mkfifo(pipe)
    link.symlink_to(real)
    with pytest.raises(OSError, match="it is a device or a pipe"):
        write_atomic(pipe, lambda path: path.write_text("x"))
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    for text in ("new", "newer"):  # a link to nothing, then to a file
        write_atomic(link, lambda path, text=text: path.write_text(text))
        assert link.is_symlink() and real.read_text() == text
    for stream in ("/dev/stdout", "/dev/null", "/dev/fd/1"):
        with pytest.raises(OSError, match="it is a device or a pipe"):
            destination(Path(stream))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "pipe", "real"]


def test_damaged_files_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("{")
    (tmp_path / "x.pt").write_bytes(b"PK\3\4 torn")
    with pytest.raises(InputError, match=r"x\.json: must be a readable JSON file"):
        read_json(tmp_path / "x.json")
    with pytest.raises(InputError, match=r"x\.pt: damaged checkpoint"):
        load_checkpoint(tmp_path / "x.pt")
    assert load_checkpoint(tmp_path / "none.pt") is None


class Bomb:
    def __reduce__(self) -> Any:
        return (os.system, ("touch bombed",))


def test_checkpoints_run_no_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "c.pt"
    save_checkpoint(path, {"iteration": 3, "state": {"w": torch.ones(2)}})
    loaded = load_checkpoint(path)
    assert loaded is not None and torch.equal(loaded["state"]["w"], torch.ones(2))
    torch.save({"iteration": Bomb()}, path)
    with pytest.raises(InputError, match="damaged checkpoint"):
        load_checkpoint(path)
    assert not (tmp_path / "bombed").exists()


def test_default_folder_names_teacher_and_budget() -> None:
    path = default_folder("teachers/vgg.v2.pt", "mnist-20k")
    assert path.parts[0] == "runs" and path.name.endswith("-vgg.v2-mnist-20k")


LOCKING = """
import sys
from pathlib import Path
from hwn2n.run.folder import RunFolder
from hwn2n.run.lock import working_on
with working_on(RunFolder(Path(sys.argv[1]))):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there is no lock")
def test_a_folder_that_a_killed_export_left_is_removed(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "run")
    (folder.path / ".x.onnx.7.ab.tmp").mkdir()
    (folder.path / ".x.onnx.7.ab.tmp" / "x.onnx").write_text("in the making")
    with working_on(folder):
        assert not (folder.path / ".x.onnx.7.ab.tmp").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="there is no lock")
def test_one_process_at_a_time(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "run")
    torn = folder.path / "checkpoints" / ".final.pt.123.tmp"
    other = subprocess.Popen(
        [sys.executable, "-c", LOCKING, str(folder.path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent)},
    )
    assert other.stdout is not None and other.stdout.readline() == "held\n"
    torn.write_text("in the making")
    with (
        pytest.raises(InputError, match="run: another process is working on this run"),
        working_on(folder),
    ):
        pytest.fail("the lock was given twice")
    assert torn.exists(), "it belongs to the other process"
    other.kill()
    other.communicate()
    with working_on(folder):
        assert not torn.exists(), "left by a process that is gone"


def test_a_run_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "run")
    (folder.path / ".lock").mkdir()
    with (
        pytest.raises(InputError, match="run: must be writable: Is a directory"),
        working_on(folder),
    ):
        pytest.fail("nothing was locked")


def test_the_first_signal_asks_and_the_second_breaks_off() -> None:
    stop = Stop()
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    stop.check()
    with stop.on_ctrl_c():
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.requested
        with pytest.raises(InterruptedRunError, match="stopped as asked"):
            stop.check()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


PROGRESS = StageProgress(
    stage="removal",
    iteration=1,
    iterations=2,
    rollout=1,
    candidates=7,
    total=10,
    reward=0.25,
    best=0.875,
    best_accuracy=0.9,
    best_params=12345,
    feasible_share=0.5,
)


def test_plain_lines() -> None:
    stream = io.StringIO()
    reporter = PlainLines(stream, every=0.0)
    reporter.message("hello")
    reporter.stage(PROGRESS)
    reporter.epoch("final training", 2, 5, "loss 0.1")
    reporter.close()
    hello, stage, epoch = stream.getvalue().splitlines()
    assert hello == "hello"
    assert stage.startswith("removal 7/10 [")
    assert stage.endswith("reward 0.250  best 0.875 (90.00%, 12,345 params)  inside 50%")
    assert epoch.startswith("final training epoch 2/5 [") and epoch.endswith("loss 0.1")


def test_plain_lines_are_not_too_many_and_show_the_end() -> None:
    stream = io.StringIO()
    reporter = PlainLines(stream, every=1000.0)
    reporter._last = 1e12  # a line was written just now
    for epoch in range(1, 4):
        reporter.epoch("t", epoch, 3, "")
    assert [line.split(" [")[0] for line in stream.getvalue().splitlines()] == ["t epoch 3/3"]


def test_bars() -> None:
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=160)
    reporter = reporter_for(console)
    assert isinstance(reporter, RichBars)
    reporter.message("[not markup]")
    reporter.stage(PROGRESS)
    reporter.epoch("final training", 2, 5, "loss 0.1")
    reporter.close()
    text = stream.getvalue()
    for part in ("[not markup]", "removal", "7/10", "12,345 params", "final training", "loss 0.1"):
        assert part in text


def test_silent_and_the_choice() -> None:
    stream = io.StringIO()
    assert isinstance(reporter_for(Console(file=stream)), PlainLines)
    silent = reporter_for(Console(file=stream), quiet=True)
    assert isinstance(silent, Silent)
    silent.message("x")
    silent.stage(PROGRESS)
    silent.epoch("x", 1, 2, "")
    silent.close()
    assert stream.getvalue() == ""


def test_digest_tells_weights_names_and_types_apart() -> None:
    weights = {"a": torch.zeros(2), "b": torch.tensor(3)}
    same = {"b": torch.tensor(3), "a": torch.zeros(4)[::2]}
    assert digest(weights) == digest(same)
    others = (
        {**weights, "a": torch.tensor([0.0, 1e-45])},
        {**weights, "a": torch.zeros(2, dtype=torch.float64)},
        {**weights, "a": torch.zeros(1, 2)},
        {"c": weights["a"], "b": weights["b"]},
    )
    assert len({digest(weights), *(digest(other) for other in others)}) == 5
    assert {"python", "torch", "hwn2n"} <= set(versions())
