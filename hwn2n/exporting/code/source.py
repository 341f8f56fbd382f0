"""The whole file: a docstring, the class, and a function that loads it with its weights."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hwn2n.errors import InputError, one_line
from hwn2n.exporting.code.classes import classes
from hwn2n.exporting.code.names import Variables, attributes
from hwn2n.exporting.code.printers import Printed, print_operation
from hwn2n.exporting.code.syntax import Expression, Text, call, flat, lines, literal, sequence
from hwn2n.network.architecture import INPUT, Architecture, Operation
from hwn2n.network.counts import count

_SHAPE_COLUMN = 88
_NAMED_CLASSES = 20
_UNSAFE = re.compile(r"[^ -~]|[\\\"]")


@dataclass(frozen=True)
class Source:
    """`text` of the file, and what each weight's name in the student is called in it."""

    text: str
    keys: dict[str, str]


def student_source(
    architecture: Architecture,
    state: Sequence[str],
    *,
    weights_file: str,
    description: Mapping[str, Any],
    half: bool = False,
) -> Source:
    """A program with a class `Student` that computes what the architecture does.

    Raises InputError for a damaged architecture, from anybody's file: nothing in it may reach the
    program but names and numbers.

    `state`: the names of the student's state dict. `weights_file` lies beside the program when it
    runs, with the names of `Source.keys`. `half`: the weights are float16.
    """
    shared = [op for op in architecture if owner(op) == op.name]
    wanted = {op.name: _wanted_name(op) for op in shared}
    attribute = attributes(wanted)
    try:
        printed = _print_all(architecture, attribute)
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"the network cannot be written as code: {error!r}") from error
    init = ["        super().__init__()"]
    for op in shared:
        init += _init(op, attribute[op.name], printed[op.name])
    forward = _forward(architecture, printed)
    text = "\n".join(
        [
            *_head(architecture, weights_file, description),
            *classes(architecture),
            "class Student(nn.Module):",
            f'    """Images {_shape((-1, *architecture.input_shape))} to logits."""',
            "",
            "    def __init__(self) -> None:",
            *init,
            "",
            "    def forward(self, x: Tensor) -> Tensor:",
            *forward,
            "",
            "",
            *_load(half),
            "",
        ]
    )
    return Source(text, _keys(state, shared, attribute, printed))


def owner(op: Operation) -> str:
    """The operation whose weights it uses: its own, or those of the one that it is tied to."""
    if "of" in op.config:
        return str(op.config["of"]).rpartition(".")[0]
    return str(op.config.get("tied_to", op.name))


def _wanted_name(op: Operation) -> str:
    """The operation's own name; a tensor of the network's own loses what capture appended."""
    return op.name.removesuffix("_held") if op.kind == "constant" else op.name


def _print_all(architecture: Architecture, attribute: Mapping[str, str]) -> dict[str, Printed]:
    """Each operation as code, its inputs in the fewest variables."""
    last: dict[str, int] = {}
    for i, op in enumerate(architecture):
        last |= dict.fromkeys(op.inputs, i)
    variables = Variables()
    values: dict[str, Expression] = {INPUT: Text(variables.hold(INPUT))}
    printed: dict[str, Printed] = {}
    for i, op in enumerate(architecture):
        inputs = tuple(values[name] for name in op.inputs)
        name = attribute[owner(op)]
        found = printed[op.name] = print_operation(op, name, inputs)
        for read in op.inputs:
            if last[read] == i:
                variables.drop(read)
        values[op.name] = found.value if found.inline else Text(variables.hold(op.name))
    # the variable of each result, for the assignment
    for op in architecture:
        found = printed[op.name]
        if not found.inline:
            target = flat(values[op.name])
            steps = (*found.steps, (target, found.value))
            printed[op.name] = Printed(
                value=values[op.name], layer=found.layer, buffer=found.buffer, steps=steps
            )
    return printed


def _init(op: Operation, attribute: str, printed: Printed) -> list[str]:
    if printed.layer is None:
        return []
    if printed.buffer:
        registered = call("self.register_buffer", literal(attribute), printed.layer)
        return lines("", registered, indent=2)
    return lines(f"self.{attribute} = ", printed.layer, indent=2)


def _forward(architecture: Architecture, printed: Mapping[str, Printed]) -> list[str]:
    written: list[str] = []
    block: str | None = None
    before: tuple[int, ...] | None = (-1, *architecture.input_shape)
    for op in architecture:
        steps = printed[op.name].steps
        if not steps:
            continue
        parent = op.name.rpartition(".")[0]
        if parent != block:  # a comment on entering a part of the network, a gap on leaving one
            written += [f"        # {one_line(parent, 60)}"] if parent else [""] if block else []
        block = parent
        for target, value in steps:
            written += lines(f"{target} = ", value, indent=2)
        if op.shape is not None and op.shape != before:
            before = op.shape
            written[-1] = _with_note(written[-1], _shape(op.shape))
    returned = flat(printed[architecture.output].value)
    return [*written, f"        return {returned}"]


def _with_note(line: str, note: str) -> str:
    """The line with a comment behind it, where there is room."""
    noted = f"{line}  # {note}"
    return noted if len(noted) <= _SHAPE_COLUMN else line


def _shape(shape: tuple[int, ...]) -> str:
    return f"({', '.join('N' if size == -1 else str(size) for size in shape)})"


def _head(
    architecture: Architecture, weights_file: str, description: Mapping[str, Any]
) -> list[str]:
    counts = count(architecture)
    data = description.get("data")
    # the name may come from anybody's file, and must not end the docstring
    about = f" for {re.sub(_UNSAFE, '?', one_line(str(data), 40))}" if data else ""
    head = [
        f'"""A network of {counts.params:,} parameters{about}, written by hwn2n.',
        "",
        "It needs torch and safetensors only. `load()` reads the weights beside this file.",
        '"""',
        "",
        "from pathlib import Path",
        "",
        "import torch",
        "from safetensors.torch import load_file",
        "from torch import Tensor, nn",
        "",
        *lines("WEIGHTS = Path(__file__).with_name(", literal(weights_file), indent=0, suffix=")"),
    ]
    for name in ("mean", "std"):
        if (values := description.get(name)) is not None:
            expression = sequence([literal(float(value)) for value in values], of=tuple)
            note = "  # of each channel, for pixels in 0..1" if name == "mean" else ""
            head += lines(f"{name.upper()} = ", expression, indent=0, suffix=note)
    classes = description.get("classes")
    if classes is not None and len(classes) <= _NAMED_CLASSES:
        names = sequence([literal(str(name)) for name in classes], of=tuple)
        head += lines("CLASSES = ", names, indent=0)
    return [*head, "", ""]


def _load(half: bool) -> list[str]:
    made = "Student().half()" if half else "Student()"
    return [
        'def load(weights: str | Path = WEIGHTS, device: str = "cpu") -> Student:',
        '    """The network with its weights, in eval mode."""',
        f"    model = {made}",
        "    model.load_state_dict(load_file(weights))",
        "    return model.to(torch.device(device)).eval()",
    ]


def _keys(
    state: Sequence[str],
    operations: Sequence[Operation],
    attribute: Mapping[str, str],
    printed: Mapping[str, Printed],
) -> dict[str, str]:
    """The student's names of weights to those of the file."""
    found = {}
    names = {op.name for op in operations if printed[op.name].layer is not None}
    for key in state:
        owner, _, rest = key.rpartition(".")
        tensor = rest
        while owner not in names:
            owner, _, rest = owner.rpartition(".")
            tensor = f"{rest}.{tensor}"
        # a parameter or buffer is no module: it has no name of its own inside one
        found[key] = attribute[owner] if printed[owner].inline else f"{attribute[owner]}.{tensor}"
    return found
