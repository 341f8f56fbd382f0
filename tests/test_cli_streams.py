"""Results are alone on stdout, and a closed pipe or a full disk is no verdict."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from cli_tools import environment, process

from hwn2n.cli.failure import Invocation, failed

BUDGET = "apiVersion: hwn2n/v1\nname: wide\nconstraints:\n  - {metric: params, max: 10M}\n"

LOUD = """
import os, subprocess
from torch import nn

print("importing loud")

def make():
    print("Files already downloaded and verified")
    subprocess.run(["echo", "said by a child"], check=True)
    os.write(1, b"said by a library\\n")
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
"""


@pytest.fixture
def check(digits_teacher: Path, tmp_path: Path) -> list[str]:
    """A command whose answer is that a network is inside."""
    budget = tmp_path / "wide.yaml"
    budget.write_text(BUDGET)
    return ["check", str(digits_teacher), "--budget", str(budget), "--static-only"]


def into(stdout: int, arguments: list[str]) -> tuple[int, str]:
    """Exit code and stderr of a process with this stdout."""
    done = subprocess.run(
        [sys.executable, "-m", "hwn2n", *arguments],
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
        timeout=120,
        check=False,
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize("more", [[], ["--json"]], ids=str)
def test_a_reader_that_is_gone_is_no_verdict(check: list[str], more: list[str]) -> None:
    read, write = os.pipe()
    os.close(read)
    try:
        assert into(write, [*check, *more]) == (141, "")
    finally:
        os.close(write)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a full device")
@pytest.mark.parametrize("more", [[], ["--json"]], ids=str)
def test_a_full_disk_is_one_line(check: list[str], more: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        code, said = into(full.fileno(), [*check, *more])
    assert code == 2 and said.count("\n") == 1
    assert said.startswith("error: there must be space to write to: ")


@pytest.mark.parametrize("form", ["--json", "--format=junit"])
def test_what_the_users_module_prints_is_not_among_the_results(tmp_path: Path, form: str) -> None:
    (tmp_path / "loud.py").write_text(LOUD)
    (tmp_path / "wide.yaml").write_text(BUDGET)
    weights = tmp_path / "weights.pt"
    script = f"import loud, torch; torch.save(loud.make().state_dict(), {str(weights)!r})"
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=True, capture_output=True)
    found = process(
        "check", weights, "--arch", "loud:make", "--input-shape", "1,8,8", "--budget", "wide.yaml",
        "--static-only", form, cwd=tmp_path,
    )  # fmt: skip
    assert found.code == 0, found.err
    assert "importing loud" in found.err and "Files already" in found.err
    assert "said by a child" in found.err and "said by a library" in found.err
    if form == "--json":
        assert found.json
    else:
        assert found.out.startswith("<?xml")


def test_an_ascii_terminal_gets_escapes() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "hwn2n", "budget", "schema"],
        capture_output=True,
        env=environment() | {"PYTHONIOENCODING": "ascii"},
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.decode("ascii")


TOO_MUCH = {
    "torch": lambda: torch.empty(1 << 60, dtype=torch.uint8),
    "Python": lambda: bytearray(1 << 62),
}


@pytest.mark.parametrize("what", TOO_MUCH)
def test_too_little_memory_is_one_line_and_no_fault_of_hwn2n(
    what: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises((RuntimeError, MemoryError)) as caught:
        TOO_MUCH[what]()
    assert failed(caught.value, Invocation()) == 2
    said = capfd.readouterr().err
    assert said.startswith("error: there must be memory for what was asked")
    assert said.count("\n") == 1
