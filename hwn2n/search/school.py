"""What training a student of one teacher on one data set takes, ready for many students."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, fx, nn

from hwn2n.budget.matrix import Constraints
from hwn2n.distil.accuracy import Accuracy, Watch, accuracy, accuracy_of
from hwn2n.distil.augment import normalise
from hwn2n.distil.batchnorm import recalibrate_batch_norm
from hwn2n.distil.datasets import Data
from hwn2n.distil.images import ImageSet, stratified_sample
from hwn2n.distil.logits import teacher_logits
from hwn2n.distil.losses import CrossEntropyAndL2, LogitL2
from hwn2n.distil.recipes import TrainSettings
from hwn2n.distil.state import EpochReport, TrainResult, TrainState
from hwn2n.distil.train import train
from hwn2n.hardware.measurement import Effort, MeasurementProtocol
from hwn2n.network.architecture import Architecture
from hwn2n.network.decision import Decision
from hwn2n.network.inherit import Inheritance, fresh_weights
from hwn2n.network.module import instantiate_with
from hwn2n.search.settings import Settings

MEASURED_IMAGES = 256
"""At most so many validation images are what measured networks run on."""


class School:
    """Builds students and trains them, briefly or in full, always by the original teacher.

    The images that search training uses are chosen once, and the teacher's logits for them are
    computed once where training does not augment, or given as `search_logits`. `watch`, which may
    be set, sees how far that is: of a large teacher and many images it takes minutes.
    """

    def __init__(
        self,
        *,
        teacher: nn.Module,
        inheritance: Inheritance,
        data: Data,
        settings: Settings,
        search_logits: Tensor | None = None,
    ) -> None:
        self.teacher = teacher
        self.inheritance = inheritance
        self.data = data
        self.settings = settings
        self.device = torch.device(settings.device)
        self.train_images = data.train.to(self.device)
        self.validation = data.validation.to(self.device)
        self.search_images = _choose(
            self.train_images, None if settings.train.fresh else settings.train.max_images
        )
        self.search_validation = _choose(self.validation, settings.validation_images)
        self.watch: Watch | None = None
        self._logits: dict[bool, Tensor] = {}
        if search_logits is not None:
            self._logits[False] = search_logits.to(self.device)

    def search_logits(self) -> Tensor | None:
        """The teacher's logits for `search_images` (n, classes); None where training augments."""
        return self._teacher_for(self.settings.train, self.search_images, final=False).get(
            "teacher_logits"
        )

    def student(
        self, architecture: Architecture, decision: Decision, *, seed: int
    ) -> fx.GraphModule:
        """A student on the CPU with inherited or fresh weights, as the settings say."""
        if self.settings.weights == "inherit":
            weights = self.inheritance.weights(architecture, decision, seed=seed)
        else:
            weights = fresh_weights(architecture, seed=seed)
            weights |= self.inheritance.fixed(architecture, decision)
        return instantiate_with(architecture, weights)

    def train_briefly(
        self, student: nn.Module, *, seed: int, epochs: int | None = None
    ) -> Accuracy:
        """Search training (section 3.4: the L2 of the logits), scored on validation images.

        `epochs` stand in place of those of the settings, as in a run-off, which is scored on all
        validation images.
        """
        self._train_briefly(student, seed=seed, epochs=epochs)
        return self._scored(student, self.validation if epochs else self.search_validation)

    def train_partly(
        self, student: nn.Module, *, seed: int, until: int | None, state: TrainState | None
    ) -> tuple[Accuracy, TrainState]:
        """The part of search training up to epoch `until` (None: all), from `state` on.

        All parts together are, to the last bit, the training of `train_briefly`.
        """
        reached: list[TrainState] = []
        self._train_briefly(
            student,
            seed=seed,
            until=until,
            resume_state=state,
            on_epoch=lambda report, now: reached.append(now),
        )
        return self._scored(student, self.search_validation), reached[-1]

    def _scored(self, student: nn.Module, images: ImageSet) -> Accuracy:
        # After so few steps the running statistics still lag far behind the weights.
        self._recalibrate(student)
        return self.score(student, images)

    def _train_briefly(
        self, student: nn.Module, *, seed: int, epochs: int | None = None, **how: Any
    ) -> None:
        settings = self.settings
        train(
            student,
            self.search_images,
            LogitL2(),
            replace(
                settings.train,
                epochs=epochs or settings.train.epochs,
                max_images=settings.train.max_images if settings.train.fresh else None,
                keep_best=False,
                patience=None,
            ),
            mean=self.data.mean,
            std=self.data.std,
            device=self.device,
            seed=seed,
            **how,
            **self._teacher_for(settings.train, self.search_images, final=False),
        )

    def train_fully(
        self,
        student: nn.Module,
        *,
        seed: int,
        on_epoch: Callable[[EpochReport, TrainState], None] | None = None,
        resume_state: TrainState | None = None,
    ) -> TrainResult:
        """Final training: cross-entropy + lambda L2, the best validation epoch kept."""
        settings, images = self.settings.final, self.train_images
        if not settings.fresh:
            images = _choose(images, settings.max_images)
            settings = replace(settings, max_images=None)
        if self.settings.weights == "inherit":
            self._recalibrate(student)  # the statistics inherited are those of the whole teacher
        return train(
            student,
            images,
            CrossEntropyAndL2(lam=self.settings.final_lambda),
            settings,
            mean=self.data.mean,
            std=self.data.std,
            validation=self.validation,
            device=self.device,
            seed=seed,
            on_epoch=on_epoch,
            resume_state=resume_state,
            **self._teacher_for(settings, images, final=True),
        )

    def _recalibrate(self, student: nn.Module) -> None:
        if self.settings.recalibrate_images:
            recalibrate_batch_norm(
                student,
                self.search_images,
                mean=self.data.mean,
                std=self.data.std,
                n_images=self.settings.recalibrate_images,
                device=self.device,
                seed=self.settings.seed,
            )

    def score(self, model: nn.Module, images: ImageSet | None = None) -> Accuracy:
        """Accuracy on validation images (all of them by default), in float32.

        The teacher's logits are kept: it is scored in every run, and may be slow.
        """
        chosen = self.validation if images is None else images
        how: dict[str, Any] = {"mean": self.data.mean, "std": self.data.std, "device": self.device}
        if model is self.teacher:
            return accuracy_of(teacher_logits(model, chosen, precision="fp32", **how), chosen)
        return accuracy(model, chosen, **how)

    def protocol(
        self, effort: Effort, constraints: Constraints, *, looks: int = 1
    ) -> MeasurementProtocol:
        """How to measure a student for `constraints`: on validation images, as sure as they ask.

        Of several `looks`, of which any may decide, each has its share of the error (Bonferroni).
        """
        images = normalise(
            self.data.validation.images[:MEASURED_IMAGES].cpu(), self.data.mean, self.data.std
        )
        confidence = {}
        for name in constraints.columns:
            asked = max(row.confidence for row in constraints.rows if name in row.coefficients)
            confidence[name] = 1 - (1 - asked) / looks
        return MeasurementProtocol(effort=effort, confidence=confidence, images=images)

    def _teacher_for(
        self, settings: TrainSettings, images: ImageSet, *, final: bool
    ) -> dict[str, Any]:
        """The teacher itself where each batch is augmented anew, otherwise its logits, cached."""
        if settings.augment != "none":
            return {"teacher": self.teacher.to(self.device)}
        if final not in self._logits:
            self._logits[final] = teacher_logits(
                self.teacher,
                images,
                mean=self.data.mean,
                std=self.data.std,
                device=self.device,
                precision=settings.precision,
                watch=self.watch,
            )
        return {"teacher_logits": self._logits[final]}


def _choose(images: ImageSet, count: int | None) -> ImageSet:
    """A stratified choice of `count` images, the same for every seed; all of them for None."""
    if count is None or count >= len(images):
        return images
    return images.subset(stratified_sample(images.labels, count, 0).to(images.labels.device))
