"""What an exported program takes and returns, read from its (cleaned) JSON before it is loaded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hwn2n.errors import InputError

_HOW_TO_EXPORT = (
    "torch.export.export(model.eval(), (images,),"
    ' dynamic_shapes=({0: torch.export.Dim("batch")},)) with at least 2 images'
)

# What reading a document of another form can raise: missing parts, other types, infinite sizes.
_MALFORMED = (LookupError, TypeError, AttributeError, ValueError, ArithmeticError, StopIteration)


@dataclass(frozen=True, kw_only=True)
class Interface:
    """Shape of one image, (C, H, W), and number of classes of the program."""

    input_shape: tuple[int, int, int]
    classes: int


def read_interface(
    program: dict[str, Any], input_shape: tuple[int, int, int] | None, where: str
) -> Interface:
    """The interface of a classifier; `input_shape` fills in dimensions left dynamic.

    Raises InputError unless the program has one image tensor (batch, C, H, W) as its only input
    and one tensor (batch, classes) as its only output, with a dynamic batch dimension, and was
    exported for evaluation.
    """
    try:
        return _read(program["graph_module"], input_shape, where)
    except _MALFORMED as error:
        raise InputError(
            f"{where}: the exported program must describe its graph as torch.export.save does,"
            f" but a part is missing or of another form ({type(error).__name__}: {error})"
        ) from error


def _read(module: dict[str, Any], wanted: tuple[int, int, int] | None, where: str) -> Interface:
    graph, signature = module["graph"], module["signature"]
    _check_evaluation(graph, signature, where)
    image = _sizes(_single(signature["input_specs"], "user_input", "input", where), graph)
    logits = _sizes(_single(signature["output_specs"], "user_output", "output", where), graph)
    if len(image) != 4:
        raise InputError(
            f"{where}: the program's input must be images of rank 4 (batch, C, H, W), but it has"
            f" shape {_shown(image)}"
        )
    if len(logits) != 2 or logits[1] is None:
        raise InputError(
            f"{where}: the program's output must be logits of rank 2 (batch, classes), but it has"
            f" shape {_shown(logits)}"
        )
    if image[0] is not None or logits[0] is not None:
        raise InputError(
            f"{where}: the program's batch dimension must be dynamic, but it was exported for"
            f" {_shown(image)} -> {_shown(logits)}; export it again with {_HOW_TO_EXPORT}"
        )
    spec = module["module_call_graph"][0]["signature"]["in_spec"]
    if spec != _ONE_POSITIONAL_INPUT:
        raise InputError(
            f"{where}: the program must take the images as its only positional argument; export it"
            f" with {_HOW_TO_EXPORT}"
        )
    if wanted is not None and any(
        size is not None and size != want for size, want in zip(image[1:], wanted, strict=True)
    ):
        raise InputError(
            f"{where}: the input shape must be that of the program, {_shown(image[1:])}, but"
            f" {wanted} was asked for"
        )
    if None in image[1:] and wanted is None:
        raise InputError(
            f"{where}: the program takes images of shape {_shown(image[1:])}; say which by"
            " --input-shape C,H,W"
        )
    channels, height, width = wanted or image[1:]
    return Interface(
        input_shape=(int(channels or 0), int(height or 0), int(width or 0)), classes=logits[1]
    )


_ONE_POSITIONAL_INPUT = (
    '[1, {"type": "builtins.tuple", "context": "null", "children_spec": ['
    '{"type": "builtins.tuple", "context": "null", "children_spec": ['
    '{"type": null, "context": null, "children_spec": []}]}, '
    '{"type": "builtins.dict", "context": "[]", "children_spec": []}]}]'
)


def _single(specs: list[dict[str, Any]], kind: str, word: str, where: str) -> str:
    """Name of the only tensor among the user's inputs or outputs."""
    kinds = ("user_input", "constant_input") if kind == "user_input" else (kind,)
    found = [spec for spec in specs if any(each in spec for each in kinds)]
    arguments = [next(iter(spec[kind]["arg"])) if kind in spec else "constant" for spec in found]
    if arguments != ["as_tensor"]:
        listed = ", ".join(argument.removeprefix("as_") for argument in arguments) or "none"
        raise InputError(
            f"{where}: the program must have exactly one tensor {word}, but it has"
            f" {len(arguments)} {word}s ({listed})"
        )
    return str(found[0][kind]["arg"]["as_tensor"]["name"])


def _sizes(name: str, graph: dict[str, Any]) -> tuple[int | None, ...]:
    """Sizes of a value, None where dynamic."""
    sizes = graph["tensor_values"][name]["sizes"]
    return tuple(int(size["as_int"]) if "as_int" in size else None for size in sizes)


def _shown(sizes: tuple[int | None, ...]) -> str:
    return "(" + ", ".join("dynamic" if size is None else str(size) for size in sizes) + ")"


def _check_evaluation(graph: dict[str, Any], signature: dict[str, Any], where: str) -> None:
    """Refuse what `model.train()` exports: its logits depend on chance and on the batch."""
    found = [
        node["target"]
        for node in graph["nodes"]
        if any(
            argument["name"] in ("train", "training", "use_input_stats")
            and argument["arg"].get("as_bool") is True
            for argument in node["inputs"]
        )
    ]
    found += [
        kind for spec in signature["output_specs"] for kind in spec if not kind.startswith("user_o")
    ]
    if found:
        raise InputError(
            f"{where}: the program must be exported for evaluation, but it contains {found[0]} in"
            f" training mode; export it again with {_HOW_TO_EXPORT}"
        )
