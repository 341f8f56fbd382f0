"""Readers of what `hwn2n check` writes: GitHub's workflow commands and markdown tables."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from markdown_it import MarkdownIt
from markdown_it.token import Token


class Command(NamedTuple):
    """A workflow command, unescaped."""

    name: str
    properties: dict[str, str]
    message: str


def commands(text: str) -> list[Command]:
    """The workflow commands in a step's output, as GitHub's runner reads them.

    Line by line: leading space is dropped, the line must begin with "::", and the next "::" ends
    the properties, which are split at "," and "=".
    """
    found = []
    for line in text.replace("\r\n", "\n").replace("\r", "\n").split("\n"):
        stripped = line.lstrip()
        if not stripped.startswith("::") or "::" not in stripped[2:]:
            continue
        head, _, message = stripped[2:].partition("::")
        name, _, given = head.partition(" ")
        properties = {}
        for part in filter(None, given.strip().split(",")):
            key, _, value = part.partition("=")
            properties[key] = _unescaped(value, {"%3A": ":", "%2C": ","})
        found.append(Command(name, properties, _unescaped(message, {})))
    return found


def _unescaped(text: str, more: dict[str, str]) -> str:
    # "%25" last, so that "%250A" is "%0A" and no line break.
    for code, sign in ({"%0D": "\r", "%0A": "\n"} | more | {"%25": "%"}).items():
        text = text.replace(code, sign)
    return text


class Page(NamedTuple):
    """What a reader of the markdown sees: heading, table with its headings first, list."""

    heading: str
    table: list[list[str]]
    items: list[str]


def page(text: str) -> Page:
    """The visible text of a check's markdown, by a CommonMark parser with GitHub's tables."""
    tokens = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(text)
    heading, items, table = "", [], []  # type: ignore[var-annotated]
    inside = ""
    for token in tokens:
        if token.type in ("heading_open", "list_item_open", "th_open", "td_open"):
            inside = token.type
        elif token.type == "tr_open":
            table.append([])
        elif token.type == "inline":
            shown = _shown(token)
            if inside == "heading_open":
                heading = shown
            elif inside == "list_item_open":
                items.append(shown)
            else:
                table[-1].append(shown)
    return Page(heading, table, items)


def _shown(token: Token) -> str:
    """The text of a line; anything but plain text in it is a fault of the escapes."""
    children: list[Any] = token.children or []
    strange = [child.type for child in children if child.type not in ("text", "text_special")]
    assert not strange, (strange, token.content)
    text = "".join(child.content for child in children)
    assert not re.search(r"[@#](?!\u200b)", text), text  # GitHub would link it
    return re.sub(r"([@#])\u200b", r"\1", text)
