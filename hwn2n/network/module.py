"""From an architecture to an ordinary `torch.nn.Module`."""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import fx, nn

from hwn2n.network.architecture import INPUT, Architecture
from hwn2n.network.operators import rule


def instantiate(architecture: Architecture) -> fx.GraphModule:
    """Build the network with fresh weights (torch's own initialisation, from the global seed).

    Input: float images (N, C, H, W); output: logits (N, classes). Its modules have the names of
    the teacher's, batch normalisation and dropout follow `train()` and `eval()`, and it holds
    nothing of hwn2n's but the names in its graph.
    """
    root = nn.Module()
    graph = fx.Graph()
    values: dict[str, Any] = {INPUT: graph.placeholder("x")}
    holder = _Container(root)
    for op in architecture:
        inputs = tuple(values[name] for name in op.inputs)
        if tied := op.config.get("tied_to"):
            values[op.name] = graph.call_module(tied, inputs)
            continue
        if op.kind == "function":
            values[op.name] = _call(graph, op.config, inputs)
            continue
        built = rule(op).build(op)
        if isinstance(built, nn.Module):
            holder.add(op.name, built)
            values[op.name] = graph.call_module(op.name, inputs)
        else:
            values[op.name] = graph.call_function(built, inputs)
    graph.output(values[architecture.output])
    module = fx.GraphModule(root, graph, class_name="Student")
    module.eval()
    return module


def instantiate_with(
    architecture: Architecture, weights: dict[str, torch.Tensor]
) -> fx.GraphModule:
    """Build the network and load its weights (a state dict of exactly this architecture)."""
    module = instantiate(architecture)
    module.load_state_dict(weights)
    return module


class _Container:
    """Adds modules under dotted names, making the containers in between."""

    def __init__(self, root: nn.Module) -> None:
        self.root = root

    def add(self, path: str, module: nn.Module) -> None:
        *parents, last = path.split(".")
        at = self.root
        for name in parents:
            child = at._modules.get(name)
            if child is None:
                child = nn.Module()
                at.add_module(name, child)
            at = child
        at.add_module(last, module)


def _call(graph: fx.Graph, config: dict[str, Any], inputs: tuple[Any, ...]) -> fx.Node:
    """A plain call of an aten operator, so that the student's printed code shows it."""
    from hwn2n.network.operators.opaque import decode, resolve

    target = operator.getitem if config["target"] == "getitem" else resolve(config["target"])
    args = tuple(decode(config["args"], inputs))
    kwargs = {key: decode(value, inputs) for key, value in config["kwargs"].items()}
    return graph.call_function(target, args, kwargs)
