"""The layer graph: a network as plain data, without its weights.

The teacher, captured, and every student, planned, are the same type, so that one set of
functions counts, relates, bypasses, builds and saves both. An `Architecture` is immutable and
JSON-able: together with a file of weights it is enough to rebuild the network without the
teacher (`architecture.json` of a run).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from hwn2n.errors import InputError

INPUT = "<images>"
"""Name under which operations refer to the images; no module of a network can be called so."""

FORMAT_VERSION = 1


class IllegalArchitectureError(InputError):
    """A decision that no network can be built from; its text is the reason.

    The search gives such a candidate the reward of a degenerate one (section 3.3: -1).
    """


@dataclass(frozen=True)
class Operation:
    """One step of the forward pass.

    `name` is unique; for operations with weights it is the module path in the teacher, so that
    `name + ".weight"` is the key of its weight in a state dict. `kind` is a key of
    `operators.OPERATORS`. `inputs` names the operations whose outputs it reads, in order.
    `config` holds JSON-able hyper-parameters only. `shape` is the output's shape with the batch
    dimension first, where -1 stands for the batch; `None` where the output is not one tensor.
    """

    name: str
    kind: str
    inputs: tuple[str, ...]
    config: dict[str, Any] = field(default_factory=dict)
    shape: tuple[int, ...] | None = None
    source: str | None = None
    """The operation of the teacher this one descends from, where names were made unique."""

    def with_config(self, **changes: Any) -> Operation:
        """The same operation with some hyper-parameters changed."""
        return replace(self, config={**self.config, **changes})


def owner(operation: Operation) -> str:
    """The operation that has the weights which this one uses: itself, or the one it is tied to."""
    if "of" in operation.config:
        return str(operation.config["of"]).rpartition(".")[0]
    return str(operation.config.get("tied_to", operation.name))


@dataclass(frozen=True)
class Architecture:
    """Operations in topological order, the shape of one image (C, H, W), and the output's name."""

    operations: tuple[Operation, ...]
    input_shape: tuple[int, int, int]
    output: str

    def __iter__(self) -> Iterator[Operation]:
        return iter(self.operations)

    def __len__(self) -> int:
        return len(self.operations)

    def by_name(self) -> dict[str, Operation]:
        """Operations by name."""
        return {operation.name: operation for operation in self.operations}

    def readers(self) -> dict[str, list[str]]:
        """For each operation and the input: the names of those that read it, in order."""
        found: dict[str, list[str]] = {INPUT: []}
        for operation in self.operations:
            found[operation.name] = []
        for operation in self.operations:
            for name in operation.inputs:
                found[name].append(operation.name)
        return found

    def key(self) -> str:
        """Canonical key: equal for equal networks, however their operations were named.

        Operations are numbered in topological order and hashed with kind, wiring and
        hyper-parameters; 16 hexadecimal digits of SHA-256.
        """
        number = {INPUT: -1} | {op.name: i for i, op in enumerate(self.operations)}
        rows = []
        for op in self.operations:
            config = dict(op.config)
            if owner(op) != op.name:
                config |= {"tied_to": number[owner(op)]}
                config["of"] = str(config.get("of", "")).rpartition(".")[2]
            rows.append((op.kind, [number[name] for name in op.inputs], sorted(config.items())))
        text = json.dumps([list(self.input_shape), number[self.output], rows])
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def to_json(self) -> dict[str, Any]:
        """JSON-able form, the inverse of `from_json`."""
        return {
            "format": "hwn2n-architecture",
            "version": FORMAT_VERSION,
            "input_shape": list(self.input_shape),
            "output": self.output,
            "operations": [
                {
                    "name": op.name,
                    "kind": op.kind,
                    "inputs": list(op.inputs),
                    "config": op.config,
                    "shape": None if op.shape is None else list(op.shape),
                }
                for op in self.operations
            ],
        }

    @classmethod
    def from_json(cls, data: Any, *, source: str = "architecture") -> Architecture:
        """Read what `to_json` wrote; `InputError` names `source` and what is wrong."""
        if not isinstance(data, dict) or data.get("format") != "hwn2n-architecture":
            raise InputError(f"{source}: must be an hwn2n architecture (format hwn2n-architecture)")
        if data.get("version") != FORMAT_VERSION:
            raise InputError(
                f"{source}: version must be {FORMAT_VERSION}, but got {data.get('version')!r}"
            )
        try:
            operations = tuple(_operation(row) for row in data["operations"])
            channels, height, width = (_positive(size) for size in data["input_shape"])
            output = str(data["output"])
        except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise InputError(f"{source}: damaged architecture ({error!r})") from error
        known = {INPUT}
        for operation in operations:
            if operation.name in known:
                raise InputError(f"{source}: {operation.name!r} must be made once, but is twice")
            needed = (*operation.inputs, *({owner(operation)} - {operation.name}))
            if missing := [name for name in needed if name not in known]:
                raise InputError(
                    f"{source}: {operation.name} reads {missing[0]!r} before it is made"
                )
            known.add(operation.name)
        if output not in known - {INPUT}:
            raise InputError(f"{source}: the output {output!r} is not among the operations")
        return cls(operations, (channels, height, width), output)


def _operation(row: dict[str, Any]) -> Operation:
    if not isinstance(row["inputs"], list) or not isinstance(row["config"], dict):
        raise TypeError("inputs must be a list and config an object")
    shape = row["shape"]
    return Operation(
        name=str(row["name"]),
        kind=str(row["kind"]),
        inputs=tuple(str(name) for name in row["inputs"]),
        config=row["config"],
        shape=None if shape is None else tuple(int(size) for size in shape),
    )


def _positive(size: Any) -> int:
    if not isinstance(size, int) or size < 1:
        raise ValueError(f"sizes must be whole numbers from 1, found {size!r}")
    return size
