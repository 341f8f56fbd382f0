"""What is known about a network before it is trained or run for time: parameters, FLOPs, bytes.

FLOPs follow fvcore's convention, one fused multiply-add = one FLOP, so published figures of "MACs"
are comparable with these, and torch's FlopCounterMode says twice as much.

fvcore is wrapped here once, because used directly it
- leaks its hooks into the model, and leaves it in the middle of a trace, if the forward raises;
- runs the forward, so a model in training mode has its batch-norm statistics moved;
- counts zero for each operator it does not know, and tells only the log.
So it sees a deep copy in eval mode, with the rules of `flop_rules` beside its own; an uncounted
contraction (anything that multiplies and sums, custom kernels included) is an error. Then it runs
once more under torch's FlopCounterMode, which listens to the operators that really run,
decomposed: where that sees more multiply-adds, it is an error too (a forward may do less while it
is traced, and an operator may hide products behind a harmless name).
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from fvcore.nn import FlopCountAnalysis
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.utils.flop_counter import FlopCounterMode

from hwn2n.errors import MeasurementError, one_line
from hwn2n.hardware.flop_rules import (
    CONTRACTION_NAMES,
    CONTRACTIONS,
    SAME_AS_FVCORES,
    is_contraction,
)


@dataclass(frozen=True, kw_only=True)
class Counts:
    """The exact columns of one network.

    `params` counts unique parameters without buffers, `flops` those of one image, of which
    `contractions` in convolutions, products and attention (the rest in normalisation, adaptive
    pooling and interpolation), `weight_bytes` the bytes of unique parameters and persistent
    buffers. `uncounted` holds the operators that were taken for free and how often each stands in
    the graph (activations, pooling, additions).
    """

    params: int
    flops: int
    contractions: int
    weight_bytes: int
    uncounted: dict[str, int]


def count(model: nn.Module, example_input: Tensor) -> Counts:
    """Count `model` on `example_input` (batch, channels, height, width), on any device.

    FLOPs are divided by the batch, so they are those of one image. The model is left as it was,
    to the last bit, hooks and modes included, even where its forward raises. Raises
    MeasurementError where the model cannot be copied or traced, has parameters without a shape,
    contains contractions that would be counted as zero, or has fewer multiply-adds by our count
    than by torch's.
    """
    if example_input.dim() < 1 or example_input.shape[0] < 1:
        raise MeasurementError(
            f"counting needs at least one image; found the shape {tuple(example_input.shape)}"
        )
    lazy = [n for n, p in model.named_parameters() if is_lazy(p)]
    if lazy:
        raise MeasurementError(
            f"parameters must have a shape before counting; found {lazy[0]} lazy"
        )
    with _undisturbed(example_input):
        subject = _copied(model)
        flops, uncounted = _traced(subject, example_input)
        contractions = sum(flops[name] for name in flops if name in CONTRACTION_NAMES)
        _check(contractions, subject, example_input)
    batch = example_input.shape[0]
    return Counts(
        params=sum(parameter.numel() for parameter in model.parameters()),
        flops=round(sum(flops.values()) / batch),
        contractions=round(contractions / batch),
        weight_bytes=sum(t.numel() * t.element_size() for t in _stored_tensors(model)),
        uncounted=uncounted,
    )


def _stored_tensors(model: nn.Module) -> Iterator[Tensor]:
    """Unique parameters, then unique buffers that are part of the state dict."""
    yield from model.parameters()
    persistent = model.state_dict(keep_vars=True).keys()
    seen: set[int] = set()
    for name, buffer in model.named_buffers(remove_duplicate=False):
        if name in persistent and id(buffer) not in seen:
            seen.add(id(buffer))
            yield buffer


@contextmanager
def _undisturbed(example_input: Tensor) -> Iterator[None]:
    """No gradients, no warnings; torch's random state and its fast path as they were afterwards.

    The fast path is off meanwhile: it fuses a transformer layer into one operator that neither
    counter looks into.
    """
    devices = [example_input.device] if example_input.device.type == "cuda" else []
    fast = torch.backends.mha.get_fastpath_enabled()
    with torch.no_grad(), torch.random.fork_rng(devices), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.backends.mha.set_fastpath_enabled(False)
        try:
            yield
        finally:
            torch.backends.mha.set_fastpath_enabled(fast)


def _copied(model: nn.Module) -> nn.Module:
    """A deep copy in eval mode, without gradients."""
    try:
        subject = copy.deepcopy(model)
    except Exception as error:
        raise MeasurementError(
            "the model must be copyable to be counted; found "
            f"{type(error).__name__}: {one_line(error)}"
        ) from error
    for module in subject.modules():
        # Set directly: modules from torch.export refuse .eval(), and have no modes to change.
        module.training = False
    # FlopCounterMode asks for the history of each argument that could have one.
    return subject.requires_grad_(False)


def _traced(subject: nn.Module, example_input: Tensor) -> tuple[dict[str, int], dict[str, int]]:
    """FLOPs of the whole batch by operator, and how often each uncounted operator was seen."""
    # of its own, for a network may work in place on what it is given
    analysis = FlopCountAnalysis(subject, (example_input.clone(),))
    analysis.set_op_handle(**CONTRACTIONS, **SAME_AS_FVCORES)
    analysis.unsupported_ops_warnings(False)
    analysis.uncalled_modules_warnings(False)
    analysis.tracer_warnings("none")
    try:
        flops = {name: int(number) for name, number in analysis.by_operator().items()}
    except Exception as error:
        raise MeasurementError(
            "the model must be traceable to be counted, on an input of shape "
            f"{tuple(example_input.shape)}; found {type(error).__name__}: {one_line(error)}"
        ) from error
    uncounted = dict(sorted(analysis.unsupported_ops().items()))
    contractions = [name for name in uncounted if is_contraction(name)]
    if contractions:
        raise MeasurementError(
            "every contraction must be counted in the FLOPs; there is no rule for "
            + ", ".join(f"{name} ({uncounted[name]}x)" for name in contractions)
        )
    return flops, uncounted


def _check(contractions: int, subject: nn.Module, example_input: Tensor) -> None:
    """Raise MeasurementError where torch's counter sees more multiply-adds than `contractions`.

    It counts two FLOPs for each. Fewer are no fault: it knows no fused recurrent layers, no
    matrix-vector products and no distances.
    """
    try:
        with FlopCounterMode(display=False) as counter:
            subject(example_input.clone())
    except Exception as error:
        raise MeasurementError(
            "the model must run under torch's FlopCounterMode to be counted, on an input of shape "
            f"{tuple(example_input.shape)}; found {type(error).__name__}: {one_line(error)}"
        ) from error
    seen = int(counter.get_total_flops()) // 2
    if seen > contractions:
        raise MeasurementError(
            "every contraction must be counted in the FLOPs; the trace of the batch has "
            f"{contractions:,} multiply-adds, but torch's FlopCounterMode saw {seen:,}"
        )
