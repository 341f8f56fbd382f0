"""What a report tells of: everything that a run's folder knows, finished or not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from pathlib import Path
from typing import Any

from hwn2n.budget.columns import COLUMNS, in_order
from hwn2n.budget.cost import Cost, cost_from_json
from hwn2n.budget.matrix import Budget, Constraints
from hwn2n.budget.verdict import Verdict
from hwn2n.errors import MeasurementError
from hwn2n.network.decision import Decision
from hwn2n.network.planner import Planner
from hwn2n.run.candidate import Candidate
from hwn2n.run.folder import RunFolder
from hwn2n.search.settings import Settings
from hwn2n.search.strategies.evolution import STAGE as EVOLUTION

POLICIES = ("removal", "shrinkage")
"""The stages of the policies."""
STAGES = (*POLICIES, EVOLUTION)
"""All stages that search; the anchor before them and the run-off after them do not."""


class State(Enum):
    """How far a run got, and what came of it."""

    INSIDE = "inside"
    """A student was trained, measured again, and is inside the budget (or there is none)."""

    OUTSIDE = "outside"
    """A student was trained and, measured again, is outside."""

    UNSURE = "unsure"
    """A student was trained; a limit lies in the interval of what was measured, or a column of it
    could not be had."""

    NONE_FOUND = "none found"
    """The search is complete, and no candidate is known to be inside."""

    UNFINISHED = "unfinished"
    """Interrupted, or still at work."""


@dataclass(frozen=True, kw_only=True)
class RunFacts:
    """A run as its folder tells it.

    `request` are the values of `commands.request.Request` as they stand in `config.json`, `result`
    those of `result.json`, None before the end. `updates` are the reports of policy updates by
    stage, `seconds` what the clock booked. `teacher_cost` is empty before the teacher was measured.
    `planner` is that of the teacher, None where its architecture is not known, which `unknown`
    explains. `chosen` is the id of the candidate that becomes the student, once that is settled,
    `chosen_decision` the student's own decision, which may be narrower than the candidate's, and
    `note` the line that ended the run, where it did not end well. `none_found` says that no
    candidate was inside when measured again; `again` are those that were until then, by id, with
    what they cost now.
    """

    folder: str
    request: Mapping[str, Any]
    settings: Settings
    versions: Mapping[str, str]
    created: str
    teacher_weights: str
    budget: Budget
    teacher_cost: Cost
    candidates: tuple[Candidate, ...]
    updates: Mapping[str, list[dict[str, Any]]]
    seconds: Mapping[str, float]
    result: Mapping[str, Any] | None
    planner: Planner | None = field(repr=False)
    unknown: str | None = None
    data_digest: str | None = None
    chosen: int | None = None
    chosen_decision: Mapping[str, Any] | None = None
    note: str | None = None
    none_found: bool = False
    again: Mapping[int, Candidate] = field(default_factory=dict)

    @property
    def resume_command(self) -> str:
        """What a user types to go on with it."""
        return RunFolder(Path(self.folder)).resume_command

    @cached_property
    def state(self) -> State:
        """How far the run got."""
        if self.result is not None:
            return {
                Verdict.PASS.value: State.INSIDE,
                Verdict.INCONCLUSIVE.value: State.UNSURE,
                Verdict.UNAVAILABLE.value: State.UNSURE,
            }.get(self.result["verdict"], State.OUTSIDE)
        some = self.chosen is not None or any(c.satisfied for c in self.candidates)
        none = self.none_found or (self.searched and not some)
        return State.NONE_FOUND if none else State.UNFINISHED

    @cached_property
    def best_known(self) -> tuple[Candidate, ...]:
        """The candidates by the best readings that there are of them.

        Of a network that was measured again, and outside, no other candidate counts as inside.
        """
        keys = {candidate.key for candidate in self.again.values()}
        return tuple(
            self.again.get(c.id or 0, c)
            for c in self.candidates
            if c.id in self.again or c.key not in keys or not c.satisfied
        )

    @property
    def searched(self) -> bool:
        """Whether every update of the search was done."""
        if self.settings.strategy in ("evolution", "local"):
            return sum(c.stage == EVOLUTION for c in self.candidates) >= self.planned
        asked = {name: getattr(self.settings, name).updates for name in POLICIES}
        return all(len(self.updates.get(name, [])) >= asked[name] for name in POLICIES)

    @property
    def planned(self) -> int:
        """How many candidates a complete search evaluates, without anchor and run-off."""
        stages = [getattr(self.settings, name) for name in POLICIES]
        return sum(stage.updates * stage.rollouts for stage in stages)

    @cached_property
    def student(self) -> Candidate | None:
        """The chosen candidate."""
        if self.chosen is not None:
            return next((c for c in self.candidates if c.id == self.chosen), None)
        key = None if self.result is None else self.result["student"].get("key")
        return next((c for c in self.candidates if key and c.key == key), None)

    @cached_property
    def decision(self) -> Mapping[str, Any] | None:
        """The decision that the student is built by; None before there is a choice."""
        if self.result is not None:
            found: Mapping[str, Any] = self.result["student"]["decision"]
            return found
        candidate = self.student
        return self.chosen_decision or (None if candidate is None else candidate.decision)

    @cached_property
    def narrowed(self) -> bool:
        """Whether the student is narrower than the candidate that was chosen."""
        if self.student is None or self.decision is None:
            return False
        if self.result is not None:
            return bool(self.result["student"].get("narrowed"))
        return Decision.from_json(self.decision) != Decision.from_json(self.student.decision)

    def constraints(self, candidate: Candidate | None = None) -> Constraints:
        """The rows that a search can steer by, in numbers; none before the teacher was measured.

        Where the teacher was measured beside a candidate, relative limits are of those readings.
        """
        beside = {} if candidate is None else getattr(candidate, "teacher", None) or {}
        teacher = {**self.teacher_cost, **cost_from_json(beside)}
        try:
            resolved = self.budget.resolve(teacher)
        except MeasurementError:
            return Constraints(rows=())
        return resolved.only(name for name, column in COLUMNS.items() if not column.learned)

    @property
    def learned_rows(self) -> bool:
        """Whether a limit is on an accuracy, so that a search cannot steer by it."""
        return any(COLUMNS[name].learned for name in self.budget.columns)

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """Columns that candidates have, in the order of `COLUMNS`."""
        return in_order({name for c in self.candidates for name in c.cost})
