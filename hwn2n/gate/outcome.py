"""What `hwn2n check` found: the rows, the exit code, and both as JSON."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hwn2n.budget.judgement import Judgement, Verdict

FORMAT = "hwn2n-check"
FORMAT_VERSION = 1
"""Within a version keys are only added: their meaning stays, and none goes."""

_EXIT_CODES = {
    Verdict.VIOLATED: 1,
    Verdict.UNAVAILABLE: 3,
    Verdict.INCONCLUSIVE: 4,
}
"""In the order of precedence: a limit that is certainly violated decides, whatever is unknown."""

_SUMMARIES = {
    0: "inside the budget {where}",
    1: "OUTSIDE the budget {where}",
    3: "not judged in full by the budget {where}: a row could not be measured",
    4: "inconclusive for the budget {where}: a limit lies in the interval of a measured value",
}


@dataclass(frozen=True, kw_only=True)
class Check:
    """A network judged by a budget: one row for each limit, in the order of the file.

    Behind them stand the comparisons with a baseline that were asked for (kind "increase"). Rows
    of severity "warn" are judged and shown, and have no say in the exit code. `budget_file` is
    the budget's file as it was named, None where it came as an object. `machine` is the
    fingerprint of where measured values come from: this machine and target, or those of the saved
    profile `profile`. `baseline` is the file that changes are relative to, `inputs` what networks
    ran on when they were measured, a data set or "noise". `notes` is what a reader of the figures
    should know, `seconds` how long the check took.
    """

    model: str
    budget: str
    budget_file: str | None = None
    target: str
    input_shape: tuple[int, int, int]
    static_only: bool = False
    rows: tuple[Judgement, ...]
    machine: dict[str, Any]
    baseline: str | None = None
    profile: str | None = None
    inputs: str = "noise"
    notes: tuple[str, ...] = ()
    seconds: float = 0.0

    @property
    def exit_code(self) -> int:
        """0 inside; 1 a limit is violated; 3 a row could not be measured; 4 nobody can tell."""
        found = {row.verdict for row in self.rows if row.severity == "error"}
        return next((code for verdict, code in _EXIT_CODES.items() if verdict in found), 0)

    @property
    def satisfied(self) -> bool:
        """Whether the network is inside the budget, as far as it was judged."""
        return self.exit_code == 0

    @property
    def decisive(self) -> tuple[Judgement, ...]:
        """The rows that make the exit code what it is; none where it is 0."""
        code = self.exit_code
        return tuple(
            row
            for row in self.rows
            if row.severity == "error" and _EXIT_CODES.get(row.verdict, 0) == code != 0
        )

    @property
    def summary(self) -> str:
        """The verdict in a sentence."""
        cached = f", as measured in {self.profile}" if self.profile else ""
        where = f"{self.budget!r} on target {self.target}{cached}"
        skipped = sum(row.verdict is Verdict.SKIPPED for row in self.rows)
        left = f" ({skipped} row{'s' if skipped > 1 else ''} skipped)" if skipped else ""
        return f"{self.model}: {_SUMMARIES[self.exit_code].format(where=where)}{left}"

    def to_json(self) -> dict[str, Any]:
        """JSON-able form, the layout of `--format json`.

        `format` "hwn2n-check" and `version`; `satisfied` and `exit_code`; then the fields of this
        class, where each of `rows` has the fields of `budget.judgement.Judgement` and its `change`
        is null or has those of `Change`. Numbers are in SI units. All keys stand in every
        document.
        """
        return {
            "format": FORMAT,
            "version": FORMAT_VERSION,
            "satisfied": self.satisfied,
            "exit_code": self.exit_code,
            **vars(self),
            "input_shape": list(self.input_shape),
            "rows": [row.to_json() for row in self.rows],
            "notes": list(self.notes),
        }
