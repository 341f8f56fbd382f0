"""From an architecture to an ordinary `torch.nn.Module`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import fx, nn

from hwn2n.errors import InputError
from hwn2n.network.architecture import INPUT, Architecture, Operation
from hwn2n.network.blank import Blank, blank
from hwn2n.network.operators import rule
from hwn2n.network.operators.opaque import decode, resolve


def instantiate(architecture: Architecture) -> fx.GraphModule:
    """Build the network with fresh weights (torch's own initialisation, from the global seed).

    Input: float images (N, C, H, W); output: logits (N, classes). Its modules have the names of
    the teacher's, and batch normalisation and dropout follow `train()` and `eval()`; it comes in
    eval mode. Raises `InputError` for an architecture whose operations cannot be built (a
    damaged file).
    """
    return _instantiate(architecture, lambda op: rule(op).build(op))


def _instantiate(architecture: Architecture, build: Callable[[Operation], Any]) -> fx.GraphModule:
    root = nn.Module()
    graph = fx.Graph()
    values: dict[str, Any] = {INPUT: graph.placeholder("x")}
    for op in architecture:
        inputs = tuple(values[name] for name in op.inputs)
        try:
            values[op.name] = _call(op, inputs, root, graph, build)
        except (
            LookupError,
            TypeError,
            ValueError,
            AttributeError,
            RuntimeError,
            ArithmeticError,
        ) as error:
            raise InputError(f"{op.name} ({op.kind}) cannot be built: {error!r}") from error
    graph.output(values[architecture.output])
    module = fx.GraphModule(root, graph, class_name="Student")
    module.eval()
    return module


def instantiate_with(
    architecture: Architecture, weights: dict[str, torch.Tensor]
) -> fx.GraphModule:
    """Build the network around `weights`, a state dict of exactly this architecture.

    The tensors become the network's own, without a copy and without drawing random numbers.
    Raises `InputError` if they are not those that the architecture needs.
    """
    with Blank():
        module = _instantiate(architecture, blank)
    problems = _assign(module, weights)
    if problems:
        raise InputError(f"the weights must be those of the architecture, but {problems[0]}")
    return module


def _assign(module: nn.Module, weights: dict[str, torch.Tensor]) -> list[str]:
    """Give a module the tensors of a state dict as its own; what does not fit.

    What `load_state_dict(assign=True)` does; its hooks took a good part of building a student.
    """
    problems = []
    left = dict(weights)
    for path, part in module.named_modules():
        for held in (part._parameters, part._buffers):
            for name, old in held.items():
                if old is None:
                    continue
                key = f"{path}.{name}" if path else name
                new = left.pop(key, None)
                if new is None:
                    problems.append(f"{key} is missing")
                elif new.shape != old.shape:
                    found, wanted = tuple(new.shape), tuple(old.shape)
                    problems.append(f"{key} has shape {found} instead of {wanted}")
                elif isinstance(old, nn.Parameter):
                    held[name] = nn.Parameter(new, requires_grad=old.requires_grad)
                else:
                    held[name] = new
    return [*problems, *(f"{key} is none of its keys" for key in left)]


def _call(
    op: Operation,
    inputs: tuple[Any, ...],
    root: nn.Module,
    graph: fx.Graph,
    build: Callable[[Operation], Any],
) -> fx.Node:
    if owner := op.config.get("tied_to"):
        return graph.call_module(owner, inputs)
    if weight := op.config.get("of"):
        return graph.get_attr(weight)
    if op.kind == "function":
        # called as itself and not through its rule, so that the student's code shows it
        args = tuple(decode(op.config["args"], inputs))
        kwargs = {key: decode(value, inputs) for key, value in op.config["kwargs"].items()}
        return graph.call_function(resolve(op.config["target"]), args, kwargs)
    built = build(op)
    if not isinstance(built, nn.Module):
        return graph.call_function(built, inputs)
    _add(root, op.name, built)
    return graph.call_module(op.name, inputs)


def _add(root: nn.Module, path: str, module: nn.Module) -> None:
    """Add a module under a dotted name, making the containers in between."""
    *parents, last = path.split(".")
    at = root
    for name in parents:
        child = at._modules.get(name)
        if child is None:
            child = nn.Module()
            at.add_module(name, child)
        at = child
    container = at._modules.get(last)
    if container is not None:
        # a module with weights that calls others, made before it
        module._modules.update(container._modules)
    at.add_module(last, module)
