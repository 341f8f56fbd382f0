"""A check as JUnit XML, which most continuous integration shows as test results.

One test case for each row, in one suite:

| verdict | as an error-severity row | as a warning |
|---|---|---|
| pass | passed | passed |
| violated | failure | skipped |
| inconclusive, unavailable | error: the test could not decide | skipped |
| skipped | skipped | skipped |

The layout is that of https://github.com/testmoapp/junitxml.
"""

from __future__ import annotations

from datetime import UTC, datetime
from xml.etree import ElementTree

from hwn2n.budget.judgement import Judgement, Verdict
from hwn2n.gate.outcome import Check
from hwn2n.gate.table import clean, described, explanation

_ELEMENTS = {
    Verdict.VIOLATED: "failure",
    Verdict.INCONCLUSIVE: "error",
    Verdict.UNAVAILABLE: "error",
    Verdict.SKIPPED: "skipped",
}


def junit(check: Check) -> str:
    """The whole document, ASCII with character references. Ends with a line break."""
    elements = [_element(row) for row in check.rows]
    totals = {
        "tests": str(len(check.rows)),
        "failures": str(elements.count("failure")),
        "errors": str(elements.count("error")),
        "skipped": str(elements.count("skipped")),
        "time": f"{check.seconds:.3f}",
    }
    root = ElementTree.Element("testsuites", {"name": "hwn2n check", **totals})
    name = clean(f"hwn2n check {check.budget}")
    suite = ElementTree.SubElement(root, "testsuite", {"name": name, "timestamp": _now(), **totals})
    _properties(suite, check)
    for row, element in zip(check.rows, elements, strict=True):
        _case(suite, row, element, check)
    ElementTree.indent(root)
    text = ElementTree.tostring(root, encoding="us-ascii", xml_declaration=True)
    return text.decode("ascii") + "\n"


def _element(row: Judgement) -> str | None:
    """The element that says how a row did not pass; None if it passed."""
    element = _ELEMENTS.get(row.verdict)
    return "skipped" if element and row.severity == "warn" else element


def _properties(suite: ElementTree.Element, check: Check) -> None:
    values = {
        "model": check.model,
        "budget": check.budget_file or check.budget,
        "target": check.target,
        "input_shape": ",".join(str(size) for size in check.input_shape),
        "baseline": check.baseline,
        "profile": check.profile,
        "machine": described(check.machine),
        "exit_code": str(check.exit_code),
        "summary": check.summary,
    }
    properties = ElementTree.SubElement(suite, "properties")
    for name, value in values.items():
        if value is not None:
            ElementTree.SubElement(properties, "property", {"name": name, "value": clean(value)})


def _case(suite: ElementTree.Element, row: Judgement, element: str | None, check: Check) -> None:
    attributes = {"classname": clean(check.budget), "name": clean(row.id), "time": "0.000"}
    if check.budget_file is not None and row.line is not None:
        attributes |= {"file": clean(check.budget_file), "line": str(row.line)}
    case = ElementTree.SubElement(suite, "testcase", attributes)
    if element is not None:
        said = {"message": explanation(row)}
        if element != "skipped":
            said["type"] = row.verdict.value
        ElementTree.SubElement(case, element, said).text = explanation(row)
    facts = [
        f"row: {row.text}",
        f"value: {row.value_text}",
        f"limit: {row.limit_text}",
        f"headroom: {row.headroom_text}",
        f"change: {'-' if row.change is None else row.change.text}",
        f"verdict: {row.verdict_text}",
        f"known: {row.how or row.reason or '-'}",
    ]
    ElementTree.SubElement(case, "system-out").text = "\n".join(clean(fact) for fact in facts)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
