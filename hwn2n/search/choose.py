"""Which candidate becomes the student: the best that is surely inside, if need be made narrower."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hwn2n.budget.columns import COLUMNS
from hwn2n.budget.cost import Cost, Reading, cost_from_json, cost_to_json
from hwn2n.budget.judgement import Verdict
from hwn2n.budget.rows import Row
from hwn2n.budget.verdict import by_share, verdict_of
from hwn2n.distil.feed import DivergedError
from hwn2n.errors import BudgetNotMetError, Hwn2nError
from hwn2n.hardware.measurement import Beside
from hwn2n.network.architecture import Architecture, IllegalArchitectureError
from hwn2n.network.decision import Decision
from hwn2n.network.planner import Planner
from hwn2n.run.candidate import Candidate
from hwn2n.run.folder import RunFolder, read_json, write_json
from hwn2n.run.ledger import Ledger
from hwn2n.run.stop import Stop
from hwn2n.search.evaluate import Evaluator
from hwn2n.search.fitting.projection import counted_cost
from hwn2n.search.limits import Limits
from hwn2n.search.runoff import narrower, ranked

CARE = 30
"""The winner is measured at so small a part of the usual error. It is the best of many, and often
near the limit: one that is just inside may be outside when it is measured again after its
training."""
NARROWER = 2
"""So often a candidate that is not surely inside is made narrower and measured again."""


@dataclass(frozen=True)
class Choice:
    """The candidate that becomes the student, and the network that is built of it.

    `decision` and `key` are the candidate's own, unless it had to be made narrower.
    """

    candidate: Candidate
    decision: Decision
    architecture: Architecture
    key: str

    @property
    def narrowed(self) -> bool:
        """Whether the student is narrower than the candidate whose accuracy chose it."""
        return self.decision != Decision.from_json(self.candidate.decision)


def choose(
    ledger: Ledger, planner: Planner, evaluator: Evaluator, folder: RunFolder, stop: Stop
) -> Choice:
    """The best candidate whose measured costs, measured again, are inside the budget.

    Best as `runoff.ranked` has it. A reading during the search is short; the best of many short
    readings is too good. So the winner is measured once more, in full and alone, beside the teacher
    where a limit is a share of what that measures. Unless it is surely inside it is made narrower,
    as far as the worse end of its interval asks for, since a little width costs less accuracy than
    another candidate would; then it gives way to the next one. If none is surely inside, the first
    of which the readings say so, though not surely, is taken. The choice is kept in the folder:
    after a resume another measurement must not choose another. That none is inside is written there
    for the report only, and after a resume all are measured again. Raises `BudgetNotMetError` if no
    candidate is inside the budget, `DivergedError` if without one none could be trained, and
    `InterruptedRunError` where it was asked to stop.
    """
    kept = read_json(folder.choice) if folder.choice.exists() else None
    if kept is not None and kept["candidate"] is None:
        kept = None
    evaluator.fitter.learn(ledger.candidates())  # of all, also where a resume evaluated none
    again: dict[int | None, Beside] = {}
    unsure: Choice | None = None
    for candidate in ranked(ledger, evaluator):
        if kept is not None:
            if candidate.id == kept["candidate"]:
                decision = Decision.from_json(kept.get("decision", candidate.decision))
                return _choice(candidate, decision, planner, evaluator)
            continue
        decision = Decision.from_json(candidate.decision)
        choice = _choice(candidate, decision, planner, evaluator)
        for turn in range(NARROWER + 1):
            stop.check()
            found = evaluator.measure_again(choice.architecture, choice.decision, CARE)
            cost = {**_counted(choice, evaluator), **found.cost}
            inside = evaluator.limits.given(found.teacher).satisfied(cost)
            if inside and verdict_of(evaluator.limits.judge(cost, found)) is Verdict.PASS:
                return _kept(choice, folder)
            if inside:
                unsure = unsure or choice
            elif not turn:
                again[candidate.id] = Beside(cost, found.teacher)
            slimmer = _narrower(choice, found, planner, evaluator) if turn < NARROWER else None
            if slimmer is None:
                break
            choice = slimmer
    if unsure is not None:
        return _kept(unsure, folder)
    error = _none_found(ledger.candidates(), evaluator.limits, again)
    write_json(folder.choice, _none_kept(error, again))
    raise error


def _choice(
    candidate: Candidate, decision: Decision, planner: Planner, evaluator: Evaluator
) -> Choice:
    architecture = planner.plan(decision)
    same = decision == Decision.from_json(candidate.decision)
    key = (candidate.key or "") if same else evaluator.key(architecture)
    return Choice(candidate, decision, architecture, key)


def _narrower(
    choice: Choice, found: Beside, planner: Planner, evaluator: Evaluator
) -> Choice | None:
    """As narrow as the worse ends of the readings ask for; None as `runoff.narrower` has it."""
    cost = {**_counted(choice, evaluator), **_at_worst(found)}
    try:
        decision = narrower(evaluator, choice.decision, cost, found.teacher)
        if decision is None:
            return None
        return _choice(choice.candidate, decision, planner, evaluator)
    except IllegalArchitectureError:
        return None


def _counted(choice: Choice, evaluator: Evaluator) -> Cost:
    """What the candidate costs, as far as it was counted of what is built of it."""
    cost = cost_from_json(choice.candidate.cost)
    if choice.narrowed:
        known = counted_cost(choice.architecture)
        cost = {**cost, **{name: known[name] for name in evaluator.counted}}
    return cost


def _at_worst(found: Beside) -> Cost:
    """The upper ends of what was read, of throughput the lower ones; of what was read in turns with
    the teacher, those of its share."""
    cost = {}
    for name, reading in found.cost.items():
        if name in found.shares and name in found.teacher:
            reading = by_share(reading.value, found.shares[name], found.teacher[name].value)
        end = reading.low if COLUMNS[name].falls else reading.high
        cost[name] = Reading(reading.value if end is None else end, reading.how)
    return cost


def _kept(choice: Choice, folder: RunFolder) -> Choice:
    write_json(
        folder.choice,
        {"candidate": choice.candidate.id, "decision": choice.decision.to_json()},
    )
    return choice


def _none_kept(error: Hwn2nError, again: Mapping[int | None, Beside]) -> dict[str, object]:
    """Why there is no student, and what the candidates cost that were measured again, by id."""
    found = {
        str(number): {"cost": cost_to_json(b.cost), "teacher": cost_to_json(b.teacher)}
        for number, b in again.items()
    }
    return {"candidate": None, "note": str(error), "again": found}


def _none_found(
    candidates: Sequence[Candidate], limits: Limits, again: Mapping[int | None, Beside]
) -> Hwn2nError:
    """Names the row that binds, and the candidate that is least outside by its worst row.

    `again`: what candidates cost that were inside until they were measured again.
    """
    outside: list[tuple[float, Candidate, Row, Cost]] = []
    for candidate in candidates:
        found = again.get(candidate.id)
        if found is None:
            found = Beside(cost_from_json(candidate.cost), cost_from_json(candidate.teacher))
        cost = found.cost
        known = limits.given(found.teacher).only(cost)
        if known.rows and not known.satisfied(cost):
            worst = float(known.residuals(cost).max())
            outside.append((worst, candidate, known.binding(cost), cost))
    none = f"none of {len(candidates)} candidates is inside the budget"
    if outside:
        _, candidate, row, cost = min(outside, key=lambda item: item[0])
        return BudgetNotMetError(
            f"{none}; binding: {row.source}; the nearest, candidate {candidate.id} "
            f"({candidate.stage}), has {row.describe(cost)['value_text']}"
        )
    reasons = Counter(c.reason for c in candidates if c.reason)
    if not reasons:
        return BudgetNotMetError(none)
    reason, count = reasons.most_common(1)[0]
    why = f"of {count} the reason is: {reason}"
    if not limits.at_first.rows:
        return DivergedError(f"none of {len(candidates)} candidates could be trained; {why}")
    return BudgetNotMetError(f"{none}; {why}")
