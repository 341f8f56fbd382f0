"""`hwn2n check` from the command line on a network of torchvision: codes, formats, files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import junitparser
import pytest
import torch
import torchvision
from cli_tools import hwn2n
from gate_parsers import commands, page
from told import MEASURED, SHAPE, Told, net
from torch import nn
from torch.export import Dim, export, save

from hwn2n.budget.cost import Reading
from hwn2n.network.files import load_teacher

STATIC = ("{metric: params, max: 100}", "{metric: flops, max: 1k}")
FAST = "{metric: latency, stat: p50, max: 11ms}"


def exported(model: nn.Module, path: Path, *shape: int) -> Path:
    images = torch.zeros(2, *shape)
    with torch.no_grad():
        program = export(model.eval(), (images,), dynamic_shapes=({0: Dim("batch")},))
    save(program, path)
    return path


@pytest.fixture(scope="module")
def mobilenet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MobileNetV3-Small as torchvision has it, untrained: 2,542,856 parameters."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        network = torchvision.models.mobilenet_v3_small(weights=None)
    return exported(network, tmp_path_factory.mktemp("model") / "mobilenet.pt2", 3, 64, 64)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network of 47 parameters, which loads fast."""
    return exported(net(), tmp_path_factory.mktemp("model") / "small.pt2", *SHAPE)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("GITHUB_WORKSPACE", "GITHUB_STEP_SUMMARY"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def budget(*rows: str, name: str = "budget.yaml") -> str:
    """A budget in the working directory; the first row stands in line 4."""
    lines = ["apiVersion: hwn2n/v1", "name: mine", "constraints:", *(f"  - {row}" for row in rows)]
    Path(name).write_text("\n".join(lines) + "\n")
    return name


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Told:
    """What measures, instead of this machine."""
    target = Told(latency_p50=MEASURED, flops=Reading(90))
    monkeypatch.setattr("hwn2n.commands.check.target_of", lambda *_, **__: target)
    return target


# --- a network of torchvision ------------------------------------------------------------------


def test_torchvision_inside_and_outside_on_any_runner(here: Path, mobilenet: Path) -> None:
    rows = ("{metric: params, max: 3M}", "{metric: flops, max: 10M}", FAST)
    code, out, err = hwn2n("check", mobilenet, "--budget", budget(*rows), "--static-only")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0].split() == ["metric", "value", "limit", "headroom", "verdict", "known"]
    assert lines[1].split() == ["params", "2.54M", "<=", "3.00M", "+15.2%", "pass", "exact"]
    assert lines[3].split() == ["latency_p50", "-", "-", "-", "skipped", "-"]
    assert lines[-1] == f"{mobilenet}: inside the budget 'mine' on target cpu (1 row skipped)"
    limits = budget("{metric: params, max: 2.5M}", rows[1])
    code, out, err = hwn2n("check", mobilenet, "--budget", limits, "--static-only")
    assert (code, err) == (1, "")
    assert out.splitlines()[-1] == "  violated: params <= 2.5M (budget.yaml:4)"


def test_torchvision_measured_or_not(here: Path, mobilenet: Path) -> None:
    rows = (
        "{metric: params, max: 3M}",
        "{metric: latency, stat: p50, max: 100s}",
        "{metric: latency, stat: p50, scope: device, max: 1s, severity: warn}",
    )
    arguments = ("check", mobilenet, "--target", "cpu", "--threads", 1, "--budget")
    code, out, err = hwn2n(*arguments, budget(*rows), "--json")
    assert (code, err) == (0, "")
    row = json.loads(out)["rows"][1]
    assert 0 < row["low"] <= row["value"] <= row["high"] and row["how"] == "measured"
    code, out, err = hwn2n(*arguments, budget(rows[0], rows[2].replace("warn", "error")))
    assert (code, err) == (3, "")
    assert "device_latency_p50" in out.splitlines()[2] and "unavailable" in out.splitlines()[2]
    assert "a row could not be measured" in out
    assert "  unavailable: device_latency_p50 <= 1s (budget.yaml:5): device_latency_p50: a " in out


def test_torchvision_inconclusive(here: Path, mobilenet: Path, told: Told) -> None:
    code, out, err = hwn2n(
        "check", mobilenet, "--budget", budget("{metric: params, max: 3M}", FAST)
    )
    assert (code, err) == (4, "")
    assert "10.0ms [9.00ms, 12.0ms]" in out.splitlines()[2]
    assert out.splitlines()[-2] == "  inconclusive: latency_p50 <= 11ms (budget.yaml:5)"


# --- every code in every format ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "code"),
    [
        (STATIC, 0),
        ((*STATIC, FAST), 4),
        (("{metric: energy, max: 1J}", FAST), 3),
        (("{metric: energy, max: 1J}", FAST, "{metric: params, max: 40}"), 1),
        (("{metric: params, max: 50}", "{metric: energy, max: 1J, severity: warn}"), 0),
    ],
)
def test_every_code_in_every_format(
    here: Path, model: Path, told: Told, rows: tuple[str, ...], code: int
) -> None:
    limits = budget(*rows)
    arguments = ("check", model, "--budget", limits)
    outs = {}
    for form in ("text", "json", "junit", "github", "markdown"):
        outcome = hwn2n(*arguments, "--format", form)
        assert (outcome.code, outcome.err) == (code, "")
        outs[form] = outcome.out
    document = json.loads(outs["json"])
    assert document["exit_code"] == code and document["budget_file"] == limits
    ids = [row["id"] for row in document["rows"]]
    [suite] = junitparser.JUnitXml.fromstring(outs["junit"].encode())
    assert [case.name for case in suite] == ids
    assert (suite.failures > 0) == (code == 1)
    assert (suite.errors > 0) == any(
        row["severity"] == "error" and row["verdict"] in ("unavailable", "inconclusive")
        for row in document["rows"]
    )
    annotations = commands(outs["github"])
    assert {c.name for c in annotations[:-1]} <= {"error", "warning"}
    assert any(c.name == "error" for c in annotations) == (code != 0)
    for annotation in annotations[:-1]:
        assert annotation.properties["file"] == limits
        assert 4 <= int(annotation.properties["line"]) < 4 + len(rows)
    assert [line[0] for line in page(outs["markdown"]).table[1:]] == ids
    assert [line.split()[0] for line in outs["text"].splitlines()[1 : 1 + len(ids)]] == ids


# --- files -------------------------------------------------------------------------------------


def test_out_gets_the_format_and_stdout_the_text(here: Path, model: Path, told: Told) -> None:
    limits = budget(*STATIC, FAST)
    text = hwn2n("check", model, "--budget", limits)
    for form in ("json", "junit", "github", "markdown", "text"):
        path = here / f"report.{form}"
        outcome = hwn2n("check", model, "--budget", limits, "--format", form, "--out", path)
        assert outcome == text
        written = path.read_text(encoding="utf-8")
        if form == "json":
            assert json.loads(written)["exit_code"] == 4
        elif form == "text":
            assert written == text.out
        elif form == "junit":
            assert junitparser.JUnitXml.fromfile(str(path)).errors == 1
        elif form == "github":
            assert len(commands(written)) == 2
        else:
            assert page(written).heading.startswith(f"hwn2n check: {model}: inconclusive")
    assert hwn2n("check", model, "--budget", limits, "--json", "-o", here / "x").out == text.out
    assert not list(here.glob(".*"))  # no temporary file is left


def test_out_must_be_writable(here: Path, model: Path, told: Told) -> None:
    limits = budget(*STATIC)
    code, out, err = hwn2n("check", model, "--budget", limits, "--out", "no/report.xml")
    assert (code, out) == (2, "")
    assert err == "error: no/report.xml: must lie in a folder that exists, and no does not\n"
    (here / "taken").mkdir()
    code, out, err = hwn2n("check", model, "--budget", limits, "--out", "taken")
    assert (code, out) == (2, "")
    assert err == "error: taken: must be writable, but: Is a directory\n"


def test_formats_that_contradict(here: Path, model: Path) -> None:
    code, _, err = hwn2n("check", model, "--budget", budget(*STATIC), "--json", "--format", "junit")
    assert (code, err) == (
        2, "error: --json must not be given with another --format; found junit\n",
    )  # fmt: skip
    code, _, err = hwn2n("check", model, "--budget", "budget.yaml", "--format", "html")
    assert code == 2 and "'html'" in err and "markdown" in err


# --- GitHub ------------------------------------------------------------------------------------


def test_github_appends_the_step_summary(
    here: Path, model: Path, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "repo" / "ci").mkdir(parents=True)
    monkeypatch.setenv("GITHUB_WORKSPACE", str(here / "repo"))
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(here / "summary.md"))
    limits = budget("{metric: params, max: 40}", FAST, name="repo/ci/limits.yaml")
    outcome = hwn2n("check", model, "--budget", limits, "--format", "github")
    first, second, last = commands(outcome.out)
    assert (first.name, first.properties["file"], first.properties["line"]) == (
        "error", "ci/limits.yaml", "4",
    )  # fmt: skip
    assert (second.name, second.properties["line"]) == ("error", "5")
    assert last.name == "notice" and "OUTSIDE" in last.message
    assert page((here / "summary.md").read_text()).table[1][0] == "params"
    hwn2n("check", model, "--budget", limits, "--format", "markdown")
    assert (here / "summary.md").read_text().count("###") == 1  # only --format github adds to it
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(here))
    outcome = hwn2n("check", model, "--budget", limits, "--format", "github")
    assert outcome.code == 1 and outcome.err.startswith("warning: no step summary: ")


def test_github_annotates_an_invalid_budget(here: Path, model: Path) -> None:
    limits = budget(*STATIC, "{metric: latency, stat: p50, max: 10}")
    code, out, err = hwn2n("check", model, "--budget", limits, "--format", "github")
    assert code == 2 and err.startswith("error: budget.yaml:6: ")
    [command] = commands(out)
    assert (command.name, command.properties["file"], command.properties["line"]) == (
        "error", "budget.yaml", "6",
    )  # fmt: skip
    assert command.message == err.removeprefix("error: ").rstrip("\n")


# --- profiles ----------------------------------------------------------------------------------


def test_baseline_profile_and_teacher_from_files(
    here: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = Told(latency_p50=MEASURED)
    monkeypatch.setattr("hwn2n.commands.profile.target_of", lambda *_, **__: target)
    monkeypatch.setattr("hwn2n.commands.check.target_of", lambda *_, **__: Told())
    limits = budget(STATIC[0], "{metric: latency, stat: p50, max: 12ms}")
    outcome = hwn2n("profile", model, "--budget", limits, "--save-baseline", "main.json")
    assert outcome.code == 0, outcome.err
    assert outcome.out.splitlines()[-1] == "written to main.json"
    assert json.loads(Path("main.json").read_text())["model_digest"].startswith("sha256:")
    arguments = ("check", model, "--budget", limits, "--profile", "main.json")
    compared = hwn2n(*arguments, "--baseline", "main.json", "--max-increase", "5%", "--json")
    assert compared.code == 4  # the same figures: 9 to 12 ms are not surely 5 % of 9 to 12 ms
    rows: list[dict[str, Any]] = json.loads(compared.out)["rows"]
    assert [row["how"] for row in rows] == ["exact", "cached", "exact", "cached"]
    assert [row["change"]["relative"] for row in rows] == [0.0] * 4
    assert [row["verdict"] for row in rows] == ["pass", "pass", "pass", "inconclusive"]
    assert [row["line"] for row in rows] == [4, 5, 4, 5]
    text = hwn2n(*arguments, "--baseline", "main.json")
    assert text.code == 0
    assert text.out.splitlines()[0].split()[4] == "change"
    assert text.out.splitlines()[1].split()[-3:] == ["+0.0%", "pass", "exact"]
    assert text.out.splitlines()[2].split()[-3:] == ["~", "pass", "cached"]
    assert "machine: a CPU, torch 2.0; inputs: noise" in text.out
    half = budget("{metric: params, max: 50%}")
    assert hwn2n("check", model, "--budget", half, "--teacher", "main.json").code == 1


def test_a_profile_of_another_network(here: Path, model: Path) -> None:
    path = exported(net(), here / "other.pt2", *SHAPE)  # other random weights
    assert hwn2n("profile", path, "--columns", "params", "-o", "other.json").code == 0
    limits = budget(STATIC[0])
    code, _, err = hwn2n("check", model, "--budget", limits, "--profile", "other.json")
    assert code == 2
    assert err.startswith(f"error: other.json: the profile must be of this very network, {model}")
    code, _, err = hwn2n("check", model, "--budget", limits, "--baseline", model)
    assert code == 2 and err.startswith(f"error: {model}: a profile must be JSON")


# --- labelled images ---------------------------------------------------------------------------


def test_accuracy_on_the_images_that_the_teacher_was_chosen_by(
    here: Path, digits_teacher: Path
) -> None:
    path = digits_teacher
    before = load_teacher(path).metadata["validation_accuracy"]
    limits = budget("{metric: accuracy, min: 50%}", "{metric: worst_class_accuracy, min: 99.99%}")
    arguments = ("check", path, "--budget", limits, "--json")
    outcome = hwn2n(*arguments, "--data", "digits")
    top1, worst = outcome.json["rows"]
    assert (outcome.code, outcome.json["inputs"]) == (1, "digits")
    assert (top1["value"], top1["verdict"]) == (pytest.approx(before), "pass")
    assert worst["value"] <= top1["value"] and worst["verdict"] == "violated"
    assert hwn2n(*arguments).code == 3
