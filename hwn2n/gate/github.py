"""A check as workflow commands of GitHub Actions, whose annotations point into the budget.

The syntax, with its escapes, is that of
https://docs.github.com/actions/reference/workflow-commands-for-github-actions and of the runner's
parser: `::error file=F,line=N,title=T::MESSAGE`. Data escapes "%", carriage return and line feed;
properties escape ":" and "," too. GitHub shows the first ten annotations of each level of a step,
so that the step summary, which gets the markdown, is where all rows are.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from hwn2n.budget.judgement import Judgement, Verdict
from hwn2n.gate.outcome import Check
from hwn2n.gate.table import clean, explanation, remarks

STEP_SUMMARY = "GITHUB_STEP_SUMMARY"
"""Names the file to which a step appends its summary."""

_WORKSPACE = "GITHUB_WORKSPACE"
_PLACE = re.compile(r"(.+?):(\d+): ")


def github(check: Check) -> str:
    """One command for each row that is not inside, and one with the verdict."""
    lines = [
        _annotation(row, check)
        for row in check.rows
        if row.verdict not in (Verdict.PASS, Verdict.SKIPPED)
    ]
    message = "\n".join([clean(check.summary), *remarks(check)])
    lines.append(command("notice", {"title": "hwn2n check"}, message))
    return "".join(f"{line}\n" for line in lines)


def _annotation(row: Judgement, check: Check) -> str:
    level = "warning" if row.severity == "warn" else "error"
    properties = {}
    if check.budget_file is not None:
        properties["file"] = relative(check.budget_file)
        if row.line is not None:
            properties["line"] = str(row.line)
    properties["title"] = clean(f"hwn2n check: {row.metric} {row.verdict.value}")
    return command(level, properties, explanation(row))


def failure(message: str) -> str:
    """The annotation of an error that kept the check from judging: bad input, an invalid budget.

    It points at the place where the message begins with "FILE:LINE: " of a file that exists.
    """
    properties = {}
    match = _PLACE.match(message)
    if match is not None and Path(match[1]).is_file():
        properties = {"file": relative(match[1]), "line": match[2]}
    return command("error", {**properties, "title": "hwn2n check"}, clean(message)) + "\n"


def command(name: str, properties: Mapping[str, str], message: str) -> str:
    """A workflow command, escaped."""
    given = ",".join(f"{key}={_property(value)}" for key, value in properties.items())
    return f"::{name} {given}::{_data(message)}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def relative(file: str) -> str:
    """`file` as annotations want it: from the root of the checkout, or else from here."""
    root = os.environ.get(_WORKSPACE) or str(Path.cwd())
    try:
        path = os.path.relpath(os.path.realpath(file), os.path.realpath(root))
    except ValueError:  # another drive of Windows
        return clean(file)
    return clean(file if path.startswith(os.pardir) else Path(path).as_posix())


def append_summary(text: str, path: Path) -> None:
    """Append markdown to a step's summary, to which other programs of the step append too."""
    with path.open("a", encoding="utf-8") as file:
        file.write(("\n" if file.tell() else "") + text)
