"""Python expressions as small trees, printed the way `ruff format` and black leave them.

A line is kept whole up to 88 characters, black's default; a longer one is broken at its outermost
bracket, one item a line, with a trailing comma. Formatters keep such a list as it is whatever
line length they are set to.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

LINE_LENGTH = 88
INDENT = "    "


@dataclass(frozen=True)
class Text:
    """An expression that is not broken: a name, a number, a sum of two names."""

    text: str


@dataclass(frozen=True)
class Bracket:
    """Items between brackets, after what stands in front: a call, a list, a tuple."""

    front: str
    items: tuple[Expression, ...]
    close: str = ")"
    keys: tuple[str, ...] = ()
    """Names of the last items, where those are keyword arguments."""

    def labelled(self) -> list[tuple[str, Expression]]:
        """The items with `name=` before those that have one."""
        plain = len(self.items) - len(self.keys)
        labels = [""] * plain + [f"{key}=" for key in self.keys]
        return list(zip(labels, self.items, strict=True))


Expression = Text | Bracket


def call(function: str, *args: Expression, **kwargs: Expression) -> Bracket:
    """`function(*args, **kwargs)`."""
    return Bracket(f"{function}(", (*args, *kwargs.values()), keys=tuple(kwargs))


def sequence(items: Sequence[Expression], *, of: type = list) -> Bracket:
    """`[...]`, or `(...)` of a tuple."""
    return Bracket("[", tuple(items), "]") if of is list else Bracket("(", tuple(items))


def literal(value: Any) -> Expression:
    """A number, text, None, dtype, or a list or tuple of them, as Python writes it.

    Raises TypeError for what has no literal.
    """
    if isinstance(value, list | tuple):
        return sequence(
            [literal(item) for item in value], of=list if type(value) is list else tuple
        )
    if isinstance(value, str):
        return Text(_quoted(value))
    if isinstance(value, float) and not math.isfinite(value):
        return Text(f'float("{value}")')
    if isinstance(value, torch.dtype | torch.memory_format | torch.layout):
        return Text(str(value))
    if value is None or isinstance(value, bool | int | float):
        return Text(repr(value))
    raise TypeError(f"no literal for {type(value).__name__}")


def _quoted(text: str) -> str:
    """The text in double quotes; what does not print is escaped, lone surrogates of the names of
    files too."""
    signs = (
        f"\\{sign}" if sign in '\\"' else sign if sign.isprintable() else f"\\U{ord(sign):08x}"
        for sign in text
    )
    return f'"{"".join(signs)}"'


def flat(expression: Expression) -> str:
    """The expression on one line."""
    if isinstance(expression, Text):
        return expression.text
    items = ", ".join(f"{label}{flat(item)}" for label, item in expression.labelled())
    lone = expression.front == "(" and len(expression.items) == 1
    return f"{expression.front}{items}{',' if lone else ''}{expression.close}"


def lines(prefix: str, expression: Expression, *, indent: int, suffix: str = "") -> list[str]:
    """`prefix expression suffix` as lines, indented by so many levels."""
    start = f"{INDENT * indent}{prefix}"
    whole = f"{start}{flat(expression)}{suffix}"
    if len(whole) <= LINE_LENGTH or isinstance(expression, Text) or not expression.items:
        return [whole]
    broken = [f"{start}{expression.front}"]
    for label, item in expression.labelled():
        broken += lines(label, item, indent=indent + 1, suffix=",")
    return [*broken, f"{INDENT * indent}{expression.close}{suffix}"]
