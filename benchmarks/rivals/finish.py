"""From what a rival found to a result: the final training and the test of hwn2n's own students.

Resumable: the found network is kept, then each epoch of the training, then the result. Of a rival
that finds no network inside the budget there is a result too, which says why.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from torch import nn

from benchmarks.rivals.base import FINAL, Found, Rival
from benchmarks.rivals.problem import Problem
from hwn2n.budget.cost import cost_to_json
from hwn2n.distil.batchnorm import recalibrate_batch_norm
from hwn2n.distil.state import EpochReport, TrainState
from hwn2n.errors import BudgetNotMetError, InputError
from hwn2n.network.capture import capture
from hwn2n.network.files.stored import Stored, read_stored, write_stored
from hwn2n.run.export import export_student
from hwn2n.run.folder import (
    RunFolder,
    load_checkpoint,
    read_json,
    save_checkpoint,
    write_json,
)
from hwn2n.run.lock import working_on
from hwn2n.run.progress import Reporter
from hwn2n.run.provenance import digest, versions
from hwn2n.run.stop import Stop
from hwn2n.search.seeds import derive_seed
from hwn2n.search.settings import settings_to_json

FORMAT = "hwn2n-rival"


@dataclass(frozen=True, kw_only=True)
class Contest:
    """One rival at one problem, in a folder."""

    name: str
    rival: Rival
    problem: Problem
    path: Path
    reporter: Reporter
    stop: Stop

    @property
    def folder(self) -> RunFolder:
        """Paths of the run; only `config.json` is not that of `hwn2n compress`."""
        return RunFolder(self.path)

    def run(self) -> dict[str, Any]:
        """The result, new or of a run that was complete. Raises `InterruptedRunError`."""
        self._settle()
        if self.folder.result.exists():
            return read_json(self.folder.result)
        with working_on(self.folder):
            return self._run()

    def _run(self) -> dict[str, Any]:
        try:
            stored, kept = self._found()
        except BudgetNotMetError as error:
            result = self._head() | {"inside": False, "reason": str(error)}
            write_json(self.folder.result, result)
            return result
        student, seconds = self._trained(stored)
        result = self._proved(stored, kept, student, seconds)
        write_json(self.folder.result, result)
        return result

    def _settle(self) -> None:
        """Make the folder, or check that it is one of the same contest."""
        asked = {
            "format": FORMAT,
            "rival": self.name,
            "options": self.rival.options(),
            "settings": settings_to_json(self.problem.settings),
            "data": self.problem.data.name,
            "budget": [row.written for row in self.problem.budget.rows],
            "teacher_weights": digest(self.problem.teacher.model.state_dict()),
        }
        if not self.folder.config.exists():
            RunFolder.create(self.path)
            write_json(self.folder.config, asked)
            return
        before = read_json(self.folder.config)
        if different := sorted(key for key in asked if before.get(key) != asked[key]):
            raise InputError(
                f"{self.path}: must be a run of what is asked for now, but differs in "
                f"{', '.join(different)}"
            )

    def _found(self) -> tuple[Stored, dict[str, Any]]:
        """The rival's network as data, searched for or read again."""
        network, told = self.path / "found.safetensors", self.path / "found.json"
        if not told.exists():
            start = time.perf_counter()
            found = self.rival.find(self.problem, self.problem.settings.seed)
            architecture, weights = found.architecture, found.model.state_dict()
            if architecture is None:
                captured = capture(found.model, self.problem.input_shape)
                architecture, weights = captured.architecture, captured.weights
            seconds = time.perf_counter() - start
            write_stored(network, architecture, weights, {"data": self.problem.data.name})
            write_json(told, self._about(found, seconds))
        self.stop.check()
        return read_stored(network), read_json(told)

    def _about(self, found: Found, seconds: float) -> dict[str, Any]:
        """What is known before training; batch norm is recalibrated before it is judged."""
        school, settings = self.problem.school, self.problem.settings
        if settings.recalibrate_images and self.rival.weights == "inherit":
            recalibrate_batch_norm(
                found.model,
                school.train_images,
                mean=self.problem.data.mean,
                std=self.problem.data.std,
                n_images=settings.recalibrate_images,
                device=school.device,
                seed=settings.seed,
            )
        return {
            "seconds": seconds,
            "evaluations": found.evaluations,
            "details": found.details,
            "accuracy": school.score(found.model).top1,
        }

    def _trained(self, stored: Stored) -> tuple[nn.Module, float]:
        """The student after `School.train_fully`, and the seconds of all processes that did it."""
        seed = derive_seed(self.problem.settings.seed, FINAL, self._key(stored))
        path = self.folder.checkpoint(FINAL)
        saved = load_checkpoint(path)
        resume = None if saved is None else TrainState.from_dict(saved["state"])
        before = 0.0 if saved is None else float(saved["seconds"])
        start = time.perf_counter()

        def on_epoch(report: EpochReport, state: TrainState) -> None:
            assert report.validation is not None
            seconds = before + time.perf_counter() - start
            save_checkpoint(path, {"state": state.to_dict(), "seconds": seconds})
            text = f"loss {report.loss:.4f}  validation {report.validation.top1:.2%}"
            self.reporter.epoch(f"{self.name}: final training", report.epoch, report.epochs, text)
            self.stop.check()

        student = stored.module()
        self.problem.school.train_fully(student, seed=seed, on_epoch=on_epoch, resume_state=resume)
        return student.cpu(), before + time.perf_counter() - start

    def _key(self, stored: Stored) -> str:
        """As hwn2n's own students have it, so that equal networks draw the same numbers.

        See `hwn2n.search.evaluate.Evaluator.key`: with inherited weights the names count too.
        """
        key = stored.architecture.key()
        if self.rival.weights == "fresh":
            return key
        names = json.dumps([op.source or op.name for op in stored.architecture])
        return hashlib.sha256(f"{key} {names}".encode()).hexdigest()[:16]

    def _proved(
        self, stored: Stored, kept: dict[str, Any], student: nn.Module, seconds: float
    ) -> dict[str, Any]:
        """Measured beside the teacher, judged, exported, and tested: once, and only here."""
        problem = self.problem
        found, verdict = problem.proved(student)
        cost, teacher = found.cost, found.teacher
        judged = problem.limits.judge(cost, found)
        description = {
            "classes": list(problem.data.classes),
            "mean": list(problem.data.mean),
            "std": list(problem.data.std),
            "data": problem.data.name,
        }
        difference = export_student(self.folder, stored.architecture, student, description)
        tested = problem.school.score(student, problem.data.test().to(problem.school.device))
        return self._head() | {
            "inside": verdict.value == "pass",
            "verdict": verdict.value,
            "params": cost["params"].value,
            "flops": cost["flops"].value,
            "search_accuracy": kept["accuracy"],
            "validation_accuracy": cost["accuracy"].value,
            "test_accuracy": tested.top1,
            "test_images": tested.n,
            "candidates": {"all": kept["evaluations"]},
            "feasible_share": None,
            "seconds_per_trained_candidate": 0.0,
            "seconds": {"search": kept["seconds"], "final_training": seconds},
            "removed": [],
            "widths": _widths(stored),
            "kernels": {},
            "best_search_accuracy_by_candidate": [],
            "details": kept["details"],
            "key": self._key(stored),
            "cost": cost_to_json(cost),
            "teacher": cost_to_json(teacher),
            "rows": [judgement.to_json() for judgement in judged],
            "export_difference": difference,
        }

    def _head(self) -> dict[str, Any]:
        """What every result says, of a rival that found nothing too."""
        return {
            "strategy": self.name,
            "seed": self.problem.settings.seed,
            "settings": {**settings_to_json(self.problem.settings), "seed": None},
            "machine": self.problem.target.fingerprint(),
            "versions": versions() | _versions(self.rival.packages),
            "target": self.problem.target.name,
        }


def _versions(packages: Sequence[str]) -> dict[str, str]:
    found = {}
    for name in packages:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed as a package"
    return found


def _widths(stored: Stored) -> dict[str, int]:
    """Outputs of each layer with weights."""
    outputs = {"conv2d": "out_channels", "linear": "out_features"}
    return {
        op.name: op.config[outputs[op.kind]] for op in stored.architecture if op.kind in outputs
    }
