"""Help, README and shipped files agree: every command that they show can be typed."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml
from cli_tools import ROOT

from hwn2n.cli import app
from hwn2n.cli.failure import Invocation

COMMANDS: dict[str, Any] = typer.main.get_command(app).commands
FENCE = re.compile(r"^ *```[^\n]*\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
PROGRAM = re.compile(r"^\s*(?:\$ )?(?:\S*/)?(hwn2n\s.*)$")


def lines_of(page: str) -> list[str]:
    """The `hwn2n ...` lines in the code blocks of a page, continued lines joined."""
    text = (ROOT / page).read_text(encoding="utf-8")
    blocks = [re.sub(r"\\\n\s*", " ", block) for block in FENCE.findall(text)]
    found = [PROGRAM.match(line) for block in blocks for line in block.splitlines()]
    return [match[1] for match in found if match]


def examples(command: str | None = None) -> list[str]:
    """The lines below "Example:" in a command's help."""
    shown = typer.main.get_command(app) if command is None else COMMANDS[command]
    _, _, block = (shown.help or "").partition("Example:")
    return [match[1] for line in block.splitlines() if (match := PROGRAM.match(line))]


def parse(line: str) -> dict[str, Any]:
    """The parameters of a line as the command line reads it; raises where it cannot be typed."""
    _, name, *arguments = shlex.split(line, comments=True)
    if name.startswith("-"):
        assert name in ("--help", "--version", "--debug"), line
        return {}
    return COMMANDS[name].make_context(name, arguments, obj=Invocation()).params


@pytest.mark.parametrize("line", [*lines_of("README.md"), *lines_of("docs/using.md")])
def test_lines_that_are_only_shown_can_be_typed(line: str) -> None:
    parse(line)


def test_readme_shows_the_commands() -> None:
    shown = {shlex.split(line)[1] for line in lines_of("README.md")}
    assert {"compress", "profile", "check"} <= shown <= set(COMMANDS) | {"--help", "--version"}


def test_readme_names_every_command_and_exit_code() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert all(f"hwn2n {name}" in text for name in COMMANDS)
    codes = re.search(r"Exit codes:(.*?)\n\n", text, re.DOTALL)
    assert codes is not None
    assert set(re.findall(r"(?:^|; |\n)\s*(\d+) ", codes[1])) >= {"0", "1", "2", "3", "130"}


@pytest.mark.parametrize("name", [None, *COMMANDS])
def test_every_help_has_examples_that_can_be_typed(name: str | None) -> None:
    found = examples(name)
    assert found
    for line in found:
        parse(line)
        assert name is None or shlex.split(line)[1] == name


def leaves() -> dict[str, Any]:
    """All commands, those of groups too."""
    groups = [getattr(command, "commands", {}) for command in COMMANDS.values()]
    return {k: v for group in (COMMANDS, *groups) for k, v in group.items()}


@pytest.mark.parametrize("name", list(leaves()))
def test_examples_keep_their_lines_when_help_is_shown(name: str) -> None:
    command = leaves()[name]
    shown = command.get_help(command.make_context(name, [], resilient_parsing=True)).splitlines()
    wanted = [line for line in (command.help or "").splitlines() if PROGRAM.match(line)]
    assert wanted
    assert {line.strip() for line in wanted} <= {line.strip() for line in shown}


@pytest.mark.parametrize("name", list(COMMANDS))
def test_every_option_has_help(name: str) -> None:
    for parameter in COMMANDS[name].params:
        assert getattr(parameter, "help", None), parameter.name


def test_a_line_that_cannot_be_typed_is_noticed() -> None:
    with pytest.raises(Exception, match="No such option"):
        parse("hwn2n compress teacher.pt --no-such-option")
    with pytest.raises(KeyError):
        parse("hwn2n squash teacher.pt")


def test_help_stays_on_a_line_in_the_list_of_commands() -> None:
    for command in COMMANDS.values():
        assert "..." not in command.get_short_help_str(limit=66)


def test_makefile_continuous_integration_and_hooks() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = {"demo", "test", "test-slow", "test-report", "lint", "format", "clean", "bench-mnist"}
    assert targets <= set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    script = ROOT / ".ci" / "run"
    assert script.stat().st_mode & 0o111
    assert {"make lint", "make test"} <= set(script.read_text().splitlines())
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    assert [repo["repo"] for repo in hooks["repos"]] == ["local"]


@pytest.mark.parametrize("name", ["LICENSE", "CHANGELOG.md", "hwn2n/py.typed"])
def test_files_that_a_package_needs(name: str) -> None:
    assert (Path(ROOT) / name).is_file()


def test_demo_lines_of_the_makefile_can_be_typed() -> None:
    makefile = re.sub(r"\\\n\s*", " ", (ROOT / "Makefile").read_text())
    lines = [line.replace("$(DEMO)", "x") for line in makefile.splitlines() if "/hwn2n " in line]
    assert len(lines) == 2
    for line in lines:
        match = PROGRAM.match(line)
        assert match is not None
        parse(match[1])
