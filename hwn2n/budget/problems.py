"""pydantic's errors in hwn2n's own words: one line with the file and the line in it."""

from __future__ import annotations

import difflib
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from hwn2n.budget.strict_yaml import Document, KeyPath
from hwn2n.budget.target_schema import DEVICE_PATTERN, NAME_PATTERN
from hwn2n.errors import InputError

_TYPES = {
    "model_type": "a mapping",
    "dict_type": "a mapping",
    "list_type": "a list",
    "string_type": "text",
    "int_type": "a whole number",
    "float_type": "a number",
}

_PATTERNS = {
    NAME_PATTERN: "a name must begin with a letter or digit, and then be of these and . _ - only",
    DEVICE_PATTERN: "a device must be cpu, cuda or cuda:N",
}


def translated(error: ValidationError, document: Document, model: type[BaseModel]) -> InputError:
    """The first problem of `error` in the order of the file, as one line with `file:line`.

    `model` is what the document was to be, whose keys are known.
    """
    problems = [(_path(detail["loc"], document.data), detail) for detail in error.errors()]
    path, detail = min(problems, key=lambda problem: document.line(problem[0]) or 0)
    return document.error(path, _message(path, detail, model))


def _path(loc: tuple[int | str, ...], data: Any) -> KeyPath:
    """The keys of `loc` that lead into `data`, without the names pydantic adds for unions."""
    path: list[int | str] = []
    for key in loc:
        if isinstance(data, list):
            inside = isinstance(key, int) and key < len(data)
        else:
            inside = isinstance(data, dict) and key in data
        if inside:
            path.append(key)
            data = data[key]
    return tuple(path)


def _message(path: KeyPath, detail: ErrorDetails, model: type[BaseModel]) -> str:
    key = str(detail["loc"][-1]) if detail["loc"] else ""
    kind = detail["type"]
    if kind == "extra_forbidden":
        near = difflib.get_close_matches(key, sorted(_keys(model)), n=1)
        hint = f"; did you mean {near[0]!r}?" if near and near[0] != key else ""
        if path[:1] == ("constraints",) and key in ("metric", "sum"):
            return "a row must have either metric or sum; found both"
        return f"only known keys may stand here; found {shown(key)}{hint}"
    if kind == "missing":
        return f"the key {key!r} must be given; found none"
    if kind == "value_error":
        return str(detail["ctx"]["error"])
    if path[:1] == ("constraints",) and path[-1] in ("max", "min", "scale"):
        return f"a quantity such as 5M, 10ms or 60% must stand here; found {shown(detail['input'])}"
    if kind == "string_pattern_mismatch":
        return f"{_PATTERNS[detail['ctx']['pattern']]}; found {shown(detail['input'])}"
    if kind in _TYPES:
        return f"{_TYPES[kind]} must stand here; found {shown(detail['input'])}"
    must = detail["msg"][0].lower() + detail["msg"][1:]
    return f"{must}; found {shown(detail['input'])}"


def _keys(kind: Any) -> set[str]:
    """The keys of a model and of all models inside it, which `kind` may be or hold."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        fields = kind.model_fields
        inner = [_keys(field.annotation) for field in fields.values()]
        return set(fields).union(*inner)
    return set().union(*(_keys(part) for part in get_args(kind)))


def shown(value: Any) -> str:
    """`value` on one line and short enough for a message."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
