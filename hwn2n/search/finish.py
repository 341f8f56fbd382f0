"""After the search: choose the student, train it fully, measure it again, judge it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from torch import nn

from hwn2n.budget.columns import COLUMNS
from hwn2n.budget.cost import Cost, Reading, cost_from_json
from hwn2n.budget.matrix import Constraints
from hwn2n.distil.state import EpochReport, TrainState
from hwn2n.hardware.target import Target
from hwn2n.network.architecture import Architecture
from hwn2n.network.decision import Decision
from hwn2n.network.planner import Planner
from hwn2n.run.folder import RunFolder, load_checkpoint, save_checkpoint
from hwn2n.run.ledger import Candidate, Ledger
from hwn2n.run.progress import Reporter
from hwn2n.run.stop import Stop
from hwn2n.search.evaluate import Evaluator
from hwn2n.search.school import School
from hwn2n.search.seeds import derive_seed

FINAL = "final"


@dataclass(frozen=True)
class Choice:
    """The candidate that becomes the student."""

    candidate: Candidate
    decision: Decision
    architecture: Architecture


def choose(ledger: Ledger, planner: Planner, evaluator: Evaluator) -> Choice | None:
    """The candidate with the highest reward whose measured costs, measured again, are inside.

    A reading during the search is short; the best of many short readings is too good. So the
    winner is measured once more, alone, and gives way to the next one if it does not hold.
    None if no candidate is inside the budget.
    """
    for candidate in ledger.best():
        decision = Decision.from_json(candidate.decision)
        architecture = planner.plan(decision)
        measured = {**cost_from_json(candidate.cost), **evaluator.measure(architecture)}
        if evaluator.constraints.satisfied(measured):
            return Choice(candidate, decision, architecture)
    return None


def nearest(ledger: Ledger, constraints: Constraints) -> tuple[Candidate, Cost] | None:
    """The candidate outside the budget that is least outside, by its worst row."""
    found: list[tuple[float, Candidate, Cost]] = []
    for candidate in ledger.candidates():
        cost = cost_from_json(candidate.cost)
        known = constraints.only(cost)
        if cost and known.rows:
            found.append((float(known.residuals(cost).max()), candidate, cost))
    if not found:
        return None
    return min(found, key=lambda item: item[0])[1:]


def train_student(
    choice: Choice, school: School, folder: RunFolder, reporter: Reporter, stop: Stop
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
        stop.check()

    school.train_fully(student, seed=seed, on_epoch=on_epoch, resume_state=resume)
    return student.cpu()


def full_cost(
    model: nn.Module,
    input_shape: tuple[int, int, int],
    *,
    target: Target,
    columns: Iterable[str],
    school: School,
) -> dict[str, Reading]:
    """All columns of `columns` that can be had for a trained network, learned ones included.

    `model` is measured as it is, trained; accuracies are those of the validation split.
    """
    wanted = list(columns)
    cost = dict(target.measure(model, input_shape, wanted))
    if any(COLUMNS[name].learned for name in wanted):
        scored = school.score(model)
        learned = {"accuracy": scored.top1, "worst_class_accuracy": scored.worst_class}
        for name, value in learned.items():
            if name in wanted:
                cost[name] = Reading(value, "measured")
    return cost
