"""The state of a translation: operations found so far, and what stands behind each graph node."""

from __future__ import annotations

import keyword
import re
from typing import Any

import torch
from torch import fx, nn

from hwn2n.errors import InputError
from hwn2n.network.architecture import INPUT, Operation
from hwn2n.network.operators import Shape
from hwn2n.network.operators.opaque import encode

Weights = dict[str, torch.Tensor]


class Translation:
    """What the rules of `aten_rules` read from and add to.

    `operations` and `weights` are the result so far; `name_of` the operation behind a graph
    node, `tensor_of` the path, value and trainability of a parameter, buffer or constant that a
    node stands for; `folded` the value of a node that depends on no image; `state` the
    model's whole state, used or not.
    """

    def __init__(self, state: Weights) -> None:
        self.state = state
        self.operations: dict[str, Operation] = {}
        self.weights: Weights = {}
        self.name_of: dict[fx.Node, str] = {}
        self.tensor_of: dict[fx.Node, tuple[str, torch.Tensor, bool]] = {}
        self.folded: dict[fx.Node, torch.Tensor] = {}
        self._batch: Any = None
        self._alias: dict[fx.Node, fx.Node] = {}
        self._owner_of: dict[tuple[str, ...], str] = {}
        self._owned: dict[str, str] = {}
        self._held: set[str] = set()
        # Names of the modules that hold weights, and of those around them, are theirs alone.
        self._reserved = {INPUT, ""}
        for path in state:
            parts = path.split(".")[:-1]
            self._reserved.update(".".join(parts[: i + 1]) for i in range(len(parts)))

    def add_image(self, node: fx.Node) -> None:
        """The node is the model's input, whose first dimension is the batch."""
        self.name_of[node] = INPUT
        image = node.meta["val"]
        if not isinstance(image, torch.Tensor) or not image.dim():
            raise InputError("the model's input must be one tensor of images")
        self._batch = _expression(image.shape[0])

    def read(self, node: Any) -> str:
        """Name of the operation behind a graph node; a held tensor becomes an operation."""
        if node in self.name_of:
            return self.name_of[node]
        if node in self.folded:
            value = self.folded[node].detach().cpu().contiguous().clone()
            self.tensor_of[node] = (node.name, value, False)
        if node not in self.tensor_of:
            raise InputError(
                f"the model's forward pass must not change its own tensors, but {node} does"
            )
        path, tensor, trainable = self.tensor_of[node]
        config: dict[str, Any] = {
            "shape": list(tensor.shape),
            "dtype": str(tensor.dtype).removeprefix("torch."),
            "trainable": trainable,
        }
        name = self.unique(f"{path.replace('.', '_')}_held")
        if path in self._owned:
            config["of"] = self._owned[path]  # a weight that a layer has is that layer's own
        else:
            self._held.add(path)
            self.weights[f"{name}.weight"] = tensor
        self.operations[name] = Operation(name, "constant", (), config, tuple(tensor.shape))
        self.name_of[node] = name
        return name

    def alias(self, node: fx.Node, source: Any) -> Operation:
        """Readers of the node read `source` instead; returns the operation behind that."""
        self._alias[node] = source
        return self.operations[self.read(source)]

    def forget_folded(self) -> None:
        """Tensors that do not depend on images were written into: who reads them reads anew."""
        for node in self.folded:
            self.name_of.pop(node, None)
            self.tensor_of.pop(node, None)

    def shape(self, node: Any) -> Shape | None:
        """Shape of a node's tensor with -1 for the batch, -9 for nine times the batch.

        None for what is no tensor, and for sizes that depend on the batch in other ways.
        """
        node = self._alias.get(node, node)
        value = node.meta.get("val") if isinstance(node, fx.Node) else None
        if not isinstance(value, torch.Tensor):
            return None
        sizes = tuple(d if isinstance(d, int) else self._batches(d) for d in value.shape)
        return sizes if all(isinstance(d, int) for d in sizes) else None

    def _batches(self, size: torch.SymInt) -> int | None:
        """A multiple of the batch as a negative number; None for anything else."""
        try:
            times = _expression(size) / self._batch
        except TypeError:
            return None
        return -int(times) if times.is_Integer else None

    def unique(self, wanted: str) -> str:
        """`wanted`, or `wanted_1` ... if an operation or a module with weights is called so.

        Nor does it end in a name that every module has already, such as `half`.
        """
        name, count = wanted, 0
        while name in self.operations or name in self._reserved or _every_module_has(name):
            count += 1
            name = f"{wanted}_{count}"
        return name

    def named(self, node: fx.Node, function: str) -> str:
        """A name for an operation without weights: its module's path where it has one."""
        stack = list((node.meta.get("nn_module_stack") or {}).values())
        path, cls = stack[-1] if stack else ("", "")
        path = _callable(re.sub(r"@\d+", "", path))  # torch numbers repeated calls of a module
        if path and str(cls).startswith("torch.nn.modules"):
            return self.unique(path)
        return self.unique(f"{path}.{function}" if path else function)

    def weighted(
        self, node: fx.Node, kind: str, config: dict[str, Any], **tensors: fx.Node | None
    ) -> Operation | None:
        """An operation that owns the given tensors, or None if they are not the model's own.

        Tensors that an operation owns already are tied to it; None again where that one uses
        them in another way (with another stride, say).
        """
        given = {key: value for key, value in tensors.items() if value is not None}
        if any(value not in self.tensor_of for value in given.values()) or "weight" not in given:
            return None
        shape = self.shape(node)
        learned = ("weight", "bias", "gain")
        if shape is None or any(
            key in learned and not self.tensor_of[value][2] for key, value in given.items()
        ):
            return None  # a fixed filter (a buffer) must stay one, and count as none
        paths = tuple(self.tensor_of[value][0] for value in given.values())
        owner = self._owner_of.get(paths)
        if owner is not None and self.operations[owner].config != config:
            return None
        if owner is None and any(path in self._owned or path in self._held for path in paths):
            return None  # another operation has one of them, and it is held once
        inputs = (self.read(node.args[0]),)
        if owner is not None:
            name = self.unique(owner)
            return Operation(name, kind, inputs, {**config, "tied_to": owner}, shape)
        path = _callable(paths[0].removesuffix(".weight"))
        name = path  # the module's own, unless another use of other tensors has it already
        if path not in self._reserved or path in self.operations:
            name = self.unique(kind if path == "weight" else path)
        self._owner_of[paths] = name
        for key, value in given.items():
            self.weights[f"{name}.{key}"] = self.tensor_of[value][1]
            self._owned[self.tensor_of[value][0]] = f"{name}.{key}"
        return Operation(name, kind, inputs, config, shape)


def function(t: Translation, node: fx.Node, target: str) -> Operation:
    """Anything else: the operator itself, with its arguments.

    Raises InputError where the model calls something that is not aten's.
    """
    if target in _NOT_ATEN:
        target = short = _NOT_ATEN[target]
    elif target.startswith("aten."):
        short = target.split(".")[1]
    else:
        raise InputError(f"the model must call aten operators only, but calls {target}")
    sources = list(node.all_input_nodes)
    inputs = tuple(t.read(source) for source in sources)
    refs = {source: i for i, source in enumerate(sources)}
    shapes = [t.shape(source) for source in sources]
    config = {
        "target": target,
        "args": encode(list(node.args), refs),
        "kwargs": {key: encode(value, refs) for key, value in node.kwargs.items()},
        "input_shapes": [None if shape is None else list(shape) for shape in shapes],
    }
    return Operation(t.named(node, short), "function", inputs, config, t.shape(node))


_NOT_ATEN = {
    "<built-in function getitem>": "getitem",
    "<built-in function add>": "size.add",
    "<built-in function sub>": "size.sub",
    "<built-in function mul>": "size.mul",
    "<built-in function floordiv>": "size.floordiv",
}
"""Python's own functions in a graph, and what `opaque.NOT_ATEN` calls them."""


_OF_GRAPHS = ({*dir(fx.GraphModule), "meta", "shape_env"} - {*dir(nn.Module)}) | {
    "_graph",
    "_tracer_cls",
}


def _callable(path: str) -> str:
    """The path of a module where a graph can call it by that name: `class_` for `class`, `graph_`
    for `graph`, which a GraphModule has itself."""
    first, *rest = path.split(".")
    parts = [f"{first}_" if first in _OF_GRAPHS else first, *rest]
    return ".".join(f"{part}_" if keyword.iskeyword(part) else part for part in parts)


def _every_module_has(path: str) -> bool:
    """Whether the last part of a path is an attribute of `nn.Module` itself."""
    return hasattr(nn.Module, path.rpartition(".")[2])


def _expression(size: Any) -> Any:
    """A dynamic size as an expression that can be compared without fixing it."""
    return size.node.expr if isinstance(size, torch.SymInt) else size
