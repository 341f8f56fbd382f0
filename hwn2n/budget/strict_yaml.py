"""YAML without surprises: plain data, one meaning for each text, and a line for every value.

PyYAML reads YAML 1.1, where `on`, `yes` and `off` are booleans, `1e9` is text, `1:30` is ninety,
a key may stand twice (the last one wins), and a few aliases can expand to gigabytes. Here:

- scalars follow the core schema of YAML 1.2 (https://yaml.org/spec/1.2.2/#103-core-schema);
- duplicate keys, keys that are not text, anchors, aliases, tags and merge keys are refused;
- a file is UTF-8, at most `MAX_BYTES` long and nested at most `MAX_DEPTH` deep;
- each value remembers its line, so that an error found much later can name `file:line`.

Every refusal is an InputError "file:line: what must hold, and what was found" on one line.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from hwn2n.errors import InputError

MAX_BYTES = 64 * 1024
MAX_DEPTH = 16
MAX_NUMBER_LENGTH = 40  # also keeps int() and float() of hostile digits cheap

KeyPath = tuple[str | int, ...]


@dataclass(frozen=True)
class Document:
    """Plain data (dict, list, str, int, float, bool, None) and where each part of it stands.

    `lines` maps the path of each value, such as ("constraints", 0, "max"), to its line (the line
    of its key in a mapping), counted from 1. Data that came from Python has no lines.
    """

    data: Any
    name: str
    lines: dict[KeyPath, int] = field(default_factory=dict)

    def line(self, path: KeyPath) -> int | None:
        """The line of the value at `path`, or of the nearest value around it."""
        for end in range(len(path), -1, -1):
            if path[:end] in self.lines:
                return self.lines[path[:end]]
        return None

    def where(self, path: KeyPath = ()) -> str:
        """`file:line` of the value at `path`; without lines, the name and the path itself."""
        line = self.line(path)
        if line is not None:
            return f"{self.name}:{line}"
        dotted = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in path)
        return f"{self.name}: {dotted.lstrip('.')}" if dotted else self.name

    def error(self, path: KeyPath, message: str) -> InputError:
        """An InputError about the value at `path`, for the caller to raise."""
        return InputError(f"{self.where(path)}: {message}")


def load_yaml(path: str | Path) -> Document:
    """Read the YAML file at `path`. Raises InputError for all that is not strict YAML in UTF-8."""
    name = str(path)
    try:
        with Path(path).open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL byte in the path
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"{name!r} must be a readable YAML file; found: {reason}") from error
    if len(raw) > MAX_BYTES:
        raise InputError(f"{name}: a YAML file must be at most {MAX_BYTES} bytes long; this is not")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"{name}:{line}: a YAML file must be UTF-8 text; found byte 0x{raw[error.start]:02x}"
        ) from error
    return parse_yaml(text, name=name)


def parse_yaml(text: str, *, name: str = "text") -> Document:
    """Parse `text`; `name` stands for the file in messages. Raises InputError."""
    if len(text) > MAX_BYTES:
        raise InputError(f"{name}: YAML must be at most {MAX_BYTES} characters; found {len(text)}")
    try:
        loader: Any = _StrictLoader(text)
        try:
            root = loader.get_single_node()
        finally:
            loader.dispose()
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise InputError(
            f"{name}:{line}: YAML must be printable text; found {_character(error)}"
        ) from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        problem = " ".join(str(error.problem or error.context).split())
        raise InputError(f"{name}:{line}: the file must be strict YAML; {problem}") from error
    except (ValueError, OverflowError) as error:
        # PyYAML calls chr() on the digits of a "\U..." escape without a look at their range.
        line = loader.line + 1
        raise InputError(
            f"{name}:{line}: an escape must be a Unicode character; found: {error}"
        ) from error
    document = Document(data=None, name=name)
    if root is None:
        raise InputError(f"{name}:1: a YAML file must hold a mapping; found nothing")
    data = _build(root, (), document)
    return Document(data=data, name=name, lines=document.lines)


class _StrictLoader(yaml.SafeLoader):
    """Composes nodes with their marks; refuses what the module's docstring says is refused."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012  a class attribute of PyYAML's

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        for refused, what in (
            (isinstance(event, yaml.AliasEvent), "an alias"),
            (getattr(event, "anchor", None) is not None, "an anchor"),
            (getattr(event, "tag", None) is not None, "a tag"),
        ):
            if refused:
                found = getattr(event, "tag", None) if what == "a tag" else event.anchor
                raise yaml.MarkedYAMLError(
                    problem=f"anchors, aliases and tags are refused, found {what} {found!r}",
                    problem_mark=event.start_mark,
                )
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise yaml.MarkedYAMLError(
                problem=f"nesting must be at most {MAX_DEPTH} deep, found more",
                problem_mark=event.start_mark,
            )
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node


_NULL = re.compile(r"null|Null|NULL|~|")
_BOOL = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INT = re.compile(r"[-+]?[0-9]+")
_BASED = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_INF = re.compile(r"([-+]?)\.(inf|Inf|INF)")
_NAN = re.compile(r"\.(nan|NaN|NAN)")


def _scalar(text: str) -> Any:
    """The value of a plain (unquoted) scalar under the core schema of YAML 1.2."""
    if _NULL.fullmatch(text):
        return None
    if text in _BOOL:
        return _BOOL[text]
    if _NAN.fullmatch(text):
        return float("nan")
    if match := _INF.fullmatch(text):
        return float(f"{match[1]}inf")
    number = _INT.fullmatch(text) or _BASED.fullmatch(text) or _FLOAT.fullmatch(text)
    if number is None:
        return text
    if len(text) > MAX_NUMBER_LENGTH:
        raise ValueError(f"a number must have at most {MAX_NUMBER_LENGTH} characters")
    if _BASED.fullmatch(text):
        return int(text[2:], 8 if text[1] == "o" else 16)
    return int(text) if _INT.fullmatch(text) else float(text)


def _build(node: yaml.Node, path: KeyPath, document: Document) -> Any:
    """The plain value of `node`; the lines of it and of all inside it go into `document`."""
    line = node.start_mark.line + 1
    document.lines.setdefault(path, line)
    if isinstance(node, yaml.ScalarNode):
        return _build_scalar(node, path, document)
    if isinstance(node, yaml.SequenceNode):
        return [_build(item, (*path, index), document) for index, item in enumerate(node.value)]
    result: dict[str, Any] = {}
    key_lines: dict[str, int] = {}
    for key_node, value_node in node.value:
        key_line = key_node.start_mark.line + 1
        where = f"{document.name}:{key_line}"
        key = (
            _build_scalar(key_node, path, document)
            if isinstance(key_node, yaml.ScalarNode)
            else None
        )
        if not isinstance(key, str):
            raise InputError(f"{where}: a key must be text; found {_shown(key_node)}")
        if key in result:
            raise InputError(
                f"{where}: a key must stand once; found {key!r} on line {key_lines[key]} "
                f"and again on line {key_line}"
            )
        key_lines[key] = key_line
        document.lines[(*path, key)] = key_line
        result[key] = _build(value_node, (*path, key), document)
    return result


def _build_scalar(node: yaml.ScalarNode, path: KeyPath, document: Document) -> Any:
    where = f"{document.name}:{node.start_mark.line + 1}"
    text: str = node.value
    if any("\ud800" <= character <= "\udfff" for character in text):
        # A lone surrogate cannot be printed or written to a file again.
        raise InputError(f"{where}: text must be valid Unicode; found a lone surrogate")
    if node.style is not None:
        return text  # quoted and block scalars are text, whatever they look like
    try:
        return _scalar(text)
    except ValueError as error:
        raise InputError(f"{where}: {error}; found {len(text)}") from error


def _character(error: yaml.reader.ReaderError) -> str:
    code = error.character if isinstance(error.character, int) else ord(error.character)
    return f"character U+{code:04X}"


def _shown(node: yaml.Node) -> str:
    if isinstance(node, yaml.ScalarNode):
        return repr(node.value[:MAX_NUMBER_LENGTH])
    return "a mapping" if isinstance(node, yaml.MappingNode) else "a list"
