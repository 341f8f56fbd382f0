"""Reports as tests read them: the page parsed, its data, and candidates made by hand."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from hwn2n.run.candidate import Candidate, State

VOID = frozenset({"meta", "link", "br", "img", "input", "hr"})


class Page(HTMLParser):
    """Elements, their attributes, and texts; fails where elements are not closed in order."""

    def __init__(self, path: Path) -> None:
        super().__init__(convert_charrefs=True)
        self.size = path.stat().st_size
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: dict[str, str] = {}
        self.styles: list[str] = []
        self.text = ""
        self._open: list[str] = []
        self._attributes: list[dict[str, str | None]] = []
        self.feed(path.read_text("utf-8"))
        self.close()
        assert not self._open, self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)
            self._attributes.append(dict(attrs))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag
        self._attributes.pop()

    def handle_data(self, data: str) -> None:
        inside = self._open[-1] if self._open else ""
        if inside == "script":
            name = self._attributes[-1].get("id") or "page"
            self.scripts[name] = self.scripts.get(name, "") + data
        elif inside == "style":
            self.styles.append(data)
        else:
            self.text += data

    @property
    def data(self) -> Any:
        """What the page's script reads."""
        return json.loads(self.scripts["page-data"])

    @property
    def figures(self) -> Any:
        """Charts by their names."""
        return json.loads(self.scripts["page-figures"])

    def tags(self, name: str) -> list[dict[str, str | None]]:
        """The attributes of all elements of a name."""
        return [attributes for tag, attributes in self.elements if tag == name]

    @property
    def words(self) -> str:
        """The text with single spaces."""
        return " ".join(self.text.split())


def candidate(number: int, **changes: Any) -> Candidate:
    """A trained candidate; `cost` maps columns to exact values."""
    cost = changes.pop("cost", {"params": 100})
    values: dict[str, Any] = {
        "stage": "removal",
        "iteration": 0,
        "rollout": number,
        "state": State.TRAINED,
        "key": f"k{number}",
        "actions": (),
        "decision": {"removed": [], "widths": {}, "kernels": {}},
        "cost": {name: {"value": value, "how": "exact"} for name, value in cost.items()},
        "accuracy": 0.5,
        "reward": 0.5,
        "terms": {"compression": 0.5, "base": 0.5},
        "satisfied": True,
        "id": number,
    }
    return Candidate(**{**values, **changes})
