"""What the command line does before it has work: help, version, import of as little as possible."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from cli_tools import Outcome, environment, hwn2n, process

import hwn2n as package
from hwn2n.errors import Hwn2nError

IMPORTS = """
import sys
from hwn2n.cli import main
code = main(sys.argv[1:])
heavy = ("torch", "numpy", "scipy", "plotly", "jinja2")
print(code, [name for name in heavy if name in sys.modules], file=sys.stderr)
"""


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["--version"], [], ["compress", "--help"], ["check", "--help"], ["--nonsense"]],
    ids=" ".join,
)
def test_nothing_heavy_is_imported(arguments: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", IMPORTS, *arguments],
        capture_output=True,
        text=True,
        env=environment(),
        timeout=60,
        check=True,
    )
    code = 2 if arguments == ["--nonsense"] else 0
    assert done.stderr.splitlines()[-1] == f"{code} []"


def test_commands_that_measure_nothing_import_no_scipy() -> None:
    """It takes half as long as torch. Three commands in one process, for torch takes long too."""
    script = (
        "import sys, hwn2n.commands.check, hwn2n.commands.inspect, hwn2n.commands.compress; "
        "print('torch' in sys.modules, 'scipy' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True, text=True, env=environment(), timeout=60, check=True,
    )  # fmt: skip
    assert done.stdout == "True False\n"


def test_the_package_imports_no_torch_and_has_the_functions() -> None:
    script = "import sys, hwn2n; print(*hwn2n.__all__); assert 'torch' not in sys.modules"
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True, text=True, env=environment(), timeout=60, check=True,
    )  # fmt: skip
    functions = "check compare compare_runs compress export inspect profile report resume teach"
    assert [n for n in done.stdout.split() if callable(getattr(package, n))] == functions.split()
    assert package.compress.__module__ == "hwn2n.commands.compress"
    with pytest.raises(AttributeError, match="no attribute 'squash'"):
        package.squash  # noqa: B018


def test_version() -> None:
    assert hwn2n("--version") == Outcome(0, f"hwn2n {package.__version__}\n", "")


def test_no_command_shows_the_help() -> None:
    outcome = hwn2n()
    assert outcome.code == 0
    assert outcome == hwn2n("--help")
    assert all(name in outcome.out for name in ("teach", "compress", "profile", "check"))


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["--nonsense"], "No such option: --nonsense"),
        (["squash"], "No such command 'squash'"),
        (["teach"], "Missing"),
        (["teach", "conv4"], "Missing option"),
        (["profile", "x.pt", "--batch", "0"], "--batch"),
        (["check", "x.pt"], "--budget"),
        (["compress", "x.pt", "--seed", "many"], "--seed"),
    ],
)
def test_usage_errors_are_one_line(arguments: list[str], error: str) -> None:
    code, out, err = hwn2n(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith("error: ") and err.count("\n") == 1
    assert error in err and "--help)" in err


def _failing(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def work(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("hwn2n.commands.profile.profile", work)


def test_an_unexpected_error_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HWN2N_DEBUG", raising=False)
    _failing(monkeypatch, ZeroDivisionError("of\n\x1b[31mall"))
    code, out, err = hwn2n("profile", "x.pt")
    assert (code, out) == (70, "")
    assert err == (
        "error: unexpected ZeroDivisionError: of [31mall; this is a fault of hwn2n: "
        "set HWN2N_DEBUG=1 to see where it comes from\n"
    )


@pytest.mark.parametrize("way", ["flag", "variable"])
def test_debug_shows_where_it_comes_from(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HWN2N_DEBUG", "1" if way == "variable" else "0")
    _failing(monkeypatch, ZeroDivisionError("of all"))
    code, _, err = hwn2n(*(["--debug"] if way == "flag" else []), "profile", "x.pt")
    assert code == 70
    assert "Traceback" in err and "in work" in err
    assert err.endswith("error: unexpected ZeroDivisionError: of all\n")


def test_debug_shows_no_traceback_of_a_known_error() -> None:
    code, _, err = hwn2n("--debug", "profile", "nothing.pt")
    assert code == 2
    assert err.count("\n") == 1


def test_exit_codes_are_those_of_the_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in Hwn2nError.__subclasses__():
        _failing(monkeypatch, kind("why"))
        assert hwn2n("profile", "x.pt") == Outcome(kind.exit_code, "", "error: why\n")


def test_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    _failing(monkeypatch, KeyboardInterrupt())
    assert hwn2n("profile", "x.pt") == Outcome(130, "", "error: interrupted\n")


def test_json_has_errors_too() -> None:
    code, out, err = outcome = hwn2n("profile", "nothing.pt", "--json")
    assert code == 2
    assert err == f"error: {outcome.json['error']}\n"
    assert outcome.json["kind"] == "InputError" and outcome.json["exit_code"] == 2
    assert "nothing.pt" in out


def test_as_a_module_of_python() -> None:
    outcome = process("--version")
    assert outcome == Outcome(0, f"hwn2n {package.__version__}\n", "")


def test_a_reader_that_went_away_is_no_traceback() -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "hwn2n", "--help"],
        stdout=write, stderr=subprocess.PIPE, text=True, env=environment(),
        timeout=60, check=False,
    )  # fmt: skip
    os.close(write)
    assert done.returncode != 0 and "Traceback" not in done.stderr
