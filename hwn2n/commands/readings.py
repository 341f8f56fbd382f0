"""Where a check's numbers come from: this machine, or profiles that were saved elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch

from hwn2n.budget.columns import COLUMNS
from hwn2n.budget.cost import Cost
from hwn2n.budget.problems import shown
from hwn2n.errors import InputError
from hwn2n.gate.comparison import incomparable
from hwn2n.gate.saved_profile import SavedProfile, timed_threads
from hwn2n.hardware.fingerprint import differences
from hwn2n.hardware.measurement import MeasurementProtocol
from hwn2n.hardware.target import Target
from hwn2n.network.files import Teacher
from hwn2n.network.identity import model_digest

if TYPE_CHECKING:
    from hwn2n.commands.labelled import Labelled


@dataclass(frozen=True, kw_only=True)
class Readings:
    """The columns of one network that could be had, and why not the others.

    `machine` is the fingerprint of machine and target that measured, `inputs` what the network
    ran on, `threads` how many CPU threads timed it, None where none did, `notes` what a reader of
    the figures should know. A teacher has `shares`, as `Beside` has them, of columns that were read
    in turns.
    """

    cost: Cost
    reasons: Mapping[str, str] = field(default_factory=dict)
    machine: Mapping[str, Any]
    inputs: str = "noise"
    threads: int | None = None
    notes: tuple[str, ...] = ()
    shares: Mapping[str, tuple[float, float]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Reader:
    """Reads networks for one check: all on one target, on images of one `shape` (C, H, W).

    `saved` is the profile that measured columns of the model come from, None where they are
    measured now. Learned columns, and the images that networks run on, are of `labelled`.
    """

    target: Target
    shape: tuple[int, int, int]
    protocol: MeasurementProtocol
    saved: SavedProfile | None = None
    labelled: Labelled | None = None

    def of_model(self, subject: Teacher, columns: Sequence[str]) -> Readings:
        """`columns` of the network that is judged.

        Raises MeasurementError where it cannot be counted or run, InputError where `saved` is not
        of this very network, on such images and on this target. The machine may be any that the
        target is found on: so a runner without the device can judge what another one measured.
        """
        if self.saved is None:
            return self._here(subject, columns)
        self._require_network(self.saved, subject)
        self._require_target(self.saved)
        counted = self._here(subject, [n for n in columns if COLUMNS[n].known != "measured"])
        cost, reasons = dict(counted.cost), dict(counted.reasons)
        for name in columns:
            if name in cost or COLUMNS[name].learned:
                continue
            if reason := self._useless(self.saved, name):
                reasons[name] = reason
            else:
                cost[name] = self.saved.cached(name)
                reasons.pop(name, None)
        return Readings(
            cost=cost,
            reasons=reasons,
            machine=self.saved.machine,
            inputs=self.saved.inputs,
            threads=self.saved.threads,
            notes=self.saved.notes,
        )

    def of_teacher(self, teacher: Teacher, columns: Sequence[str]) -> Readings:
        """`columns` of the teacher, read by itself.

        Measured columns of two networks have to be of one machine. So where the model's come from
        a profile, the teacher's must too.
        """
        here = [n for n in columns if COLUMNS[n].known != "measured" or self.saved is None]
        found = self._here(teacher, here)
        reason = "the teacher must have been measured where the network was: --teacher PROFILE.json"
        reasons = dict(found.reasons) | {name: reason for name in columns if name not in here}
        notes = tuple(f"teacher: {note}" for note in found.notes)
        return replace(found, reasons=reasons, notes=notes)

    def in_turns(
        self, subject: Teacher, teacher: Teacher, model: Readings, columns: Sequence[str]
    ) -> tuple[Readings, Readings]:
        """`model` and `columns` of the teacher, where what is measured is read of both in turns.

        A machine's speed drifts within minutes by more than networks differ, and a limit that is a
        share of the teacher's value must not hang on when each was measured. What `model` was
        read of by itself stays for its notes, and for the columns that are not relative.
        """
        drifting = [name for name in columns if COLUMNS[name].drifts]
        if self.saved is not None or not drifting or not self._alike(subject, teacher):
            return model, self.of_teacher(teacher, columns)
        others = [name for name in columns if name not in drifting]
        alone = self.of_teacher(teacher, others)
        found = self.target.measure_beside(
            subject.model, teacher.model, self.shape, drifting, drifting, self._protocol(subject)
        )
        silent = [n for n in drifting if n not in found.teacher or n not in found.cost]
        reasons = dict.fromkeys(silent, f"target {self.target.name} gave no reading")
        return (
            replace(model, cost={**model.cost, **found.cost}),
            replace(
                alone,
                cost={**alone.cost, **found.teacher},
                reasons={**alone.reasons, **reasons},
                shares=found.shares,
            ),
        )

    def _alike(self, subject: Teacher, teacher: Teacher) -> bool:
        """Whether both want images normalised alike."""
        return self.labelled is None or torch.equal(
            self.labelled.inputs(subject), self.labelled.inputs(teacher)
        )

    def _protocol(self, subject: Teacher) -> MeasurementProtocol:
        if self.labelled is None:
            return self.protocol
        return replace(self.protocol, images=self.labelled.inputs(subject))

    def of_profile(self, saved: SavedProfile, model: Readings, columns: Sequence[str]) -> Readings:
        """`columns` of a saved profile, as far as they compare with those of `model`."""
        reasons = incomparable(
            saved,
            columns,
            machine=model.machine,
            inputs=model.inputs,
            shape=self.shape,
            threads=model.threads,
        )
        for name in columns:
            if name not in reasons and (reason := self._useless(saved, name)):
                reasons[name] = reason
        cost = {name: saved.cached(name) for name in columns if name not in reasons}
        return Readings(cost=cost, reasons=reasons, machine=saved.machine, inputs=saved.inputs)

    def _here(self, subject: Teacher, columns: Sequence[str]) -> Readings:
        asked = [name for name in columns if not COLUMNS[name].learned]
        learned = [name for name in columns if COLUMNS[name].learned]
        reasons = dict(self.target.unavailable(asked))
        wanted = [name for name in asked if name not in reasons]
        labelled = self.labelled
        found = self.target.examine(subject.model, self.shape, wanted, self._protocol(subject))
        silent = [name for name in wanted if name not in found.cost]
        reasons |= dict.fromkeys(silent, f"target {self.target.name} gave no reading")
        cost = dict(found.cost)
        if learned and labelled is not None:
            scores = labelled.accuracies(subject)
            cost |= {name: scores[name] for name in learned}
        else:
            reasons |= dict.fromkeys(learned, "only labelled images tell it: give --data NAME")
        return Readings(
            cost=cost,
            reasons=reasons,
            machine=self.target.fingerprint(),
            inputs="noise" if labelled is None else labelled.data.name,
            threads=timed_threads(found.samples),
            notes=tuple(found.notes),
        )

    def _useless(self, saved: SavedProfile, column: str) -> str | None:
        """Why what `saved` has of `column` cannot be judged by; None if it can."""
        wanted = self.protocol.confidence_of(column)
        return saved.missing(column) or saved.too_vague(column, wanted)

    def _require_network(self, saved: SavedProfile, subject: Teacher) -> None:
        if saved.input_shape != self.shape:
            there, here = (",".join(map(str, sizes)) for sizes in (saved.input_shape, self.shape))
            raise InputError(
                f"{saved.path}: the profile must be of images of the shape {here}; found {there}"
            )
        if saved.model_digest is None:
            raise InputError(
                f"{saved.path}: the profile must say of which network it is; found no "
                "model_digest, as torch.export could not capture it"
            )
        digest = model_digest(subject.model, self.shape, subject.program)
        if digest != saved.model_digest:
            raise InputError(
                f"{saved.path}: the profile must be of this very network, {subject.source}; found "
                f"one of {saved.model}, whose structure or weights differ "
                f"({saved.model_digest[:19]} there, {(digest or 'not to be captured')[:19]} here)"
            )

    def _require_target(self, saved: SavedProfile) -> None:
        there, here = saved.machine.get("target"), self.target.fingerprint().get("target")
        differing = differences({"target": there}, {"target": here})
        if differing:
            name, (found, wanted) = next(iter(differing.items()))
            raise InputError(
                f"{saved.path}: the profile must be measured on the budget's target, "
                f"{self.target.name}, whose {name.removeprefix('target.')} is {shown(wanted)}; "
                f"found {shown(found)}"
            )
