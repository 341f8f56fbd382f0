"""Optimisers, learning rates as a function of the step, and seeds as a function of the epoch.

Nothing here has a state besides the optimiser's own moments. That is what makes a resumed
training equal to an uninterrupted one: rate, order and augmentation follow from (seed, epoch).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from math import cos, pi

import numpy as np
import torch
from torch import nn

from hwn2n.distil.recipes import TrainSettings
from hwn2n.errors import InputError


def make_optimizer(model: nn.Module, settings: TrainSettings) -> torch.optim.Optimizer:
    """The optimiser of `settings` for all parameters that require a gradient.

    Raises:
        InputError: there is none.
    """
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not parameters:
        raise InputError("a network must have parameters that require a gradient, but has none")
    # the fused kernels exist for CPU and CUDA, and spare a Python loop over the parameters
    fused = parameters[0].device.type in ("cpu", "cuda")
    if settings.optimizer == "sgd":
        return torch.optim.SGD(
            parameters,
            lr=settings.lr,
            momentum=settings.momentum,
            nesterov=settings.nesterov,
            weight_decay=settings.weight_decay,
            fused=fused,
        )
    kind = torch.optim.Adam if settings.optimizer == "adam" else torch.optim.AdamW
    return kind(parameters, lr=settings.lr, weight_decay=settings.weight_decay, fused=fused)


def learning_rate(settings: TrainSettings, step: int, steps_per_epoch: int) -> float:
    """The rate of a step.

    With W warm-up steps of T in all: lr (step + 1) / W in the warm-up, then, with
    t = (step - W) / (T - W), lr for "constant", lr (1 + cos pi t) / 2 for "cosine", lr (1 - t) for
    "onecycle", and for "step" lr times the factors of the milestones passed.

    Args:
        settings: schedule, rate, milestones, warm-up.
        step: number of steps before this one.
        steps_per_epoch: number of steps of an epoch.
    """
    total = settings.epochs * steps_per_epoch
    warm = round(settings.warmup * total)
    if step < warm:
        return settings.lr * (step + 1) / warm
    t = (step - warm) / (total - warm)
    if settings.schedule == "cosine":
        return settings.lr * (1 + cos(pi * t)) / 2
    if settings.schedule == "onecycle":
        return settings.lr * (1 - t)
    rate = settings.lr
    if settings.schedule == "step":
        factors = settings.gamma
        if not isinstance(factors, tuple):
            factors = (factors,) * len(settings.milestones)
        for milestone, factor in zip(settings.milestones, factors, strict=True):
            if step // steps_per_epoch >= milestone:
                rate *= factor
    return rate


def weight_decay(settings: TrainSettings, epoch: int) -> float:
    """The weight decay of an epoch, counted from 0."""
    until = settings.weight_decay_until
    return settings.weight_decay if until is None or epoch < until else 0.0


def set_rates(optimizer: torch.optim.Optimizer, rate: float, decay: float) -> None:
    """Give all parameters this learning rate and weight decay."""
    for group in optimizer.param_groups:
        group["lr"] = rate
        group["weight_decay"] = decay


def epoch_seed(seed: int, epoch: int) -> int:
    """A well mixed seed of 63 bits for one epoch (counted from 0) of one training.

    Raises:
        InputError: the seed is negative.
    """
    if seed < 0:
        raise InputError(f"seed must not be negative, but got {seed}")
    return int(np.random.SeedSequence([seed, epoch]).generate_state(1, np.uint64)[0] >> 1)


@contextmanager
def global_generators_kept(device: torch.device) -> Iterator[None]:
    """Leave torch's global generators as they were: dropout draws from them."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        yield


def seed_global_generators(device: torch.device, seed: int) -> None:
    """Seed what dropout on `device` draws from, and nothing else."""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(seed)
