"""One training loop for teachers, for candidates (search training) and for final students.

The images lie on the device as bytes; each batch is gathered, augmented and normalised there. The
same seed gives the same weights to the last bit on the same machine with the same threads, whether
a training is interrupted and resumed or not.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, is_dataclass

import torch
from torch import Tensor, nn

from hwn2n.distil.accuracy import Accuracy, accuracy, predict_logits
from hwn2n.distil.batchnorm import recalibrate_batch_norm
from hwn2n.distil.epoch import Lesson, run_epoch
from hwn2n.distil.feed import DivergedError, Feed, choose_precision, evaluating
from hwn2n.distil.images import ImageSet, stratified_sample
from hwn2n.distil.losses import Loss
from hwn2n.distil.optim import global_generators_kept, make_optimizer
from hwn2n.distil.recipes import TrainSettings
from hwn2n.distil.state import EpochReport, TrainResult, TrainState
from hwn2n.errors import InputError

__all__ = [
    "Accuracy",
    "DivergedError",
    "EpochReport",
    "TrainResult",
    "TrainState",
    "accuracy",
    "choose_precision",
    "predict_logits",
    "recalibrate_batch_norm",
    "train",
]


def train(
    model: nn.Module,
    images: ImageSet,
    loss_fn: Loss,
    settings: TrainSettings,
    *,
    mean: Sequence[float],
    std: Sequence[float],
    teacher: nn.Module | None = None,
    teacher_logits: Tensor | None = None,
    validation: ImageSet | None = None,
    device: torch.device | str = "cpu",
    seed: int = 0,
    on_epoch: Callable[[EpochReport, TrainState], None] | None = None,
    resume_state: TrainState | None = None,
    until: int | None = None,
) -> TrainResult:
    """Train a network in place; it ends on `device`, in eval mode.

    Args:
        model: maps (N, C, H, W) to logits (N, K).
        images: of the train split.
        loss_fn: what to minimise.
        settings: everything else.
        mean: of each channel, in units of 0..1.
        std: deviation of each channel, in units of 0..1.
        teacher: asked for its logits on each augmented batch, in eval mode; with `shared_views`
            once for each epoch, and then never again by any training.
        teacher_logits: float (len(images), K) of the images as they are; instead of `teacher`,
            and only without augmentation.
        validation: images to measure after each epoch; needed for `keep_best` and `patience`.
        device: where to train.
        seed: of order, augmentation and dropout; initial weights are the caller's.
        on_epoch: called after each epoch with its report and all that is needed to resume. What it
            raises ends the training, with the network in eval mode.
        resume_state: go on from there, to the last bit as if there had been no interruption.
        until: stop after this epoch, though the settings' schedule is for more.

    Raises:
        InputError: arguments that do not fit together.
        DivergedError: a loss, a weight or a validation logit is NaN or infinite.
    """
    _check_arguments(images, loss_fn, settings, teacher, teacher_logits, validation)
    feed = Feed.make(mean, std, device, settings.precision)
    if not settings.fresh:
        images, teacher_logits = _choose(images, teacher_logits, settings.max_images)
    lesson = Lesson(
        images=images.to(feed.device),
        teacher=teacher.to(feed.device) if teacher is not None else None,
        teacher_logits=None if teacher_logits is None else teacher_logits.to(feed.device),
        loss_fn=loss_fn,
        settings=settings,
        feed=feed,
        seed=seed,
    )
    if validation is not None:
        validation = validation.to(feed.device)
    plan = {
        "settings": asdict(settings),
        "seed": seed,
        "precision": feed.precision,
        "images": len(images),
        "loss": repr(loss_fn) if is_dataclass(loss_fn) else type(loss_fn).__name__,
    }
    model.to(feed.device, memory_format=feed.memory_format)  # type: ignore[call-overload]
    optimizer = make_optimizer(model, settings)
    history: list[EpochReport] = []
    best: dict[str, Tensor] | None = None
    if resume_state is not None:
        best = _resume(resume_state, plan, model, optimizer)
        history = list(resume_state.history)
    quiet = evaluating(teacher) if teacher is not None else nullcontext()
    try:
        with global_generators_kept(feed.device), _deterministic(feed.device), quiet:
            while len(history) < min(
                settings.epochs, until or settings.epochs
            ) and not _out_of_patience(history, settings):
                report = run_epoch(model, optimizer, lesson, validation, history)
                history.append(report)
                if settings.keep_best and report.best_epoch == report.epoch:
                    best = _copy(model)
                if on_epoch is not None:
                    state = TrainState(
                        model=_copy(model),
                        optimizer=copy.deepcopy(optimizer.state_dict()),
                        best=best,
                        history=tuple(history),
                        plan=plan,
                    )
                    on_epoch(report, state)
        if best is not None:
            model.load_state_dict(best)
    finally:
        model.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
        model.eval()
    last = history[-1]
    kept = history[last.best_epoch - 1] if best is not None and last.best_epoch else last
    return TrainResult(
        history=tuple(history),
        best_epoch=last.best_epoch,
        validation=kept.validation,
        stopped_early=len(history) < settings.epochs and until is None,
        precision=feed.precision,
        seconds=sum(report.seconds for report in history),
    )


def _out_of_patience(history: Sequence[EpochReport], settings: TrainSettings) -> bool:
    if settings.patience is None or not history or history[-1].best_epoch is None:
        return False
    return len(history) - history[-1].best_epoch >= settings.patience


def _check_arguments(
    images: ImageSet,
    loss_fn: Loss,
    settings: TrainSettings,
    teacher: nn.Module | None,
    teacher_logits: Tensor | None,
    validation: ImageSet | None,
) -> None:
    if teacher is not None and teacher_logits is not None:
        raise InputError("train takes a teacher or its logits, but got both")
    if loss_fn.needs_teacher and teacher is None and teacher_logits is None:
        raise InputError(f"{type(loss_fn).__name__} needs a teacher or its logits, but got neither")
    if teacher_logits is not None:
        if settings.augment != "none":
            raise InputError(
                "the logits of a teacher belong to images as they are: with augment "
                f"{settings.augment!r} the teacher itself is needed"
            )
        if teacher_logits.ndim != 2 or len(teacher_logits) != len(images):
            raise InputError(
                f"teacher_logits must be of shape ({len(images)}, classes), "
                f"but got {tuple(teacher_logits.shape)}"
            )
    if validation is None and (settings.keep_best or settings.patience is not None):
        raise InputError("keep_best and patience need validation images, but got none")
    if len(images) < 2:
        raise InputError(f"training needs at least 2 images, but got {len(images)}")


def _choose(
    images: ImageSet, teacher_logits: Tensor | None, max_images: int | None
) -> tuple[ImageSet, Tensor | None]:
    """The images that `max_images` leaves, and their logits.

    By a constant seed: candidates with different seeds are compared on the same images.
    """
    if max_images is None or max_images >= len(images):
        return images, teacher_logits
    index = stratified_sample(images.labels, max_images, seed=0)
    if teacher_logits is not None:
        teacher_logits = teacher_logits[index.to(teacher_logits.device)]
    return images.subset(index), teacher_logits


def _resume(
    state: TrainState, plan: dict[str, object], model: nn.Module, optimizer: torch.optim.Optimizer
) -> dict[str, Tensor] | None:
    """Load a state into network and optimiser; returns the best weights so far."""
    begun = dict(state.plan)
    if isinstance(begun.get("settings"), Mapping):  # an older version wrote fewer of them
        begun["settings"] = {**asdict(TrainSettings(epochs=1)), **begun["settings"]}
    different = sorted(key for key in plan if plan[key] != begun.get(key))
    if different:
        raise InputError(
            f"a training must be resumed with what it began with, but {', '.join(different)} differ"
        )
    try:
        model.load_state_dict(state.model)
        optimizer.load_state_dict(copy.deepcopy(state.optimizer))
    except (RuntimeError, ValueError, KeyError) as error:
        raise InputError("a training must be resumed with the network it began with") from error
    return state.best


def _copy(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


@contextmanager
def _deterministic(device: torch.device) -> Iterator[None]:
    """Let cuDNN choose the same, deterministic kernels every time."""
    if device.type != "cuda":
        yield
        return
    before = torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
    try:
        yield
    finally:
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = before
