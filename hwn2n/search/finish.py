"""After the choice: train the student fully, and measure it again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from torch import nn

from hwn2n.budget.columns import COLUMNS
from hwn2n.budget.cost import Reading
from hwn2n.budget.judgement import Verdict
from hwn2n.budget.verdict import verdict_of
from hwn2n.distil.feed import DivergedError
from hwn2n.distil.state import EpochReport, TrainState
from hwn2n.errors import InputError
from hwn2n.hardware.measurement import Beside, MeasurementProtocol
from hwn2n.hardware.target import Target
from hwn2n.run.clock import Clock
from hwn2n.run.folder import (
    RunFolder,
    load_checkpoint,
    save_checkpoint,
)
from hwn2n.run.progress import Reporter
from hwn2n.run.stop import Stop
from hwn2n.search.choose import Choice
from hwn2n.search.limits import Limits
from hwn2n.search.school import School
from hwn2n.search.seeds import derive_seed

FINAL = "final"
LOOKS = 3
"""A machine with other work to do is noisy for a while: so often the trained student is measured
until the verdict is clear. Each look has a third of the error."""
CHOICE, FINAL_TRAINING = "choice", "final_training"
"""The phases to which the clock books what comes after the search."""


def train_student(
    choice: Choice,
    school: School,
    folder: RunFolder,
    reporter: Reporter,
    stop: Stop,
    clock: Clock,
) -> nn.Module:
    """Final training of the chosen student, resumable after each epoch; its best epoch, on CPU.

    Raises `DivergedError`, which names the settings to change.
    """
    seed = derive_seed(school.settings.seed, FINAL, choice.key)
    student = school.student(choice.architecture, choice.decision, seed=seed)
    saved = load_checkpoint(folder.checkpoint(FINAL))
    resume = None
    if saved is not None and saved["key"] == choice.key:
        resume = TrainState.from_dict(saved["state"])

    def on_epoch(report: EpochReport, state: TrainState) -> None:
        assert report.validation is not None
        save_checkpoint(folder.checkpoint(FINAL), {"key": choice.key, "state": state.to_dict()})
        text = f"loss {report.loss:.4f}  validation {report.validation.top1:.2%}"
        reporter.epoch("final training", report.epoch, report.epochs, text)
        clock.lap(FINAL_TRAINING)
        stop.check()

    try:
        school.train_fully(student, seed=seed, on_epoch=on_epoch, resume_state=resume)
    except InputError as error:  # a checkpoint of another version or another kind of machine
        raise InputError(
            f"{folder.path}: {error}; with another setting, such as --set final.precision=fp32, "
            "its final training begins anew"
        ) from error
    except DivergedError as error:
        final = school.settings.final
        raise DivergedError(
            f"{folder.path}: the final training must stay finite, but: {error}; it needs a "
            f"final.lr below {final.lr:g}, or another final.precision than {final.precision}: "
            f"{folder.resume_command} --set final.lr={final.lr / 4:g}"
        ) from error
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
