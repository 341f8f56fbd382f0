"""After the search: choose the student, train it fully, measure it again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from torch import nn

from hwn2n.budget.columns import COLUMNS
from hwn2n.budget.cost import Cost, Reading, cost_from_json
from hwn2n.budget.judgement import Verdict
from hwn2n.budget.rows import Row
from hwn2n.budget.verdict import verdict_of
from hwn2n.distil.state import EpochReport, TrainState
from hwn2n.errors import BudgetNotMetError
from hwn2n.hardware.measurement import Beside, MeasurementProtocol
from hwn2n.hardware.target import Target
from hwn2n.network.architecture import Architecture
from hwn2n.network.decision import Decision
from hwn2n.network.planner import Planner
from hwn2n.run.candidate import Candidate
from hwn2n.run.clock import Clock
from hwn2n.run.folder import (
    RunFolder,
    load_checkpoint,
    read_json,
    save_checkpoint,
    write_json,
)
from hwn2n.run.ledger import Ledger
from hwn2n.run.progress import Reporter
from hwn2n.run.stop import Stop
from hwn2n.search.evaluate import Evaluator
from hwn2n.search.limits import Limits
from hwn2n.search.runoff import ranked
from hwn2n.search.school import School
from hwn2n.search.seeds import derive_seed

FINAL = "final"
CARE = 30
"""The winner is measured at so small a part of the usual error. It is the best of many, and often
near the limit: one that is just inside may be outside when it is measured again after its
training."""
LOOKS = 3
"""A machine with other work to do is noisy for a while: so often the trained student is measured
until the verdict is clear. Each look has a third of the error."""
FINAL_TRAINING = "final_training"
"""The phase to which the clock books it."""


@dataclass(frozen=True)
class Choice:
    """The candidate that becomes the student."""

    candidate: Candidate
    decision: Decision
    architecture: Architecture


def choose(ledger: Ledger, planner: Planner, evaluator: Evaluator, folder: RunFolder) -> Choice:
    """The best candidate whose measured costs, measured again, are inside the budget.

    Best as `runoff.ranked` has it. A reading during the search is short; the best of many short
    readings is too good. So the winner is measured once more, in full and alone, and gives way to
    the next one unless it is surely inside, beside the teacher where a limit is a share of what
    that measures. If none is, the first of which the readings say so, though not surely, is taken.
    The choice is kept in the folder: after a resume another measurement must not choose another.
    Raises `BudgetNotMetError` if no candidate is inside the budget.
    """
    kept = read_json(folder.choice)["candidate"] if folder.choice.exists() else None
    again: dict[int | None, Beside] = {}
    unsure: Choice | None = None
    for candidate in ranked(ledger, evaluator):
        if kept not in (None, candidate.id):
            continue
        decision = Decision.from_json(candidate.decision)
        architecture = planner.plan(decision)
        choice = Choice(candidate, decision, architecture)
        if kept is not None:
            return choice
        found = evaluator.measure_again(architecture, decision, CARE)
        cost = {**cost_from_json(candidate.cost), **found.cost}
        if not evaluator.limits.given(found.teacher).satisfied(cost):
            again[candidate.id] = Beside(cost, found.teacher)
        elif verdict_of(evaluator.limits.judge(cost, found)) is Verdict.PASS:
            return _kept(choice, folder)
        else:
            unsure = unsure or choice
    if unsure is not None:
        return _kept(unsure, folder)
    raise _none_found(ledger.candidates(), evaluator.limits, again)


def _kept(choice: Choice, folder: RunFolder) -> Choice:
    write_json(folder.choice, {"candidate": choice.candidate.id})
    return choice


def _none_found(
    candidates: Sequence[Candidate], limits: Limits, again: Mapping[int | None, Beside]
) -> BudgetNotMetError:
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
    return BudgetNotMetError(f"{none}; of {count} the reason is: {reason}")


def train_student(
    choice: Choice,
    school: School,
    folder: RunFolder,
    reporter: Reporter,
    stop: Stop,
    clock: Clock,
) -> nn.Module:
    """Final training of the chosen student, resumable after each epoch; its best epoch, on CPU."""
    seed = derive_seed(school.settings.seed, FINAL, choice.candidate.key or "")
    student = school.student(choice.architecture, choice.decision, seed=seed)
    saved = load_checkpoint(folder.checkpoint(FINAL))
    resume = None
    if saved is not None and saved["key"] == choice.candidate.key:
        resume = TrainState.from_dict(saved["state"])

    def on_epoch(report: EpochReport, state: TrainState) -> None:
        assert report.validation is not None
        save_checkpoint(
            folder.checkpoint(FINAL), {"key": choice.candidate.key, "state": state.to_dict()}
        )
        text = f"loss {report.loss:.4f}  validation {report.validation.top1:.2%}"
        reporter.epoch("final training", report.epoch, report.epochs, text)
        clock.lap(FINAL_TRAINING)
        stop.check()

    school.train_fully(student, seed=seed, on_epoch=on_epoch, resume_state=resume)
    clock.lap(FINAL_TRAINING)
    return student.cpu()


def full_cost(
    model: nn.Module,
    input_shape: tuple[int, int, int],
    *,
    target: Target,
    columns: Iterable[str],
    school: School,
    protocol: MeasurementProtocol,
) -> dict[str, Reading]:
    """All columns of `columns` that can be had for a trained network, learned ones included.

    `model` is measured as it is, trained; accuracies are those of the validation split.
    """
    wanted = list(columns)
    return dict(target.measure(model, input_shape, wanted, protocol)) | learned_cost(
        model, wanted, school
    )


def beside_teacher(
    student: nn.Module,
    teacher: nn.Module,
    input_shape: tuple[int, int, int],
    *,
    target: Target,
    school: School,
    limits: Limits,
    columns: Sequence[str],
) -> tuple[Beside, Verdict]:
    """A trained student and its teacher in full, side by side, accuracies included.

    They are looked at again while nobody can tell the verdict, `LOOKS` times at most.
    """
    learned, whole = (learned_cost(model, columns, school) for model in (student, teacher))
    protocol = school.protocol("full", limits.at_first, looks=LOOKS)
    for _ in range(LOOKS):
        found = target.measure_beside(student, teacher, input_shape, columns, columns, protocol)
        cost = {**found.cost, **learned}
        found = replace(found, cost=cost, teacher={**found.teacher, **whole})
        verdict = verdict_of(limits.judge(cost, found))
        if verdict is not Verdict.INCONCLUSIVE:
            break
    return found, verdict


def learned_cost(model: nn.Module, columns: Iterable[str], school: School) -> dict[str, Reading]:
    """The accuracies among `columns`, on the validation split."""
    wanted = [name for name in columns if COLUMNS[name].learned]
    if not wanted:
        return {}
    scored = school.score(model)
    learned = {"accuracy": scored.top1, "worst_class_accuracy": scored.worst_class}
    return {name: Reading(learned[name], "measured") for name in wanted}
