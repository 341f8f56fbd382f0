"""Capture: from any traceable network to an `Architecture` and its weights.

torch.export gives the operator graph whatever classes the user wrote; each aten operator that
`hwn2n.network.aten` knows becomes an operation with a rule, every other one a `function` that runs
unchanged. Nothing is skipped in silence, and the captured network is compared with the teacher
before anything is done with it.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.export import Dim, ExportedProgram, export

from hwn2n.errors import InputError, one_line
from hwn2n.network.aliasing import functional
from hwn2n.network.architecture import Architecture
from hwn2n.network.module import instantiate_with
from hwn2n.network.translate import translate

_TOLERANCE = 1e-5
_EXAMPLE_BATCH = 2


@dataclass(frozen=True)
class Captured:
    """A network as data: its architecture, and its state dict under the architecture's names.

    `unused` are the model's parameters on which no logit depends, with their sizes: an auxiliary
    classifier's, say. They are not captured.
    """

    architecture: Architecture
    weights: dict[str, torch.Tensor]
    unused: Mapping[str, int] = field(default_factory=dict)

    @property
    def said_unused(self) -> str | None:
        """For people, such as "45 parameters (aux.weight, ...) take no part in the logits"."""
        if not self.unused:
            return None
        names = ", ".join([*self.unused][:2]) + (", ..." if len(self.unused) > 2 else "")
        return f"{sum(self.unused.values()):,} parameters ({names}) take no part in the logits"

    def module(self) -> nn.Module:
        """A fresh copy of the network."""
        return instantiate_with(
            self.architecture, {key: value.clone() for key, value in self.weights.items()}
        )


def capture(
    model: nn.Module,
    input_shape: tuple[int, int, int],
    program: ExportedProgram | None = None,
) -> Captured:
    """Capture a classifier.

    `model` maps images (N, C, H, W) to logits (N, classes); `input_shape` is (C, H, W); `program`
    the model as exported already (a `.pt2`), if it was. The model itself is left as it was,
    training mode included. Raises `InputError` if torch.export cannot trace it, if it is not such
    a classifier, or if the captured network does not compute what the model computes (to 1e-5).
    """
    program = functional(program or _export(model, input_shape))
    architecture, weights = translate(program, input_shape)
    captured = Captured(architecture, weights, _unused(program))
    _compare(captured, model, input_shape)
    return captured


def _unused(program: ExportedProgram) -> dict[str, int]:
    nodes = {node.name: node for node in program.graph.nodes}
    sizes = {name: tensor.numel() for name, tensor in program.named_parameters()}
    return {
        spec.target: sizes[spec.target]
        for spec in program.graph_signature.input_specs
        if spec.target in sizes and not nodes[spec.arg.name].users
    }


def _export(model: nn.Module, input_shape: tuple[int, int, int]) -> ExportedProgram:
    device = next(model.parameters(), torch.empty(0)).device
    example = torch.zeros((_EXAMPLE_BATCH, *input_shape), device=device)
    with _evaluating(model), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with torch.no_grad():
                logits = model(example)
        except Exception as error:
            raise InputError(
                f"the model must accept images of shape (N, {', '.join(map(str, input_shape))}), "
                f"but it failed: {type(error).__name__}: {one_line(error)}"
            ) from error
        _check_logits(logits)
        try:
            with _unsaid():
                return export(model, (example,), dynamic_shapes=({0: Dim("batch")},), strict=False)
        except Exception as error:
            raise InputError(
                f"torch.export must be able to trace the model with a dynamic batch, but it "
                f"failed: {type(error).__name__}: {one_line(error)}"
            ) from error


def _check_logits(logits: Any) -> None:
    if isinstance(logits, torch.Tensor) and logits.dim() == 2:
        return
    found = type(logits).__name__
    if isinstance(logits, torch.Tensor):
        found = f"shape {tuple(logits.shape)}"
    raise InputError(f"the model must return logits of shape (N, classes), but returns {found}")


def _compare(captured: Captured, model: nn.Module, input_shape: tuple[int, int, int]) -> None:
    """The capture must compute what the model computes, whatever torch.export made of it."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn((3, *input_shape), generator=generator)
    device = next(model.parameters(), images).device
    with _evaluating(model), torch.no_grad():
        wanted = model(images.to(device, copy=True)).cpu()
        found = captured.module()(images)
    if not bool(torch.isfinite(wanted).all()):
        raise InputError(
            "the model must give finite logits, but gives NaN or infinite ones on random images"
        )
    scale = max(1.0, wanted.abs().max().item())
    difference = (wanted - found).abs().max().item()
    if not difference <= _TOLERANCE * scale:
        raise InputError(
            "the captured network must compute what the model computes, but differs by "
            f"{difference:.3g} (does its forward pass depend on random numbers?)"
        )


@contextlib.contextmanager
def _unsaid() -> Iterator[None]:
    """torch prints the graph of what it cannot trace, beside the error that says so."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield


@contextlib.contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode, and every module's own mode again afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    for module, _ in modes:
        # not by eval(), which exported programs refuse and users' own may do more in
        module.training = False
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
