"""The JSON of an exported program, rebuilt from what is known to be harmless.

torch turns strings of this document into Python source and runs it: the names of values and of
arguments, which stand unquoted in the generated `forward`; the guards, as whole expressions;
the shape expressions, through sympy; module and class names of input trees, which it imports
(all seen with torch 2.15). None of that is a pickle, so weights-only loading does not stop it.
Here every string must stand under a field whose values have a known form, and a field that
nothing needs is left out. A string in an unknown field is refused, so that a later torch which
adds a field cannot open a hole unnoticed.
"""

from __future__ import annotations

import json
import keyword
import re
from collections.abc import Callable
from typing import Any

from hwn2n.errors import InputError
from hwn2n.network.files.expressions import clean_expression
from hwn2n.network.files.operators import check_operator

_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_DOTTED = re.compile(r"[A-Za-z0-9_\-]+(\.[A-Za-z0-9_\-]+)*")
_VERSION = re.compile(r"[0-9A-Za-z.+_\-]{0,64}")
_MODULE_STACK = re.compile(r"[A-Za-z0-9_.,;:$@<>()\[\]'/ \-]*")
_SYMBOL = re.compile(r"[a-z]{1,3}[0-9]{1,6}")
_DEVICES = frozenset({"cpu", "cuda", "mps", "xpu"})
_DIALECTS = frozenset({"TRAINING", "ATEN"})
_LONGEST_TEXT = 1000

# Fields replaced by a constant: code (guards), and what serves only debugging. Their loss costs
# the checks of the input's shape, which `interface` makes instead.
_REPLACED: dict[str, Any] = {"guards_code": [], "treespec_namedtuple_fields": {}}


def clean_program(data: bytes, where: str) -> dict[str, Any]:
    """The document in `data` with nothing in it that could run; `where` begins the errors.

    Devices become the CPU, so that a program exported on a GPU loads anywhere. Raises InputError
    where the document holds a string of another form than torch writes.
    """
    try:
        document = json.loads(data)
        if not isinstance(document, dict) or not isinstance(document.get("graph_module"), dict):
            raise ValueError("a program must be an object with a graph_module")
        return _clean_object(document)
    except (ValueError, RecursionError) as error:  # a UnicodeDecodeError is a ValueError
        reason = "its JSON is nested too deeply" if isinstance(error, RecursionError) else error
        raise InputError(
            f"{where}: the exported program must contain only names, numbers and aten operators,"
            f" because torch runs its texts as code; refused: {reason}"
        ) from error


def _clean(value: Any, field: str) -> Any:
    if isinstance(value, str):
        if (rule := _RULES.get(field)) is None:
            raise ValueError(f"a text in field {field!r}, which hwn2n does not know")
        return rule(value)
    if isinstance(value, list):
        return [_clean(item, field) for item in value]
    if isinstance(value, dict):
        return _clean_object(value, field)
    return value


def _clean_object(value: dict[str, Any], field: str = "") -> dict[str, Any]:
    if field == "metadata":
        return _clean_metadata(value)
    if field in ("device", "as_device"):
        return _clean_device(value)
    cleaned = {}
    for key, item in value.items():
        # Fields of a record and names of values alike: all are identifiers.
        _clean_symbol(key) if field == "range_constraints" else _clean_identifier(key)
        cleaned[key] = _REPLACED[key] if key in _REPLACED else _clean(item, key)
    return cleaned


def _clean_metadata(value: dict[str, Any]) -> dict[str, Any]:
    """Of a node's metadata only the modules it stands in, which give layers their names."""
    stack = value.get("nn_module_stack")
    if isinstance(stack, str) and _MODULE_STACK.fullmatch(stack):
        return {"nn_module_stack": stack}
    return {}


def _clean_device(value: dict[str, Any]) -> dict[str, Any]:
    if (kind := str(value.get("type"))) not in _DEVICES:
        raise ValueError(f"devices must be among {sorted(_DEVICES)}, found {kind[:80]!r}")
    return {"type": "cpu", "index": None}


def _clean_identifier(text: str) -> str:
    if not _IDENTIFIER.fullmatch(text) or keyword.iskeyword(text):
        raise ValueError(f"names must be identifiers, found {text[:80]!r}")
    return text


def _clean_optional_identifier(text: str) -> str:
    return _clean_identifier(text) if text else text


def _clean_symbol(text: str) -> str:
    # torch counts up to the number in the name of an unbacked symbol (u0, zuf0): keep it short.
    return text if _SYMBOL.fullmatch(text) else clean_expression(text)


def _clean_dotted(text: str) -> str:
    if text and not _DOTTED.fullmatch(text):
        raise ValueError(f"names of weights must be dotted names, found {text[:80]!r}")
    return text


def _clean_operator(text: str) -> str:
    check_operator(text)
    return text


def _clean_text(text: str) -> str:
    if len(text) > _LONGEST_TEXT or not text.isprintable():
        raise ValueError("arguments of operators must be short printable texts")
    return text


def _clean_float(text: str) -> str:
    if text not in ("Infinity", "-Infinity", "NaN"):
        raise ValueError(f"numbers must be numbers, found {text[:80]!r}")
    return text


def _clean_version(text: str) -> str:
    if not _VERSION.fullmatch(text):
        raise ValueError(f"versions must be versions, found {text[:80]!r}")
    return text


def _clean_dialect(text: str) -> str:
    # Other dialects name verifier classes, which decide what a graph may call.
    if text not in _DIALECTS:
        raise ValueError(f"the dialect must be one of {sorted(_DIALECTS)}, found {text[:80]!r}")
    return text


def _clean_tree(text: str) -> str:
    """The structure of inputs or outputs: JSON in a string, with the types of its containers."""
    protocol, tree = json.loads(text)
    if protocol != 1:
        raise ValueError(f"the input tree must have protocol 1, found {protocol!r}")
    return json.dumps([1, _clean_subtree(tree)])


def _clean_subtree(tree: dict[str, Any]) -> dict[str, Any]:
    if not isinstance(tree, dict) or not isinstance(tree.get("children_spec"), list):
        raise ValueError("an input tree must consist of objects with children")
    kind, children = tree.get("type"), [_clean_subtree(child) for child in tree["children_spec"]]
    context: str | None = None
    if kind == "builtins.dict":
        keys = json.loads(tree["context"]) if isinstance(tree.get("context"), str) else None
        if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
            raise ValueError("dictionaries of an input tree must have names as keys")
        context = json.dumps([_clean_identifier(key) for key in keys])
    elif kind in ("builtins.tuple", "builtins.list"):
        context = "null"
    elif kind is not None:
        # Others are imported by name (collections.defaultdict, enums) or need their class.
        raise ValueError(f"inputs must be tensors in tuples, lists or dicts, found {kind!r}")
    return {"type": kind, "context": context, "children_spec": children}


_RULES: dict[str, Callable[[str], str]] = {
    "name": _clean_optional_identifier,
    "as_name": _clean_identifier,
    "forward_arg_names": _clean_identifier,
    "user_input_name": _clean_identifier,
    "parameter_name": _clean_dotted,
    "buffer_name": _clean_dotted,
    "tensor_constant_name": _clean_dotted,
    "fqn": _clean_dotted,
    "target": _clean_operator,
    "as_operator": _clean_operator,
    "as_string": _clean_text,
    "as_strings": _clean_text,
    "as_float": _clean_float,
    "as_floats": _clean_float,
    "expr_str": clean_expression,
    "in_spec": _clean_tree,
    "out_spec": _clean_tree,
    "verifiers": _clean_dialect,
    "dialect": _clean_dialect,
    "torch_version": _clean_version,
}
