"""The formats of a check, read back by real parsers, with texts as nasty as file names can be."""

from __future__ import annotations

import io
import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import jsonschema
import junitparser
import pytest
from gate_parsers import commands, page
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from hwn2n.budget.judgement import Change, Judgement, Verdict
from hwn2n.cli.check import Format
from hwn2n.cli.check_tables import check_text
from hwn2n.gate.github import append_summary, failure, github
from hwn2n.gate.junit import junit
from hwn2n.gate.markdown import escaped, markdown
from hwn2n.gate.outcome import Check
from hwn2n.gate.reports import FORMATS, REPORTS, as_json
from hwn2n.gate.table import cells, clean, headings, remarks

CODES = {Verdict.VIOLATED: 1, Verdict.UNAVAILABLE: 3, Verdict.INCONCLUSIVE: 4}


def row(verdict: Verdict = Verdict.PASS, **changes: Any) -> Judgement:
    known = verdict in (Verdict.PASS, Verdict.VIOLATED, Verdict.INCONCLUSIVE)
    values: dict[str, Any] = {
        "id": "latency_p95",
        "text": "latency_p95 <= 10ms (budget.yaml:4)",
        "severity": "error",
        "column": "latency_p95",
        "columns": ("latency_p95",),
        "sense": "max",
        "verdict": verdict,
        "line": 4,
        "limit": 0.010 if known else None,
        "value": 0.0095 if known else None,
        "low": 0.009 if known else None,
        "high": 0.011 if known else None,
        "headroom": 0.05 if known else None,
        "confidence": 0.95,
        "how": "measured" if known else None,
        "reason": None if known else "no clock",
    }
    return Judgement(**{**values, **changes})


def check(*rows: Judgement, **changes: Any) -> Check:
    values: dict[str, Any] = {
        "model": "net.pt2",
        "budget": "camera",
        "budget_file": "budget.yaml",
        "target": "cpu",
        "input_shape": (3, 32, 32),
        "rows": rows,
        "machine": {"cpu": "A CPU", "torch": "2.0"},
        "seconds": 1.25,
    }
    return Check(**{**values, **changes})


ALL = check(
    row(id="inside"),
    row(Verdict.VIOLATED, id="outside", line=5),
    row(
        Verdict.INCONCLUSIVE,
        id="unsure",
        line=6,
        change=Change(baseline=0.01, relative=0.1, distinguishable=False),
    ),
    row(Verdict.UNAVAILABLE, id="unknown", line=7),
    row(Verdict.SKIPPED, id="left"),
    row(Verdict.VIOLATED, id="hint", line=8, severity="warn"),
)

# Everything that could end a cell, a line, an element or a command, and what no format can hold.
NASTY = st.text(
    st.one_of(
        st.sampled_from(
            list("|`*_[]()<>&\"'\\%:,;=#~!$@-+. \n\r\t\0\x1b\x7f\x85\u2028\ud800\ufffe")
        ),
        st.characters(),
    ),
    max_size=20,
) | st.sampled_from(["]]>", "<![CDATA[", "%0A", "%250A", "::error::x", "\\|", "a|b`c`", "**x**"])


@st.composite
def nasty_checks(draw: st.DrawFn) -> Check:
    rows = []
    for index in range(draw(st.integers(1, 3))):
        rows.append(
            row(
                draw(st.sampled_from(Verdict)),
                id=f"{index}{draw(NASTY)}",
                text=draw(NASTY),
                reason=draw(NASTY | st.none()),
                severity=draw(st.sampled_from(["error", "warn"])),
                line=draw(st.none() | st.integers(1, 99)),
                change=draw(
                    st.none()
                    | st.builds(Change, reason=NASTY)
                    | st.just(Change(baseline=1.0, relative=0.5, distinguishable=True))
                ),
            )
        )
    return check(
        *rows,
        model=draw(NASTY),
        budget=draw(NASTY),
        budget_file=draw(st.none() | NASTY),
        target=draw(NASTY),
        baseline=draw(st.none() | NASTY),
        profile=draw(st.none() | NASTY),
        machine={"cpu": draw(NASTY)},
        notes=tuple(draw(st.lists(NASTY, max_size=2))),
    )


def test_the_formats_are_those_of_the_command_line() -> None:
    assert tuple(Format) == FORMATS == ("text", "json", "junit", "github", "markdown")
    assert set(REPORTS) == set(FORMATS) - {"text"}


# --- exit codes and cells ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("verdicts", "code"),
    [
        ((), 0),
        ((Verdict.PASS, Verdict.SKIPPED), 0),
        ((Verdict.INCONCLUSIVE, Verdict.PASS), 4),
        ((Verdict.INCONCLUSIVE, Verdict.UNAVAILABLE), 3),
        ((Verdict.UNAVAILABLE, Verdict.INCONCLUSIVE, Verdict.VIOLATED), 1),
    ],
)
def test_the_exit_code_is_that_of_the_gravest_row(verdicts: tuple[Verdict, ...], code: int) -> None:
    found = check(*(row(verdict) for verdict in verdicts))
    assert (found.exit_code, found.satisfied) == (code, code == 0)
    assert {CODES[r.verdict] for r in found.decisive} == ({code} if code else set())
    warned = check(*(row(verdict, severity="warn") for verdict in verdicts))
    assert (warned.exit_code, warned.decisive) == (0, ())


def test_cells_are_written_for_people() -> None:
    assert headings(ALL) == ("metric", "value", "limit", "headroom", "verdict", "known")
    assert cells(ALL)[0] == (
        "inside (latency_p95)", "9.50ms [9.00ms, 11.0ms]", "<= 10.0ms", "+5.0%", "pass", "measured",
    )  # fmt: skip
    assert cells(ALL)[3] == ("unknown (latency_p95)", "-", "-", "-", "unavailable", "-")
    assert cells(ALL)[5][4] == "violated (warning only)"
    compared = check(*ALL.rows, baseline="main.json")
    assert headings(compared)[4] == "change"
    assert [line[4] for line in cells(compared)] == ["-", "-", "~", "-", "-", "-"]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (Change(baseline=1.0, relative=0.0512, distinguishable=True), "+5.1%"),
        (Change(baseline=1.0, relative=-0.5, distinguishable=True), "-50.0%"),
        (Change(baseline=1.0, relative=0.5, distinguishable=False), "~"),
        (Change(reason="elsewhere"), "-"),
    ],
)
def test_changes_as_text(change: Change, text: str) -> None:
    assert change.text == text


def test_limits_may_have_an_interval() -> None:
    found = row(limit_low=0.009, limit_high=0.012)
    assert found.limit_text == "<= 10.0ms [9.00ms, 12.0ms]"
    assert row(sense="min", column=None, limit=2.0).limit_text == ">= 2"


def test_text_names_the_rows_that_decide() -> None:
    lines = check_text(ALL).splitlines()
    assert lines[0].split() == ["metric", "value", "limit", "headroom", "verdict", "known"]
    assert lines[8] == "net.pt2: OUTSIDE the budget 'camera' on target cpu (1 row skipped)"
    assert lines[9:] == [
        "  violated: latency_p95 <= 10ms (budget.yaml:4)",
        "  unavailable: latency_p95 <= 10ms (budget.yaml:4): no clock",
        "  ~: the change lies inside the intervals of the two measurements",
        "  machine: A CPU, torch 2.0; inputs: noise",
    ]


# --- JSON --------------------------------------------------------------------------------------

NUMBER = {"type": ["number", "null"]}
TEXT = {"type": ["string", "null"]}
LAYOUT = {
    "type": "object",
    "additionalProperties": False,
    "required": [
        "format", "version", "satisfied", "exit_code", "model", "budget", "budget_file", "target",
        "input_shape", "static_only", "rows", "machine", "baseline", "profile",
        "inputs", "notes", "seconds",
    ],
    "properties": {
        "format": {"const": "hwn2n-check"},
        "version": {"const": 1},
        "satisfied": {"type": "boolean"},
        "exit_code": {"enum": [0, 1, 3, 4]},
        "model": {"type": "string"},
        "budget": {"type": "string"},
        "budget_file": TEXT,
        "target": {"type": "string"},
        "input_shape": {"type": "array", "items": {"type": "integer"}, "minItems": 3},
        "static_only": {"type": "boolean"},
        "machine": {"type": "object"},
        "baseline": TEXT,
        "profile": TEXT,
        "inputs": {"type": "string"},
        "notes": {"type": "array", "items": {"type": "string"}},
        "seconds": {"type": "number"},
        "rows": {
            "type": "array",
            "items": {
                "type": "object",
                "additionalProperties": False,
                "required": [
                    "id", "text", "severity", "column", "columns", "sense", "verdict", "kind",
                    "line", "value", "low", "high", "limit", "limit_low", "limit_high", "headroom",
                    "confidence", "how", "change", "reason",
                ],
                "properties": {
                    "id": {"type": "string"},
                    "text": {"type": "string"},
                    "severity": {"enum": ["error", "warn"]},
                    "column": TEXT,
                    "columns": {"type": "array", "items": {"type": "string"}},
                    "sense": {"enum": ["max", "min"]},
                    "verdict": {"enum": [verdict.value for verdict in Verdict]},
                    "kind": {"enum": ["limit", "increase"]},
                    "line": {"type": ["integer", "null"]},
                    "value": NUMBER,
                    "low": NUMBER,
                    "high": NUMBER,
                    "limit": NUMBER,
                    "limit_low": NUMBER,
                    "limit_high": NUMBER,
                    "headroom": NUMBER,
                    "confidence": NUMBER,
                    "how": {"enum": ["exact", "measured", "cached", None]},
                    "reason": TEXT,
                    "change": {
                        "type": ["object", "null"],
                        "additionalProperties": False,
                        "required": ["baseline", "relative", "distinguishable", "reason"],
                        "properties": {
                            "baseline": NUMBER,
                            "relative": NUMBER,
                            "distinguishable": {"type": ["boolean", "null"]},
                            "reason": TEXT,
                        },
                    },
                },
            },
        },
    },
}  # fmt: skip
"""The layout of version 1. A key may be added here; one that is changed is a new version."""


def test_json_has_the_documented_layout() -> None:
    document = json.loads(as_json(ALL))
    jsonschema.validate(document, LAYOUT)
    assert (document["exit_code"], document["rows"][1]["verdict"]) == (1, "violated")
    assert document["rows"][2]["change"] == {
        "baseline": 0.01, "relative": 0.1, "distinguishable": False, "reason": None,
    }  # fmt: skip


@given(nasty_checks())
def test_json_keeps_every_text(found: Check) -> None:
    document = json.loads(as_json(found))
    jsonschema.validate(document, LAYOUT)
    assert document["model"] == found.model and document["notes"] == list(found.notes)
    assert [r["text"] for r in document["rows"]] == [r.text for r in found.rows]


# --- JUnit -------------------------------------------------------------------------------------


def test_junit_has_a_case_for_each_row() -> None:
    [suite] = junitparser.JUnitXml.fromstring(junit(ALL).encode())
    assert (suite.tests, suite.failures, suite.errors, suite.skipped) == (6, 1, 2, 2)
    assert suite.name == "hwn2n check camera" and suite.time == 1.25
    results = {case.name: case.result for case in suite}
    assert results["inside"] == []
    kinds = {name: type(result[0]) for name, result in results.items() if result}
    assert kinds == {
        "outside": junitparser.Failure,
        "unsure": junitparser.Error,
        "unknown": junitparser.Error,
        "left": junitparser.Skipped,
        "hint": junitparser.Skipped,
    }
    assert [results[name][0].type for name in ("outside", "unsure", "unknown")] == [
        "violated", "inconclusive", "unavailable",
    ]  # fmt: skip
    assert results["unknown"][0].message.endswith("unavailable, no clock")
    properties = {item.name: item.value for item in suite.properties()}
    assert properties["model"] == "net.pt2" and properties["exit_code"] == "1"
    case = next(case for case in suite if case.name == "outside")
    element = ElementTree.fromstring(junit(ALL)).find(".//testcase[@name='outside']")
    assert element is not None and (element.get("file"), element.get("line")) == (
        "budget.yaml",
        "5",
    )
    assert case.classname == "camera" and "limit: <= 10.0ms" in case.system_out


@given(nasty_checks())
def test_junit_is_valid_whatever_the_texts(found: Check) -> None:
    text = junit(found)
    assert text.isascii()
    root = ElementTree.parse(io.BytesIO(text.encode())).getroot()
    cases = root.findall("./testsuite/testcase")
    assert [case.get("name") for case in cases] == [clean(r.id) for r in found.rows]
    for case, judged in zip(cases, found.rows, strict=True):
        facts = dict(line.split(": ", 1) for line in (case.findtext("system-out") or "").split("\n")
                     if ": " in line)  # fmt: skip
        assert facts.get("row", "") == clean(judged.text)
    [suite] = junitparser.JUnitXml.fromstring(text.encode())
    assert suite.tests == len(found.rows)
    counted = [result for case in suite for result in case.result]
    assert len(counted) == suite.failures + suite.errors + suite.skipped


# --- GitHub ------------------------------------------------------------------------------------


def test_github_points_at_the_lines(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "a, b").mkdir()
    monkeypatch.setenv("GITHUB_WORKSPACE", str(tmp_path))
    file = str(tmp_path / "a, b" / "50%: x.yaml")
    found = commands(github(check(*ALL.rows, budget_file=file)))
    assert [(c.name, c.properties.get("line")) for c in found] == [
        ("error", "5"), ("error", "6"), ("error", "7"), ("warning", "8"), ("notice", None),
    ]  # fmt: skip
    assert {c.properties["file"] for c in found[:-1]} == {"a, b/50%: x.yaml"}
    assert found[0].properties["title"] == "hwn2n check: outside (latency_p95) violated"
    assert found[0].message == (
        "latency_p95 <= 10ms (budget.yaml:4): violated, found 9.50ms [9.00ms, 11.0ms], "
        "headroom +5.0%, measured"
    )
    assert found[-1].message.splitlines()[0] == clean(ALL.summary)


def test_a_file_outside_the_checkout_keeps_its_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GITHUB_WORKSPACE", str(tmp_path / "checkout"))
    file = str(tmp_path / "budget.yaml")
    [first, _] = commands(github(check(row(Verdict.VIOLATED), budget_file=file)))
    assert first.properties["file"] == file


@given(nasty_checks())
def test_github_commands_come_back_as_they_went(found: Check) -> None:
    text = github(found)
    read = commands(text)
    bad = [r for r in found.rows if r.verdict not in (Verdict.PASS, Verdict.SKIPPED)]
    assert len(read) == len(text.split("\n")) - 1 == len(bad) + 1
    for command, judged in zip(read, bad, strict=False):
        assert command.name == ("warning" if judged.severity == "warn" else "error")
        assert command.properties["title"] == clean(
            f"hwn2n check: {judged.metric} {judged.verdict.value}"
        )
        assert clean(judged.text) in command.message
        placed = found.budget_file is not None and judged.line is not None
        assert command.properties.get("line") == (str(judged.line) if placed else None)
    assert read[-1].message == "\n".join([clean(found.summary), *remarks(found)])


def test_an_error_is_annotated_where_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GITHUB_WORKSPACE", raising=False)
    Path("b.yaml").touch()
    [command] = commands(failure("b.yaml:3: a unit is needed;\nfound '10'"))
    assert command.properties == {"file": "b.yaml", "line": "3", "title": "hwn2n check"}
    assert command.message == "b.yaml:3: a unit is needed; found '10'"
    [command] = commands(failure("no.yaml:3: x, 100%"))
    assert (command.properties, command.message) == (
        {"title": "hwn2n check"}, "no.yaml:3: x, 100%",
    )  # fmt: skip


# --- markdown ----------------------------------------------------------------------------------


def test_markdown_shows_the_table() -> None:
    heading, table, items = page(markdown(ALL))
    assert heading == f"hwn2n check: {ALL.summary}"
    assert table == [list(headings(ALL)), *map(list, cells(ALL))]
    assert items == remarks(ALL)


def test_names_call_nobody_and_mark_no_issue() -> None:
    text = escaped("@someone, owner/name#1 and #2")
    (paragraph,) = [t for t in MarkdownIt("commonmark").parse(text) if t.type == "inline"]
    shown = "".join(child.content for child in paragraph.children or [])
    assert shown == "@\u200bsomeone, owner/name#\u200b1 and #\u200b2"


@given(nasty_checks())
def test_markdown_tables_come_back_as_they_went(found: Check) -> None:
    heading, table, items = page(markdown(found))
    assert heading == clean(f"hwn2n check: {found.summary}")
    assert table == [list(headings(found)), *map(list, cells(found))]
    assert items == remarks(found)


def test_summaries_are_appended(tmp_path: Path) -> None:
    path = tmp_path / "summary.md"
    append_summary("# one\n", path)
    append_summary("# two\n", path)
    assert path.read_text() == "# one\n\n# two\n"
