"""How to train: `TrainSettings`, and the presets for teachers and for students.

Where the numbers come from. "Authors" is the public code of the paper's authors
(github.com/anubhavashok/N2N, commit 3d4c7ab), read for this; section 10.2 of the paper, which
describes the training in words, was not compared line by line. In the code SGD is commented out
for Adam (CIFAR: 1e-3, weight decay 1e-4; MNIST: 0.01), and the CIFAR schedule is written down but
not called; the presets here are the SGD that stands there. Where it says nothing, the number is
ours.

- `paper-mnist`: authors (datasets/mnist.py): batch 64, learning rate 0.01, no augmentation. Ours:
  momentum 0.9 (the code has 0.5) and 20 epochs (the code's 5 epochs are those of a candidate).
- `paper-cifar`: authors (datasets/cifar10.py, "the 55 epoch learning rule"): batch 200, crop and
  flip, momentum 0.9, learning rate 5e-3, then 1e-3 after 18 epochs, 5e-4 after 29, 1e-4 after 43
  and 1e-5 after 52; weight decay 5e-4 for 43 epochs, then none.
- `paper-resnet`: not in the authors' code, which loads its ResNets ready-made. He et al. 2016
  (section 4.2: SGD 0.1, momentum 0.9, batch 128, tenth at 1/2 and 3/4 of training), with 200
  epochs and weight decay 5e-4, as public CIFAR code commonly has it.
- `fast`: ours. One cycle of Nesterov SGD. No label smoothing: teachers trained with it distil
  worse (Müller et al. 2019, arXiv 1906.02629).
- `paper-search`: authors (utils.py, trainTeacherStudentParallel): Adam 5e-4, weight decay 5e-4,
  5 epochs, batch and augmentation of the data set. The paper gives the 5 epochs too.
- `paper-final`: the paper trains "to convergence" with cross-entropy and the distillation term;
  the 55 epochs of `paper-cifar` are ours for it, with the best validation epoch kept.
- All of `paper-*` train in float32, as the paper's hardware did; `fast` in bf16 where that is fast.
- `fast-search` and `fast-final`: ours. Of the trainings that `benchmarks/proxies.py` compares,
  `fast-search` ranks networks best for what it costs: new images rather than the same again, very
  small batches and a high rate, since steps teach so small a network more than images do.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import isfinite

from hwn2n.distil.augment import AUGMENT_BY_DATA, AUGMENTATIONS
from hwn2n.distil.data_options import IMAGE_FOLDER
from hwn2n.errors import InputError

OPTIMIZERS = ("sgd", "adam", "adamw")
SCHEDULES = ("constant", "cosine", "step", "onecycle")
PRECISIONS = ("fp32", "bf16", "auto")


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """Everything about a training that is not the network, the data or the loss.

    Attributes:
        epochs: passes over the images.
        batch_size: images of a step, at least 2 (batch norm needs them). A last batch of a single
            image is left out.
        optimizer: one of `OPTIMIZERS`.
        lr: the highest learning rate.
        momentum: of SGD; Adam keeps its own defaults.
        nesterov: Nesterov's form of momentum, SGD only.
        weight_decay: L2 for sgd and adam, decoupled for adamw; on all parameters.
        weight_decay_until: number of epochs after which the decay is 0; None keeps it.
        schedule: "constant"; "step" (times gamma at each milestone); "cosine" (to 0); "onecycle"
            (linearly to 0). All but "step" go by step, "step" by epoch.
        milestones: numbers of finished epochs at which "step" acts, ascending.
        gamma: factor of every milestone, or one factor for each.
        warmup: share of all steps, in [0, 1), in which the rate first rises linearly to `lr`.
        augment: a name in `AUGMENTATIONS`.
        precision: of the network and of its teacher: "fp32"; "bf16" (autocast, channels-last);
            "auto" (bf16 where it is fast).
        label_smoothing: of the cross-entropy in `CrossEntropy`; for teachers.
        clip_norm: largest norm of all gradients together; None does not clip.
        max_images: train on a stratified choice of so many images only, the same for all seeds.
        fresh: `max_images` are those of one epoch, and each epoch takes others, until all were
            seen; the same ones for all seeds.
        shared_views: the augmented images of an epoch are the same for all trainings, whatever
            their seed, so that a teacher is asked once for its logits of them (views.py).
        keep_best: end with the weights of the best validation epoch.
        patience: stop after so many epochs without a better validation accuracy.

    Raises:
        InputError: a value out of range.
    """

    epochs: int
    batch_size: int = 128
    optimizer: str = "sgd"
    lr: float = 0.1
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 0.0
    weight_decay_until: int | None = None
    schedule: str = "constant"
    milestones: tuple[int, ...] = ()
    gamma: float | tuple[float, ...] = 0.1
    warmup: float = 0.0
    augment: str = "none"
    precision: str = "auto"
    label_smoothing: float = 0.0
    clip_norm: float | None = None
    max_images: int | None = None
    fresh: bool = False
    shared_views: bool = False
    keep_best: bool = False
    patience: int | None = None

    def __post_init__(self) -> None:
        for name, value, allowed in (
            ("optimizer", self.optimizer, OPTIMIZERS),
            ("schedule", self.schedule, SCHEDULES),
            ("augment", self.augment, tuple(AUGMENTATIONS)),
            ("precision", self.precision, PRECISIONS),
        ):
            if value not in allowed:
                raise InputError(f"{name} must be one of {', '.join(allowed)}, but got {value!r}")
        for name, number, smallest in (
            ("epochs", self.epochs, 1),
            ("batch_size", self.batch_size, 2),
            ("max_images", self.max_images, 2),
            ("patience", self.patience, 1),
            ("weight_decay_until", self.weight_decay_until, 0),
        ):
            if number is not None and (number != int(number) or number < smallest):
                raise InputError(f"{name} must be a whole number >= {smallest}, but got {number}")
        for name, rate, low, high in (
            ("momentum", self.momentum, 0.0, 1.0),
            ("warmup", self.warmup, 0.0, 1.0),
            ("label_smoothing", self.label_smoothing, 0.0, 1.0),
            ("weight_decay", self.weight_decay, 0.0, float("inf")),
        ):
            if not low <= rate < high:
                raise InputError(f"{name} must be in [{low:g}, {high:g}), but got {rate}")
        if not (isfinite(self.lr) and self.lr > 0):
            raise InputError(f"lr must be positive, but got {self.lr}")
        if self.clip_norm is not None and not self.clip_norm > 0:
            raise InputError(f"clip_norm must be positive, but got {self.clip_norm}")
        if self.nesterov and not (self.optimizer == "sgd" and self.momentum > 0):
            raise InputError("nesterov must be False unless optimizer is sgd with momentum")
        if (
            list(self.milestones) != sorted(set(self.milestones))
            or min(self.milestones, default=1) < 1
        ):
            raise InputError(f"milestones must ascend from at least 1, but got {self.milestones}")
        if isinstance(self.gamma, tuple) and len(self.gamma) != len(self.milestones):
            raise InputError(
                f"gamma must have one factor for each of {len(self.milestones)} milestones, "
                f"but got {len(self.gamma)}"
            )


TEACHER_RECIPES: dict[str, TrainSettings] = {
    "paper-mnist": TrainSettings(
        epochs=20, batch_size=64, lr=0.01, momentum=0.9, keep_best=True, precision="fp32"
    ),
    "paper-cifar": TrainSettings(
        epochs=55,
        batch_size=200,
        lr=5e-3,
        momentum=0.9,
        weight_decay=5e-4,
        weight_decay_until=43,
        schedule="step",
        milestones=(18, 29, 43, 52),
        gamma=(0.2, 0.5, 0.2, 0.1),
        augment="crop-flip",
        keep_best=True,
        precision="fp32",
    ),
    "paper-resnet": TrainSettings(
        epochs=200,
        batch_size=128,
        lr=0.1,
        momentum=0.9,
        weight_decay=5e-4,
        schedule="step",
        milestones=(100, 150),
        gamma=0.1,
        augment="crop-flip",
        keep_best=True,
        precision="fp32",
    ),
    "fast": TrainSettings(
        epochs=30,
        batch_size=128,
        lr=0.1,
        momentum=0.9,
        nesterov=True,
        weight_decay=5e-4,
        schedule="onecycle",
        warmup=0.2,
        keep_best=True,
    ),
}

STUDENT_RECIPES: dict[str, TrainSettings] = {
    "paper-search": TrainSettings(
        epochs=5, batch_size=200, optimizer="adam", lr=5e-4, weight_decay=5e-4, precision="fp32"
    ),
    "paper-final": replace(TEACHER_RECIPES["paper-cifar"], augment="none"),
    "fast-search": TrainSettings(
        epochs=1,
        batch_size=32,
        optimizer="adamw",
        lr=1e-2,
        weight_decay=1e-2,
        schedule="cosine",
        warmup=0.1,
        max_images=10_000,
        fresh=True,
        shared_views=True,
    ),
    "fast-final": TrainSettings(
        epochs=30,
        batch_size=64,
        optimizer="adamw",
        lr=5e-3,
        weight_decay=1e-2,
        schedule="cosine",
        warmup=0.1,
        shared_views=True,
        keep_best=True,
    ),
}

# Epochs and batch of `fast` where they differ: easy sets need fewer steps or smaller ones.
FAST_BY_DATA: dict[str, tuple[int, int]] = {
    "digits": (15, 64),
    "mnist": (5, 128),
    "fashion-mnist": (15, 128),
    "svhn": (15, 128),
}


def default_recipe(data_name: str, arch: str, augment: str | None = None) -> TrainSettings:
    """The settings that `hwn2n teach` uses unless it is told others: `fast`, suited to the data.

    Args:
        data_name: as given to `load_data`.
        arch: the teacher's name. Plain VGGs are trained at half the rate: without shortcuts
            the deep ones start badly at 0.1.
        augment: what suits the images (`Data.augment`); by default what the name says of them.
    """
    # a function "cifar10:load" is no cifar10
    kind = "imagefolder" if data_name.startswith(IMAGE_FOLDER) else data_name
    settings = TEACHER_RECIPES["fast"]
    epochs, batch_size = FAST_BY_DATA.get(kind, (settings.epochs, settings.batch_size))
    return replace(
        settings,
        epochs=epochs,
        batch_size=batch_size,
        lr=settings.lr / 2 if arch.startswith("vgg") else settings.lr,
        augment=AUGMENT_BY_DATA.get(kind, "none") if augment is None else augment,
    )
