"""From an exported program's aten graph to operations and weights."""

from __future__ import annotations

import torch
from torch import fx
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind

from hwn2n.errors import InputError
from hwn2n.network.architecture import Architecture, Operation, owner
from hwn2n.network.aten import RULES
from hwn2n.network.aten.standardised import standardising
from hwn2n.network.folding import Folding
from hwn2n.network.translation import Translation, Weights, function


def translate(
    program: ExportedProgram, input_shape: tuple[int, int, int]
) -> tuple[Architecture, Weights]:
    """Operations and weights of an exported classifier with one image input, one logit output.

    Raises `InputError` for another form of program.
    """
    state = {**program.state_dict, **program.constants}
    tensors = {k: v for k, v in state.items() if isinstance(v, torch.Tensor)}
    found = Translation(tensors)
    _read_placeholders(found, program)
    output = ""
    folding = Folding(found)
    part_of_others = standardising(found, program.graph)
    for node in program.graph.nodes:
        if node.op == "call_function":
            if node not in part_of_others and not folding.folds(node):
                _add(found, node)
        elif node.op == "output":
            output = _output(found, node)
    operations = _needed(found.operations, output)
    used = {owner(op) for op in operations}
    weights = {k: v for k, v in found.weights.items() if k.rpartition(".")[0] in used}
    return Architecture(operations, input_shape, output), weights


def _read_placeholders(found: Translation, program: ExportedProgram) -> None:
    trainable = dict(program.named_parameters())
    by_name = {node.name: node for node in program.graph.nodes if node.op == "placeholder"}
    images = 0
    for spec in program.graph_signature.input_specs:
        node = by_name[spec.arg.name]
        if spec.kind is InputKind.USER_INPUT:
            images += 1
            found.add_image(node)
        elif spec.target in found.state:
            tensor = found.state[spec.target].detach().cpu().contiguous().clone()
            found.tensor_of[node] = (spec.target, tensor, spec.target in trainable)
    if images != 1:
        raise InputError(f"the model must have one input, the images, but has {images}")


def _add(found: Translation, node: fx.Node) -> None:
    """The operation of a call, whose result replaces its input where the call is in place."""
    target = str(node.target)
    name = target.split(".")[1] if target.startswith("aten.") else ""
    inplace = name.endswith("_") and not name.startswith("__")
    if inplace and node.args[0] in found.tensor_of:
        return  # batch normalisation's counter in a program exported in training mode
    if inplace:
        target = target.replace(f"{name}.", f"{name[:-1]}.", 1)
    rule = RULES.get(target, function)
    operation = rule(found, node, target) or function(found, node, target)
    found.operations[operation.name] = operation
    found.name_of[node] = operation.name
    if inplace:
        # whoever reads the changed tensor from here on reads the result
        found.name_of[node.args[0]] = operation.name  # type: ignore[index]


def _output(found: Translation, node: fx.Node) -> str:
    # buffers that training would have updated come first in an exported program
    results = [r for r in node.all_input_nodes if r in found.name_of]
    if len(results) != 1:
        raise InputError(
            f"the model must return one tensor of logits, but returns {len(results)} tensors"
        )
    name = found.name_of[results[0]]
    shape = found.operations[name].shape if name in found.operations else None
    if shape is None or len(shape) != 2 or shape[0] != -1:
        raise InputError(
            f"the model must return logits of shape (N, classes), but returns "
            f"{tuple(results[0].meta['val'].shape)}"
        )
    return name


def _needed(operations: dict[str, Operation], output: str) -> tuple[Operation, ...]:
    """Those that the output depends on, in the order in which they run."""
    wanted = {output}
    for operation in reversed(operations.values()):
        if operation.name in wanted:
            wanted.update(operation.inputs)
            wanted.add(owner(operation))
    return tuple(op for op in operations.values() if op.name in wanted)
