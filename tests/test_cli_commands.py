"""Every command from end to end on a tiny problem: outputs, exit codes, files."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import brief
import crafted
import pytest
import torch
from cli_tools import BUDGET, SHORT, Outcome, environment, hwn2n, tree

import hwn2n as package
from hwn2n.errors import InputError
from hwn2n.network.files import load_teacher


@pytest.fixture
def teacher(digits_teacher: Path) -> Path:
    return digits_teacher


@pytest.fixture
def compressed(digits_run: tuple[Path, Outcome]) -> tuple[Path, Outcome]:
    return digits_run


@pytest.fixture
def student(compressed: tuple[Path, Outcome]) -> Path:
    return compressed[0] / "student.pt2"


def budget(folder: Path, *rows: str) -> Path:
    """A budget with these rows in a file."""
    path = folder / "budget.yaml"
    lines = ["apiVersion: hwn2n/v1", "name: mine", "constraints:", *(f"  - {row}" for row in rows)]
    path.write_text("\n".join(lines) + "\n")
    return path


def cells(text: str, name: str) -> list[str]:
    """The cells behind `name` in a plain table."""
    line = next(line for line in text.splitlines() if line.startswith(name))
    return line.removeprefix(name).replace("<= ", "<=").replace(">= ", ">=").split()


# --- teach -----------------------------------------------------------------------------------


def test_teach_says_what_it_did(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "teacher.pt"
    code, out, err = hwn2n(
        "teach", "digits-cnn", "--data", "digits", "--epochs", 1, "--seed", 3, "-o", path,
        "--data-root", "my sets",
    )  # fmt: skip
    assert code == 0
    assert out.startswith("teacher digits-cnn of 103,466 parameters on digits: validation ")
    assert f"hwn2n compress '{path}' --budget FILE --data digits --data-root 'my sets'" in out
    assert "teaching digits-cnn" in err and "epoch 1/1" in err
    assert tree(path.parent) == {path}
    assert load_teacher(path).metadata["seed"] == 3


def test_teach_quiet_json(tmp_path: Path) -> None:
    path = tmp_path / "teacher.pt"
    outcome = hwn2n(
        "teach", "digits-cnn", "--data", "digits", "--epochs", 1, "-o", path, "--json", "--quiet"
    )
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.json["path"] == str(path)
    assert outcome.json["params"] == 103_466
    assert 0 <= outcome.json["test_accuracy"] <= 1


def test_the_split_is_written_into_the_teacher(teacher: Path) -> None:
    metadata = load_teacher(teacher).metadata
    assert (metadata["validation"], metadata["split_seed"]) == (0.3, 7)
    assert metadata["image_size"] is None


def test_compress_takes_size_and_split_from_the_teacher(tmp_path: Path) -> None:
    path, run = tmp_path / "teacher.pt", tmp_path / "run"
    taught_at_12 = hwn2n(
        "teach", "digits-cnn", "--data", "digits", "--image-size", 12, "--validation", 200,
        "--epochs", 1, "-o", path,
    )  # fmt: skip
    assert taught_at_12.code == 0, taught_at_12.err
    outcome = hwn2n("compress", path, "--data", "digits", "--out", run, *SHORT)
    assert outcome.code == 0, outcome.err
    request = json.loads((run / "config.json").read_text())["request"]
    assert (request["image_size"], request["validation"], request["split_seed"]) == (12, 200, 0)


@pytest.mark.parametrize(
    ("name", "value"), [("split_seed", "7"), ("validation", [1]), ("image_size", 4096)]
)
def test_a_teacher_with_a_false_split_is_refused(
    teacher: Path, tmp_path: Path, name: str, value: object
) -> None:
    content = torch.load(teacher)
    content["metadata"][name] = value
    path = tmp_path / "false.pt"
    torch.save(content, path)
    code, _, err = hwn2n("compress", path, "--data", "digits", "--out", tmp_path / "run")
    assert code == 2
    assert err.startswith(f"error: {path}: its {name} must be ") and err.count("\n") == 1
    assert not (tmp_path / "run").exists()


# --- compress --------------------------------------------------------------------------------


def test_compress_shows_teacher_student_and_budget(compressed: tuple[Path, Outcome]) -> None:
    run, (_, out, err) = compressed
    head = out.splitlines()[0].split()
    assert head == [
        "metric", "teacher", "student", "of", "teacher", "limit", "headroom", "inside?"
    ]  # fmt: skip
    result = json.loads((run / "result.json").read_text())
    params = result["student"]["cost"]["params"]["value"]
    row = cells(out, "params")
    assert row[0] == "103,466" and row[1] == f"{params:,}"
    assert row[3] == "<=10,346.6" and row[-1] == "yes"
    assert cells(out, "flops")[-1] == "yes"
    assert cells(out, "test accuracy")[1] == f"{result['student']['test_accuracy']:.2%}"
    assert "validation accuracy" in out and "latency p50" in out
    assert "the student is inside the budget" in out
    assert f"candidates: {result['candidates']['all']} (" in out
    assert f"results: {run}" in out
    assert "shrinkage 2/2" in err and "final training epoch 1/1" in err
    assert not [line for line in out.splitlines() if line != line.rstrip()]


def test_the_split_is_the_teachers(compressed: tuple[Path, Outcome]) -> None:
    request = json.loads((compressed[0] / "config.json").read_text())["request"]
    assert (request["validation"], request["split_seed"]) == (0.3, 7)


def test_settings_from_file_flags_and_set(teacher: Path, tmp_path: Path) -> None:
    config = tmp_path / "settings.yaml"
    config.write_text("train:\n  epochs: 1\n  lr: 1e-3\nfinal: {epochs: 1}\nseed: 5\n")
    run = tmp_path / "run"
    outcome = hwn2n(
        "compress", teacher, "--data", "digits", "--out", run, "--config", config, *SHORT,
        "--set", "removal.updates=0", "--set", "train.lr=2e-3", "--set", "final.keep_best=false",
        "--seed", 6, "--strategy", "random", "--validation", 100, "--split-seed", 1, "--json",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    config_of_run = json.loads((run / "config.json").read_text())
    settings, request = config_of_run["settings"], config_of_run["request"]
    assert settings["seed"] == 6  # the flag wins
    assert settings["strategy"] == "random"
    assert settings["train"]["lr"] == 2e-3  # --set wins over the file
    assert settings["removal"]["updates"] == 0
    assert settings["final"]["keep_best"] is False
    assert (request["validation"], request["split_seed"]) == (100, 1)
    assert outcome.json == json.loads((run / "result.json").read_text())
    assert outcome.json["rows"] == []
    assert "the search is unconstrained" in outcome.err


def test_resume_of_a_complete_run_gives_its_result(compressed: tuple[Path, Outcome]) -> None:
    run, (_, out, _) = compressed
    before = {path: path.stat().st_mtime_ns for path in tree(run)}
    assert hwn2n("compress", "--resume", run, "--quiet") == Outcome(0, out, "")
    assert hwn2n("compress", "--resume", run, "--json").json["satisfied"] is True
    assert {path: path.stat().st_mtime_ns for path in tree(run)} == before


def test_a_student_outside_is_shown_and_fails(teacher: Path, tmp_path: Path) -> None:
    limits = budget(tmp_path, "{metric: accuracy, min: 99.99%}")
    run = tmp_path / "run"
    arguments = ("compress", teacher, "--budget", limits, "--data", "digits", "--out", run, *SHORT)
    code, out, err = hwn2n(*arguments, "--quiet")
    assert code == 1
    assert cells(out, "validation accuracy")[2:] == [">=99.99%", cells(out, "validation")[-2], "no"]
    assert "the student is OUTSIDE the budget" in out
    assert err.count("\n") == 1
    assert err.startswith("error: the trained student must meet accuracy >= 99.99%")
    again = hwn2n("compress", "--resume", run, "--quiet")
    assert (again.code, again.out) == (1, out)
    outcome = hwn2n("compress", "--resume", run, "--json")
    assert (outcome.code, outcome.json["exit_code"]) == (1, 1)


def test_no_candidate_inside(teacher: Path, tmp_path: Path) -> None:
    limits = budget(tmp_path, "{metric: latency, stat: p50, max: 1ns}")
    run = tmp_path / "run"
    code, out, err = hwn2n(
        "compress", teacher, "--budget", limits, "--data", "digits", "--out", run, *SHORT, "--quiet"
    )
    assert (code, out) == (1, "")
    assert err.count("\n") == 1
    assert "is inside the budget; binding: latency_p50 <= 1ns" in err
    assert "the nearest, candidate" in err


def test_an_interrupt_says_how_to_go_on_and_that_works(teacher: Path, tmp_path: Path) -> None:
    run = tmp_path / "my run"
    started = subprocess.Popen(
        [
            sys.executable, brief.__file__, "compress", str(teacher), "--budget", BUDGET,
            "--data", "digits", "--out", str(run), *SHORT, "--set", "removal.updates=200",
        ],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(),
    )  # fmt: skip
    assert started.stderr is not None
    for line in started.stderr:
        if line.startswith("removal "):
            break
    started.send_signal(signal.SIGINT)
    out, err = started.communicate(timeout=60)
    assert (started.returncode, out) == (130, "")
    assert "stopping after the current candidate" in err
    last = err.splitlines()[-1]
    assert last == f"error: interrupted; go on with: hwn2n compress --resume '{run}'"
    config = run / "config.json"
    settings = json.loads(config.read_text())
    settings["settings"]["removal"]["updates"] = 1  # so that the rest takes a second
    config.write_text(json.dumps(settings))
    outcome = hwn2n("compress", "--resume", run)
    assert outcome.code == 0, outcome.err
    assert "the student is inside the budget" in outcome.out


# --- profile ---------------------------------------------------------------------------------


def test_profile_shows_costs_and_what_cannot_be_had(teacher: Path, unhurried: None) -> None:
    code, out, err = hwn2n("profile", teacher, "--threads", 1)
    assert (code, err) == (0, "")
    assert cells(out, "params") == ["103,466", "exact"]
    assert cells(out, "latency_p95")[0].endswith("s") and "measured" in cells(out, "latency_p95")
    assert "power source" in out and "unavailable" in cells(out, "energy")
    assert "on images of 1x8x8 (noise), target cpu threads=1" in out
    assert "machine: " in out and "torch " in out and "conditions: load " in out
    assert "samples, 1 threads, " in out


def test_profile_json_and_file(student: Path, tmp_path: Path) -> None:
    path = tmp_path / "profile.json"
    outcome = hwn2n(
        "profile", student, "--columns", "params, latency_p90,accuracy", "--batch", 4, "--json",
        "-o", path,
    )  # fmt: skip
    assert (outcome.code, outcome.err) == (0, "")
    found = outcome.json
    assert found == json.loads(path.read_text())
    assert set(found["cost"]) == {"params", "latency_p90"}
    latency = found["cost"]["latency_p90"]
    assert latency["low"] <= latency["value"] <= latency["high"] and latency["how"] == "measured"
    assert "learned" in found["unavailable"]["accuracy"]
    assert found["input_shape"] == [1, 8, 8] and found["machine"]["target"]["batch"] == 4
    assert len(found["samples"]["latency"]["samples_s"]) >= 36  # what an interval of p90 needs
    assert found["conditions"]["before"]["load"]


def test_profile_all_columns(student: Path) -> None:
    found = hwn2n("profile", student, "--columns", "all", "--json", "--data", "digits").json
    assert {"params", "flops", "file_bytes", "peak_memory", "latency_p99"} <= set(found["cost"])
    assert {"energy", "accuracy", "device_latency_p50"} <= set(found["unavailable"])
    assert found["inputs"] == "digits"


def test_profile_on_images_of_another_shape() -> None:
    with pytest.raises(InputError, match=r"images of digits must have the shape \(3, 8, 8\)"):
        package.profile(torch.nn.Flatten(), input_shape=(3, 8, 8), data="digits")


def test_profile_of_plain_weights(tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    torch.save(crafted.tiny().state_dict(), path)
    arguments = ("profile", path, "--arch", "crafted:Tiny", "--columns", "params")
    code, _, err = hwn2n(*arguments)
    assert code == 2 and "give --input-shape C,H,W" in err
    code, out, _ = hwn2n(*arguments, "--input-shape", "1,8,8")
    assert code == 0 and cells(out, "params") == ["63", "exact"]


# --- check -----------------------------------------------------------------------------------


def test_check_inside(student: Path, teacher: Path) -> None:
    code, out, err = hwn2n("check", student, "--budget", BUDGET, "--teacher", teacher)
    assert (code, err) == (0, "")
    assert cells(out, "params")[-2:] == ["pass", "exact"]
    assert out.splitlines()[-1].endswith("inside the budget 'demo' on target cpu")


def test_check_outside(teacher: Path, tmp_path: Path) -> None:
    limits = budget(tmp_path, "{metric: params, max: 100k}", "{metric: flops, max: 1G}")
    outcome = hwn2n("check", teacher, "--budget", limits)
    assert (outcome.code, outcome.err) == (1, "")
    assert cells(outcome.out, "params")[-2:] == ["violated", "exact"]
    assert cells(outcome.out, "flops")[-2:] == ["pass", "exact"]
    assert outcome.out.splitlines()[-1] == f"  violated: params <= 100k ({limits}:4)"
    found = hwn2n("check", teacher, "--budget", limits, "--json").json
    assert (found["exit_code"], found["satisfied"]) == (1, False)
    assert [row["verdict"] for row in found["rows"]] == ["violated", "pass"]
    assert found["rows"][0]["line"] == 4
    assert found["rows"][0]["headroom"] == pytest.approx(-0.03466)


def test_check_what_cannot_be_measured(teacher: Path, tmp_path: Path) -> None:
    limits = budget(tmp_path, "{metric: params, max: 1M}", "{metric: energy, max: 1mJ}")
    outcome = hwn2n("check", teacher, "--budget", limits)
    assert (outcome.code, outcome.err) == (3, "")
    assert "energy: no power source" in outcome.out
    assert "unavailable: energy <= 1mJ" in outcome.out
    outcome = hwn2n("check", teacher, "--budget", limits, "--static-only")
    assert outcome.code == 0
    assert "skipped" in cells(outcome.out, "energy")


def test_check_warnings_do_not_fail(teacher: Path, tmp_path: Path) -> None:
    limits = budget(
        tmp_path, "{metric: params, max: 1M}", "{metric: flops, max: 1k, severity: warn}"
    )
    code, out, _ = hwn2n("check", teacher, "--budget", limits)
    assert code == 0
    assert "violated (warning only)" in out


def test_check_static_only_needs_no_target(teacher: Path, tmp_path: Path) -> None:
    limits = budget(tmp_path, "{metric: params, max: 1M}")
    limits.write_text(limits.read_text() + "target: cuda:63\n")
    assert hwn2n("check", teacher, "--budget", limits, "--static-only").code == 0


@pytest.mark.parametrize(
    ("row", "code"), [("max: 10s", 0), ("max: 1ns", 1), ("min: 10s", 1), ("min: 1ns", 0)]
)
def test_check_latency(teacher: Path, tmp_path: Path, row: str, code: int) -> None:
    limits = budget(tmp_path, f"{{metric: latency, stat: p50, {row}}}")
    outcome = hwn2n("check", teacher, "--budget", limits, "--json", "--threads", 1)
    assert outcome.code == code
    [found] = outcome.json["rows"]
    assert found["low"] <= found["value"] <= found["high"] and found["how"] == "measured"
