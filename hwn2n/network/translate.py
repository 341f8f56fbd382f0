"""From an exported program's aten graph to operations, one small function for each operator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import fx
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind

from hwn2n.errors import InputError
from hwn2n.network.architecture import INPUT, Architecture, Operation
from hwn2n.network.operators.opaque import encode
from hwn2n.network.operators.simple import ACTIVATIONS

Weights = dict[str, torch.Tensor]


def translate(
    program: ExportedProgram, input_shape: tuple[int, int, int]
) -> tuple[Architecture, Weights]:
    """Operations and weights of an exported classifier with one image input, one logit output."""
    return _Translation(program, input_shape).run()


class _Translation:
    def __init__(self, program: ExportedProgram, input_shape: tuple[int, int, int]) -> None:
        self.program = program
        self.input_shape = input_shape
        self.operations: dict[str, Operation] = {}
        self.weights: Weights = {}
        self.name_of: dict[fx.Node, str] = {}
        self.tensor_of: dict[fx.Node, tuple[str, torch.Tensor, bool]] = {}
        self.owner_of: dict[tuple[str, ...], str] = {}

    def run(self) -> tuple[Architecture, Weights]:
        graph = self.program.graph
        self._read_placeholders(graph)
        output = ""
        for node in graph.nodes:
            if node.op == "call_function":
                self._operation(node)
            elif node.op == "output":
                output = self._output(node)
        operations = _needed(self.operations, output)
        used = {op.config.get("tied_to", op.name) for op in operations}
        weights = {k: v for k, v in self.weights.items() if k.rsplit(".", 1)[0] in used}
        return Architecture(operations, self.input_shape, output), weights

    def _read_placeholders(self, graph: fx.Graph) -> None:
        state = {**self.program.state_dict, **self.program.constants}
        trainable = dict(self.program.named_parameters())
        by_name = {node.name: node for node in graph.nodes if node.op == "placeholder"}
        images = 0
        for spec in self.program.graph_signature.input_specs:
            node = by_name[spec.arg.name]
            if spec.kind is InputKind.USER_INPUT:
                images += 1
                self.name_of[node] = INPUT
            elif spec.target in state:
                tensor = state[spec.target].detach().cpu().contiguous().clone()
                self.tensor_of[node] = (spec.target, tensor, spec.target in trainable)
        if images != 1:
            raise InputError(f"the model must have one input, the images, but has {images}")

    def _output(self, node: fx.Node) -> str:
        results = node.args[0]
        if isinstance(results, list | tuple):
            # buffers that training would have updated come first in an exported program
            results = [r for r in results if r in self.name_of]
        if not isinstance(results, list) or len(results) != 1:
            raise InputError("the model must return one tensor of logits")
        name = self.name_of[results[0]]
        shape = self.operations[name].shape if name in self.operations else None
        if shape is None or len(shape) != 2:
            raise InputError(
                f"the model must return logits of shape (N, classes), but returns {shape}"
            )
        return name

    def _operation(self, node: fx.Node) -> None:
        target = str(node.target)
        inplace = target.split(".")[1].endswith("_") if target.startswith("aten.") else False
        if inplace and node.args[0] in self.tensor_of:
            return  # batch normalisation's counter in a program exported in training mode
        if inplace:
            target = target.replace("_.", ".", 1)
        handler = HANDLERS.get(target, _function)
        operation = handler(self, node, target) or _function(self, node, target)
        self.operations[operation.name] = operation
        self.name_of[node] = operation.name
        if inplace:
            # whoever reads the changed tensor from here on reads the result
            self.name_of[node.args[0]] = operation.name  # type: ignore[index]

    # what the handlers use

    def read(self, node: Any) -> str:
        """Name of the operation behind a graph node; a held tensor becomes an operation."""
        if node in self.name_of:
            return self.name_of[node]
        path, tensor, trainable = self.tensor_of[node]
        config = {
            "shape": list(tensor.shape),
            "dtype": str(tensor.dtype).removeprefix("torch."),
            "trainable": trainable,
        }
        name = self.unique(f"{path.replace('.', '_')}_held")
        self.weights[f"{name}.weight"] = tensor
        self.operations[name] = Operation(name, "constant", (), config, tuple(tensor.shape))
        self.name_of[node] = name
        return name

    def unique(self, wanted: str) -> str:
        """`wanted`, or `wanted_1` ... if that is taken."""
        name, count = wanted, 0
        while name in self.operations or name == INPUT:
            count += 1
            name = f"{wanted}_{count}"
        return name

    def named(self, node: fx.Node, function: str) -> str:
        """A name for an operation without weights: its module's path where it has one."""
        stack = list((node.meta.get("nn_module_stack") or {}).values())
        path, cls = stack[-1] if stack else ("", "")
        if path and str(cls).startswith("torch.nn.modules"):
            return self.unique(path)
        return self.unique(f"{path}.{function}" if path else function)

    def weighted(
        self, node: fx.Node, kind: str, config: dict[str, Any], **tensors: fx.Node | None
    ) -> Operation | None:
        """An operation that owns the given tensors, or None if they are not the model's own."""
        given = {key: value for key, value in tensors.items() if value is not None}
        if any(value not in self.tensor_of for value in given.values()) or "weight" not in given:
            return None
        paths = tuple(self.tensor_of[value][0] for value in given.values())
        shape = _shape(node)
        inputs = (self.read(node.args[0]),)
        if owner := self.owner_of.get(paths):
            name = self.unique(owner)
            return Operation(name, kind, inputs, {**config, "tied_to": owner}, shape)
        path = self.tensor_of[given["weight"]][0]
        name = self.unique(path.removesuffix(".weight") if path != "weight" else kind)
        self.owner_of[paths] = name
        for key, value in given.items():
            self.weights[f"{name}.{key}"] = self.tensor_of[value][1]
        return Operation(name, kind, inputs, config, shape)


def _needed(operations: dict[str, Operation], output: str) -> tuple[Operation, ...]:
    """Those that the output depends on, in the order in which they run."""
    wanted = {output}
    for operation in reversed(operations.values()):
        if operation.name in wanted:
            wanted.update(operation.inputs)
    return tuple(op for op in operations.values() if op.name in wanted)


def _shape(node: fx.Node) -> tuple[int, ...] | None:
    value = node.meta.get("val")
    if not isinstance(value, torch.Tensor):
        return None
    return tuple(int(d) if isinstance(d, int) else -1 for d in value.shape)


def _pair(value: Any) -> list[int]:
    values = list(value) if isinstance(value, list | tuple) else [value]
    return [int(v) for v in (values * 2 if len(values) == 1 else values)]


def _arguments(node: fx.Node, names: tuple[str, ...], defaults: dict[str, Any]) -> dict[str, Any]:
    """The operator's arguments by name, after the input."""
    given = dict(zip(names, node.args[1:], strict=False))
    return {**defaults, **given, **node.kwargs}


def _conv2d(t: _Translation, node: fx.Node, target: str) -> Operation | None:
    names = ("weight", "bias", "stride", "padding", "dilation", "groups")
    a = _arguments(
        node, names, {"bias": None, "stride": 1, "padding": 0, "dilation": 1, "groups": 1}
    )
    if a["weight"] not in t.tensor_of:
        return None
    shape = t.tensor_of[a["weight"]][1].shape
    padding, dilation = a["padding"], _pair(a["dilation"])
    if isinstance(padding, str):
        same = [d * (k - 1) for d, k in zip(dilation, shape[2:], strict=True)]
        if padding == "same" and any(total % 2 for total in same):
            return None
        padding = [total // 2 for total in same] if padding == "same" else 0
    config = {
        "in_channels": shape[1] * a["groups"],
        "out_channels": shape[0],
        "kernel_size": list(shape[2:]),
        "stride": _pair(a["stride"]),
        "padding": _pair(padding),
        "dilation": dilation,
        "groups": a["groups"],
        "depthwise": a["groups"] > 1 and a["groups"] == shape[0] == shape[1] * a["groups"],
        "bias": a["bias"] is not None,
    }
    return t.weighted(node, "conv2d", config, weight=a["weight"], bias=a["bias"])


def _linear(t: _Translation, node: fx.Node, target: str) -> Operation | None:
    a = _arguments(node, ("weight", "bias"), {"bias": None})
    if a["weight"] not in t.tensor_of:
        return None
    outputs, inputs = t.tensor_of[a["weight"]][1].shape
    config = {"in_features": inputs, "out_features": outputs, "bias": a["bias"] is not None}
    return t.weighted(node, "linear", config, weight=a["weight"], bias=a["bias"])


def _batch_norm(t: _Translation, node: fx.Node, target: str) -> Operation | None:
    names = ("weight", "bias", "running_mean", "running_var", "training", "momentum", "eps")
    a = _arguments(node, names, {})
    shape = _shape(node)
    if (
        a["weight"] is None
        or a["running_mean"] is None
        or shape is None
        or len(shape) not in (2, 4)
    ):
        return None
    config = {
        "num_features": shape[1],
        "eps": a["eps"],
        "momentum": a["momentum"],
        "affine": True,
        "track_running_stats": True,
    }
    operation = t.weighted(
        node,
        "batch_norm",
        config,
        weight=a["weight"],
        bias=a["bias"],
        running_mean=a["running_mean"],
        running_var=a["running_var"],
    )
    if operation is not None and "tied_to" not in operation.config:
        t.weights[f"{operation.name}.num_batches_tracked"] = torch.tensor(0)
    return operation


def _activation(t: _Translation, node: fx.Node, target: str) -> Operation | None:
    function = target.split(".")[1]
    args = list(node.args[1:])
    config = {"function": function, "args": args}
    if function == "hardtanh" and args == [0.0, 6.0]:
        config = {"function": "relu6", "args": []}
    if function == "gelu":
        config = {"function": "gelu", "args": [node.kwargs.get("approximate", "none")]}
    return Operation(
        t.named(node, function), "activation", (t.read(node.args[0]),), config, _shape(node)
    )


def _dropout(t: _Translation, node: fx.Node, target: str) -> Operation | None:
    config = {"p": node.args[1], "channels": "feature" in target}
    return Operation(
        t.named(node, "dropout"), "dropout", (t.read(node.args[0]),), config, _shape(node)
    )


def _pool2d(t: _Translation, node: fx.Node, target: str) -> Operation | None:
    kind = target.split(".")[1]
    third = "dilation" if kind == "max_pool2d" else "ceil_mode"
    names: tuple[str, ...] = ("kernel_size", "stride", "padding", third)
    names += ("ceil_mode",) if kind == "max_pool2d" else ("count_include_pad", "divisor_override")
    defaults = {"stride": [], "padding": 0, "dilation": 1, "ceil_mode": False}
    a = _arguments(node, names, {**defaults, "count_include_pad": True, "divisor_override": None})
    shape = _shape(node)
    if a["divisor_override"] is not None or shape is None or len(shape) != 4:
        return None
    config = {
        "kernel_size": _pair(a["kernel_size"]),
        "stride": _pair(a["stride"] or a["kernel_size"]),
        "padding": _pair(a["padding"]),
        "ceil_mode": bool(a["ceil_mode"]),
    }
    if kind == "max_pool2d":
        config["dilation"] = _pair(a["dilation"])
    else:
        config["count_include_pad"] = bool(a["count_include_pad"])
    return Operation(t.named(node, kind), kind, (t.read(node.args[0]),), config, shape)


def _adaptive(t: _Translation, node: fx.Node, target: str) -> Operation | None:
    shape = _shape(node)
    if shape is None or len(shape) != 4:
        return None
    config = {"output_size": _pair(node.args[1])}
    name = t.named(node, "adaptive_avg_pool2d")
    return Operation(name, "adaptive_avg_pool2d", (t.read(node.args[0]),), config, shape)


def _flatten(t: _Translation, node: fx.Node, target: str) -> Operation | None:
    """`flatten(x, 1)`, and the views that say the same."""
    source, shape = node.args[0], _shape(node)
    before = _shape(source)  # type: ignore[arg-type]
    if before is None or shape is None or len(shape) != 2 or shape[0] != -1:
        return None
    if any(d == -1 for d in before[1:]) or torch.Size(before[1:]).numel() != shape[1]:
        return None
    return Operation(t.named(node, "flatten"), "flatten", (t.read(source),), {}, shape)


def _mean(t: _Translation, node: fx.Node, target: str) -> Operation | None:
    before, dims = _shape(node.args[0]), node.args[1]  # type: ignore[arg-type]
    if before is None or len(before) != 4 or not isinstance(dims, list | tuple):
        return None
    if {int(d) % 4 for d in dims} != {2, 3}:  # type: ignore[arg-type, operator]
        return None
    keepdim = bool(node.args[2]) if len(node.args) > 2 else False
    config = {"keepdim": keepdim}
    return Operation(t.named(node, "mean"), "mean", (t.read(node.args[0]),), config, _shape(node))


def _binary(t: _Translation, node: fx.Node, target: str) -> Operation | None:
    kind = target.split(".")[1]
    left, right = node.args[:2]
    if not isinstance(left, fx.Node) or node.kwargs:
        return None
    if not isinstance(right, fx.Node):
        return _scalar(t, node, target)
    shapes = [_shape(left), _shape(right)]
    if any(shape is None or len(shape) != len(shapes[0] or ()) for shape in shapes):
        return None
    inputs = (t.read(left), t.read(right))
    return Operation(t.named(node, kind), kind, inputs, {}, _shape(node))


def _scalar(t: _Translation, node: fx.Node, target: str) -> Operation | None:
    """A tensor and a number: a function of each element."""
    if len(node.all_input_nodes) != 1:
        return None
    return _function(t, node, target).with_config(elementwise=True)


def _cat(t: _Translation, node: fx.Node, target: str) -> Operation | None:
    shape = _shape(node)
    if shape is None:
        return None
    dim = int(node.args[1]) if len(node.args) > 1 else 0  # type: ignore[arg-type]
    inputs = tuple(t.read(item) for item in node.args[0])  # type: ignore[union-attr]
    return Operation(t.named(node, "cat"), "cat", inputs, {"dim": dim % len(shape)}, shape)


def _function(t: _Translation, node: fx.Node, target: str) -> Operation:
    """Anything else: the aten operator itself, with its arguments."""
    sources = list(node.all_input_nodes)
    inputs = tuple(t.read(source) for source in sources)
    refs = {source: i for i, source in enumerate(sources)}
    if target.startswith("aten."):
        short = target.split(".")[1]
    elif "getitem" in target:
        target = short = "getitem"
    else:
        raise InputError(f"the model calls {target}, which is not an aten operator")
    config = {
        "target": target,
        "args": encode(list(node.args), refs),
        "kwargs": {key: encode(value, refs) for key, value in node.kwargs.items()},
    }
    return Operation(t.named(node, short), "function", inputs, config, _shape(node))


HANDLERS: dict[str, Callable[[_Translation, fx.Node, str], Operation | None]] = {
    "aten.conv2d.default": _conv2d,
    "aten.conv2d.padding": _conv2d,
    "aten.linear.default": _linear,
    "aten.batch_norm.default": _batch_norm,
    **{f"aten.{name}.default": _activation for name in ACTIVATIONS if name != "relu6"},
    "aten.dropout.default": _dropout,
    "aten.feature_dropout.default": _dropout,
    "aten.max_pool2d.default": _pool2d,
    "aten.avg_pool2d.default": _pool2d,
    "aten.adaptive_avg_pool2d.default": _adaptive,
    "aten.flatten.using_ints": _flatten,
    "aten.view.default": _flatten,
    "aten.reshape.default": _flatten,
    "aten._unsafe_view.default": _flatten,
    "aten.mean.dim": _mean,
    "aten.add.Tensor": _binary,
    "aten.sub.Tensor": _binary,
    "aten.mul.Tensor": _binary,
    "aten.div.Tensor": _scalar,
    "aten.cat.default": _cat,
}
