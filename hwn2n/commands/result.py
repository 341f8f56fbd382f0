"""The proof of a run: the trained student measured again, on images that nobody chose by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from hwn2n.budget.cost import Cost, cost_from_json, cost_to_json
from hwn2n.budget.judgement import Verdict
from hwn2n.distil.images import ImageSet
from hwn2n.errors import (
    BudgetNotMetError,
    InconclusiveError,
    InputError,
    MeasurementError,
    one_line,
)
from hwn2n.hardware.measurement import Beside
from hwn2n.network.decision import Decision
from hwn2n.run.candidate import State
from hwn2n.run.export import export_student
from hwn2n.run.folder import RunFolder, read_json, write_json
from hwn2n.run.provenance import versions
from hwn2n.search.assemble import Workbench
from hwn2n.search.choose import Choice
from hwn2n.search.finish import CHOICE, FINAL_TRAINING, beside_teacher
from hwn2n.search.limits import Limits
from hwn2n.search.loop import SEARCH
from hwn2n.search.workshop import PHASES

_ENDS = ("low", "high", "limit_low", "limit_high")
"""Of the intervals of a row's value and of its limit."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """The outcome of a run, as in its `result.json`.

    `teacher` and `student`: costs (column to reading) and the accuracies on the validation and
    the test split as fractions; the test split was used once, at the end. `rows`: the budget's
    rows for the student (`Constraints.describe`). `candidates`: counts by state. `seconds`:
    `search` and `final_training`, and `candidates_*` for the parts of the search that each
    candidate goes through; of all processes that worked on the run. `verdict` is that of
    `budget.verdict.verdict_of`, and `satisfied` says whether it is "pass".
    """

    folder: str
    satisfied: bool
    verdict: str
    teacher: dict[str, Any]
    student: dict[str, Any]
    rows: list[dict[str, Any]]
    candidates: dict[str, int]
    seconds: dict[str, float]
    machine: dict[str, Any]
    versions: dict[str, str]
    target: str


def prove(bench: Workbench, choice: Choice, student: nn.Module, folder: RunFolder) -> Result:
    """Measure and export the trained student, test it and its teacher; write `result.json`.

    The teacher is measured again beside the student, so that the two can be compared.
    This is the only place where the test split is read.
    """
    available = [c for c in bench.columns if c not in bench.target.unavailable(bench.columns)]
    found, verdict = beside_teacher(
        student,
        bench.teacher.model,
        bench.data.image_shape,
        target=bench.target,
        school=bench.school,
        limits=bench.limits,
        columns=available,
    )
    cost, whole = found.cost, found.teacher
    description = {
        "classes": list(bench.data.classes),
        "mean": list(bench.data.mean),
        "std": list(bench.data.std),
        "data": bench.data.name,
    }
    difference = export_student(folder, choice.architecture, student, description)
    test = bench.data.test().to(bench.school.device)
    result = Result(
        folder=str(folder.path),
        satisfied=verdict is Verdict.PASS,
        verdict=verdict.value,
        teacher=_described(bench, bench.teacher.model, whole, test),
        student={
            **_described(bench, student, cost, test),
            "decision": choice.decision.to_json(),
            "key": choice.key,
            "narrowed": choice.narrowed,
            "stage": choice.candidate.stage,
            "search_accuracy": choice.candidate.accuracy,
            "export_difference": difference,
        },
        rows=_rows(bench.limits, found),
        candidates=_counts(bench),
        seconds=_seconds(bench),
        machine=bench.target.fingerprint(),
        versions=versions(),
        target=bench.target.name,
    )
    write_json(folder.result, vars(result))
    return result


def read_result(folder: RunFolder) -> Result:
    """The result of a complete run; `InputError` if the file is damaged."""
    try:
        result = replace(Result(**read_json(folder.result)), folder=str(folder.path))
        Decision.from_json(result.student["decision"])
        for network in (result.teacher, result.student):
            cost_from_json(network["cost"])
            _check(network, {"validation_accuracy": float, "test_accuracy": float})
            _check(network, {"test_images": int})
        for row in result.rows:
            _check(row, {"id": str, "severity": str, "verdict": str, "limit": float})
    except (TypeError, ValueError, KeyError, AttributeError, InputError) as error:
        raise InputError(
            f"{folder.result}: must be the result of a run, but: {one_line(error)}"
        ) from error
    return result


def _check(found: Mapping[str, Any], kinds: Mapping[str, type]) -> None:
    """Raise `TypeError` unless there are values of these kinds; a whole number is a float too."""
    for name, kind in kinds.items():
        value = found.get(name)
        if not isinstance(value, (int, float) if kind is float else kind):
            raise TypeError(f"{name} must be {kind.__name__}, but is {value!r:.40}")


def judged(result: Result) -> Result:
    """The result of a student inside the budget.

    `BudgetNotMetError` names the row that is violated, `MeasurementError` the one that needs what
    could not be told, `InconclusiveError` the one whose limit lies in the interval of the student's
    measured value; the student is exported all the same.
    """
    for verdict, error, found in (
        (Verdict.VIOLATED, BudgetNotMetError, "must meet {text}, but has {value_text}"),
        (Verdict.UNAVAILABLE, MeasurementError, "must meet {text}, but nobody can tell its value"),
        (Verdict.INCONCLUSIVE, InconclusiveError, "must surely meet {text}, but has {interval}"),
    ):
        rows = [row for row in result.rows if row["verdict"] == verdict.value]
        if steering := [row for row in rows if row["severity"] == "error"]:
            worst = min(steering, key=lambda row: row["headroom"] or 0.0)
            text = f"the trained student {found.format(**worst)}; it lies in {result.folder}"
            raise error(text, result=result)
    return result


def _rows(limits: Limits, found: Beside) -> list[dict[str, Any]]:
    """The rows of `Constraints.describe` with their verdict and the interval of the value."""
    judged = {row.id: row for row in limits.judge(found.cost, found)}
    constraints = limits.given(found.teacher)
    return [
        row.describe(found.cost)
        | {
            "verdict": judged[row.id].verdict.value,
            "interval": "unavailable"
            if judged[row.id].value is None
            else judged[row.id].value_text,
            **{name: getattr(judged[row.id], name) for name in _ENDS},
        }
        for row in (*constraints.rows, *constraints.warnings)
    ]


def _described(bench: Workbench, model: nn.Module, cost: Cost, test: ImageSet) -> dict[str, Any]:
    tested = bench.school.score(model, test)
    return {
        "cost": cost_to_json(cost),
        "validation_accuracy": cost["accuracy"].value,
        "test_accuracy": tested.top1,
        "test_images": tested.n,
    }


def _counts(bench: Workbench) -> dict[str, int]:
    states = [candidate.state for candidate in bench.ledger.candidates()]
    return {state.value: states.count(state) for state in State} | {"all": len(states)}


def _seconds(bench: Workbench) -> dict[str, float]:
    booked = bench.ledger.seconds()
    phases = [candidate.seconds for candidate in bench.ledger.candidates()]
    return {
        SEARCH: booked.get(SEARCH, 0.0) + booked.get(CHOICE, 0.0),
        FINAL_TRAINING: booked.get(FINAL_TRAINING, 0.0),
        **{f"candidates_{name}": sum(phase.get(name, 0.0) for phase in phases) for name in PHASES},
    }
