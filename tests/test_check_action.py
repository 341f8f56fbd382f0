"""The GitHub Action and the example workflow: their scripts run by bash, with inputs that bite."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from cli_tools import ROOT
from test_cli_docs import COMMANDS, PROGRAM, parse

ACTION: dict[str, Any] = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
EXAMPLE = ROOT / "examples" / "hwn2n-check.yml"
EXPRESSION = re.compile(r"\$\{\{\s*(.*?)\s*\}\}")
BASH = shutil.which("bash")

FAKE = f"""#!{sys.executable} -SE
import json, os, sys
with open(os.environ["SEEN"], "a", encoding="utf-8", errors="surrogateescape") as file:
    file.write(json.dumps([os.path.basename(sys.argv[0]), *sys.argv[1:]]) + "\\n")
sys.exit(int(os.environ.get("CODE", "0")))
"""


class Ran(NamedTuple):
    code: int
    seen: list[list[str]]
    outputs: str
    log: str


def step(name: str) -> dict[str, Any]:
    [found] = [item for item in ACTION["runs"]["steps"] if item["name"] == name]
    return dict(found)


def run(folder: Path, name: str, code: int = 0, **inputs: str) -> Ran:
    """Run a step as GitHub does: expressions put into its environment, then bash -eo pipefail."""
    values = {key: item.get("default", "") for key, item in ACTION["inputs"].items()}
    values |= {key.replace("_", "-"): value for key, value in inputs.items()}
    known = {f"inputs.{key}": value for key, value in values.items()}
    known["github.action_path"] = str(folder / "the action")
    programs = folder / "bin"
    programs.mkdir()
    for program in ("hwn2n", "python"):
        (programs / program).write_text(FAKE)
        (programs / program).chmod(0o755)
    given = step(name)["env"]
    environment = {key: EXPRESSION.sub(lambda m: known[m[1]], text) for key, text in given.items()}
    script = folder / "script.sh"
    script.write_text(step(name)["run"], encoding="utf-8")
    assert BASH is not None
    done = subprocess.run(
        [BASH, "--noprofile", "--norc", "-eo", "pipefail", str(script)],
        cwd=folder, capture_output=True, text=True, check=False, timeout=60,
        env=environment | {
            "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
            "SEEN": str(folder / "seen"), "CODE": str(code),
            "GITHUB_OUTPUT": str(folder / "outputs"),
        },
    )  # fmt: skip
    seen, outputs = folder / "seen", folder / "outputs"
    return Ran(
        done.returncode,
        [json.loads(line) for line in seen.read_text().splitlines()] if seen.exists() else [],
        outputs.read_text() if outputs.exists() else "",
        done.stdout + done.stderr,
    )


needs_bash = pytest.mark.skipif(BASH is None, reason="there is no bash here")


def test_the_action_is_composite_and_complete() -> None:
    assert ACTION["runs"]["using"] == "composite"
    for item in ACTION["runs"]["steps"]:
        assert ("uses" in item) != ("run" in item)
        assert "uses" in item or item["shell"] == "bash"
    for name, item in ACTION["inputs"].items():
        assert item["description"] and (item.get("required") or "default" in item), name
        assert isinstance(item.get("default", ""), str), name
    used = set(EXPRESSION.findall((ROOT / "action.yml").read_text(encoding="utf-8")))
    named = {word for text in used for word in re.findall(r"inputs\.([a-z-]+)", text)}
    assert named == set(ACTION["inputs"])


def test_no_input_stands_inside_a_script() -> None:
    for item in ACTION["runs"]["steps"]:
        assert "${{" not in item.get("run", "")
        for name in re.findall(r"\$\{?(INPUT_[A-Z_]+|ACTION_PATH)", item.get("run", "")):
            assert name in item["env"]


def test_options_of_the_action_are_those_of_the_command() -> None:
    known = {name for item in COMMANDS["check"].params for name in item.opts}
    given = set(re.findall(r'"?(--[a-z-]+)', step("Check")["run"])) - {"--"}
    assert given <= known and {"--budget", "--format", "--static-only"} <= given


@needs_bash
def test_the_least_inputs(tmp_path: Path) -> None:
    ran = run(tmp_path, "Check", model="net.pt2", budget="budget.yaml")
    assert ran.seen == [
        ["hwn2n", "check", "--budget=budget.yaml", "--format=github", "--", "net.pt2"]
    ]
    assert (ran.code, ran.outputs) == (0, "exit-code=0\n")


@needs_bash
@pytest.mark.parametrize("code", [0, 1, 2, 3, 4, 70])
def test_exit_codes_pass_through(tmp_path: Path, code: int) -> None:
    ran = run(tmp_path, "Check", code, model="net.pt2", budget="budget.yaml")
    assert (ran.code, ran.outputs) == (code, f"exit-code={code}\n")


@needs_bash
def test_all_inputs(tmp_path: Path) -> None:
    ran = run(
        tmp_path, "Check", model="m", budget="b", teacher="t", baseline="l", max_increase="5%",
        profile="p", static_only="true", format="junit", out="o", args=" --threads 1\n--arch a:B ",
    )  # fmt: skip
    [[_, _, *arguments]] = ran.seen
    assert arguments == [
        "--budget=b", "--format=junit", "--teacher=t", "--baseline=l", "--max-increase=5%",
        "--profile=p", "--out=o", "--static-only", "--threads", "1", "--arch", "a:B", "--", "m",
    ]  # fmt: skip


BITING = [
    "with space.pt2",
    "$(touch pwned)",
    "`touch pwned`",
    "a; touch pwned",
    "a\ntouch pwned",
    '"; touch pwned; "',
    "'; touch pwned; '",
    "${HOME} $PATH \\n *",
    "--static-only",
    "-o pwned",
    "a && touch pwned #",
    "{a,b} ~ !! [x] ?",
]


@needs_bash
@pytest.mark.parametrize("text", BITING)
def test_inputs_are_data_and_never_code(tmp_path: Path, text: str) -> None:
    names = ("model", "budget", "teacher", "baseline", "max_increase", "profile", "out", "format")
    ran = run(tmp_path, "Check", **dict.fromkeys(names, text))
    [[_, _, *arguments]] = ran.seen
    options = {argument.partition("=")[0]: argument.partition("=")[2] for argument in arguments[:7]}
    assert set(options) == {f"--{name.replace('_', '-')}" for name in names if name != "model"}
    assert set(options.values()) == {text}
    assert arguments[7:] == ["--", text]
    assert ran.code == 0 and not (tmp_path / "pwned").exists()


@needs_bash
@pytest.mark.parametrize("text", BITING)
def test_arguments_are_split_and_not_expanded(tmp_path: Path, text: str) -> None:
    ran = run(tmp_path, "Check", model="m", budget="b", args=text)
    [[_, _, *arguments]] = ran.seen
    assert arguments == ["--budget=b", "--format=github", *text.split(), "--", "m"]
    assert not (tmp_path / "pwned").exists()


@needs_bash
@pytest.mark.parametrize("text", ["yes", "$(touch pwned)", "::error::x"])
def test_static_only_is_true_or_false(tmp_path: Path, text: str) -> None:
    ran = run(tmp_path, "Check", model="m", budget="b", static_only=text)
    assert (ran.code, ran.seen, ran.outputs) == (2, [], "exit-code=2\n")
    assert ran.log == "error: static-only must be true or false\n"
    assert not (tmp_path / "pwned").exists()


@needs_bash
@pytest.mark.parametrize(
    ("given", "packages"),
    [
        ("", ["{folder}/the action"]),
        ("  \n", ["{folder}/the action"]),
        ("hwn2n==1.0 $(touch pwned)", ["hwn2n==1.0", "$(touch", "pwned)"]),
    ],
)
def test_what_is_installed(tmp_path: Path, given: str, packages: list[str]) -> None:
    ran = run(tmp_path, "Install hwn2n", install=given)
    [[_, *arguments]] = ran.seen
    assert arguments[:3] == ["-m", "pip", "install"]
    assert arguments[4:] == [package.format(folder=tmp_path) for package in packages]
    assert not (tmp_path / "pwned").exists()


@needs_bash
def test_a_failed_install_fails_the_step(tmp_path: Path) -> None:
    assert run(tmp_path, "Install hwn2n", 1).code == 1


# --- the example -------------------------------------------------------------------------------


def test_the_example_uses_the_action_as_it_is() -> None:
    workflow = yaml.safe_load(EXAMPLE.read_text(encoding="utf-8"))
    assert workflow["permissions"] == {"contents": "read"}
    steps = [item for job in workflow["jobs"].values() for item in job["steps"]]
    ours = [item for item in steps if item.get("uses", "").startswith("OWNER/hwn2n@")]
    assert len(ours) == len(workflow["jobs"]) == 3
    for item in ours:
        assert set(item["with"]) <= set(ACTION["inputs"])
        assert {"model", "budget"} <= set(item["with"])
        assert all(isinstance(value, str) for value in item["with"].values())


def test_commands_in_the_example_can_be_typed() -> None:
    text = re.sub(r"\\\n#\s*", " ", EXAMPLE.read_text(encoding="utf-8"))
    lines = [line.lstrip("# ") for line in text.splitlines() if line.startswith("#")]
    found = [match[1] for line in lines if (match := PROGRAM.match(line))]
    assert len(found) == 1
    assert parse(found[0])["save_baseline"] == Path("profiles/net-on-device.json")
