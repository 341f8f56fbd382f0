"""NVIDIA Model-Optimizer itself (`modelopt.torch.prune`): found, kept quiet, told its widths."""

from __future__ import annotations

import contextlib
import io
import random
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import nn

from hwn2n.errors import InputError, one_line

_CHANNELS = ("nn.Conv1d", "nn.Conv2d", "nn.Conv3d")
_FEATURES = ("nn.Linear", "nn.BatchNorm1d", "nn.BatchNorm2d", "nn.BatchNorm3d")


def prune_module() -> Any:
    """`modelopt.torch.prune`. Raises `InputError` where it is not installed."""
    try:
        with quiet():
            import modelopt.torch.prune as prune
            import torchprofile.profile  # noqa: F401  the tool counts FLOPs with it
    except ImportError as error:
        raise InputError(
            "this rival needs NVIDIA Model-Optimizer: pip install hwn2n[benchmarks] "
            f"({one_line(error)})"
        ) from error
    return prune


def width_rules(shares: Sequence[float]) -> dict[str, Any]:
    """FastNAS's rules with these shares of each layer's channels, divisible by 1."""
    rules: dict[str, Any] = prune_module().fastnas.FastNASConfig().model_dump()
    for kinds, ratio, divisor in (
        (_CHANNELS, "channels_ratio", "channel_divisor"),
        (_FEATURES, "features_ratio", "feature_divisor"),
    ):
        for kind in kinds:
            rules[kind]["*"] |= {ratio: tuple(shares), divisor: 1}
    return rules


def count_widths(teacher: nn.Module, shares: Sequence[float]) -> int:
    """How many widths of single layers FastNAS would score; `teacher` is converted in place."""
    prune = prune_module()
    with quiet():
        import modelopt.torch.nas as nas
        from modelopt.torch.opt.utils import named_hparams

        model = nas.convert(
            teacher,
            [("fastnas", width_rules(shares))],
            registry=prune.pruning.PruneModeRegistry,
        )
        return sum(len(set(p.choices)) for _, p in named_hparams(model, configurable=True))


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Both generators that the tool draws from begin at `seed`, and are put back afterwards."""
    state = random.getstate()
    random.seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        try:
            yield
        finally:
            random.setstate(state)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without the tool's progress bars and prints, of which there are some in every search."""
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        warnings.simplefilter("ignore")
        yield
