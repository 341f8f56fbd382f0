"""A student beside its teacher, layer by layer; also in the short form that a page carries."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from hwn2n.errors import InputError
from hwn2n.network.architecture import Architecture
from hwn2n.network.counts import Counts, count, count_each
from hwn2n.network.decision import Decision
from hwn2n.network.planner import Planner
from hwn2n.network.wording import shape_text
from hwn2n.search.changes import changes
from hwn2n.search.inspection import Row, find_rows
from hwn2n.search.settings import Settings

Status = Literal["removed", "shrunk", "grown", "kept"]


@dataclass(frozen=True, kw_only=True)
class TeacherLayer:
    """A layer of the teacher; `operations` are its names in the layer graph."""

    name: str
    operator: str
    shape: str
    params: int
    flops: int
    operations: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class StudentLayer:
    """What became of it; `change` in words, empty where its own sizes are the teacher's.

    A layer has grown where what is removed before it left it more to read.
    """

    status: Status
    change: str
    shape: str
    params: int
    flops: int

    @property
    def shown(self) -> str:
        """The change with a sign of its own, so that colour need not tell."""
        return {
            "removed": "\u2013 removed",
            "shrunk": f"\u25be {self.change}",
            "grown": f"\u25b4 {self.change}",
            "kept": "= kept",
        }[self.status]


@dataclass(frozen=True, kw_only=True)
class Student:
    """All layers of a student, in the order of the teacher's, and the whole network's counts."""

    layers: tuple[StudentLayer, ...]
    counts: Counts

    @property
    def removed(self) -> int:
        """Number of layers that are gone."""
        return sum(layer.status == "removed" for layer in self.layers)

    @property
    def shrunk(self) -> int:
        """Number of layers that are smaller."""
        return sum(layer.status == "shrunk" for layer in self.layers)


class LayerTable:
    """Compares students with one teacher, without what has no weights, no FLOPs and no say."""

    def __init__(self, planner: Planner, settings: Settings) -> None:
        self.planner = planner
        self._operations = planner.teacher.by_name()
        rows = find_rows(planner, settings)
        self._rows: list[Row] = [row for row in rows if row.policy or row.params or row.flops]
        self.counts = count(planner.teacher)
        self.teacher = tuple(
            TeacherLayer(
                name=row.name,
                operator=row.operator,
                shape=shape_text(None if row.shape is None else (-1, *row.shape)),
                params=row.params,
                flops=row.flops,
                operations=row.operations,
            )
            for row in self._rows
        )

    def architecture(self, decision: Mapping[str, Any]) -> Architecture:
        """The student of a decision in JSON form; `InputError` where there is none."""
        return self.planner.plan(Decision.from_json(decision))

    def home(self, architecture: Architecture) -> dict[str, str]:
        """The teacher's operation to which each operation of a student is booked.

        A stride that stays where a layer was removed is booked to that layer.
        """
        return {
            op.name: op.name if op.name in self._operations else op.source or op.name
            for op in architecture
        }

    def student(self, decision: Mapping[str, Any]) -> Student:
        """The layers of the student that a decision in JSON form makes.

        Raises `InputError` for a decision that no network can be built from.
        """
        removed = Decision.from_json(decision).removed
        architecture = self.architecture(decision)
        mine = architecture.by_name()
        home = self.home(architecture)
        by_home: dict[str, list[Counts]] = {}
        for name, found in count_each(architecture).items():
            by_home.setdefault(home[name], []).append(found)
        layers = []
        for row in self._rows:
            counts = [c for name in row.operations for c in by_home.get(name, [])]
            gone = removed.issuperset(row.operations)
            changed = [] if gone else changes([self._operations[n] for n in row.operations], mine)
            params = sum(c.params for c in counts)
            flops = sum(c.flops for c in counts)
            smaller = bool(changed) or params < row.params or flops < row.flops
            grown = params > row.params or flops > row.flops
            status: Status = (
                "removed" if gone else "shrunk" if smaller else "grown" if grown else "kept"
            )
            if status == "shrunk" and not changed:
                changed = ["fewer input channels" if params < row.params else "smaller input"]
            if status == "grown":
                changed = ["more input channels" if params > row.params else "larger input"]
            left = [mine[name] for name in row.operations if name in mine]
            layers.append(
                StudentLayer(
                    status=status,
                    change=", ".join(changed),
                    shape=shape_text(left[-1].shape) if left else "",
                    params=params,
                    flops=flops,
                )
            )
        return Student(layers=tuple(layers), counts=count(architecture))


class PackedLayers:
    """Students' layers as a page carries them: each network once, each text once.

    A layer is 0 where it was removed, 1 where it was kept, otherwise [text, params, flops] with
    the number of its text.
    """

    def __init__(self, table: LayerTable, limit: int) -> None:
        self._table = table
        self._left = limit
        self._index: dict[str, int | None] = {}
        self.texts: list[str] = []
        self.networks: list[list[Any]] = []
        self.left_out = 0

    def add(self, decision: Mapping[str, Any]) -> int | None:
        """The number of the network in `networks`; None where it cannot be built or has no room."""
        key = json.dumps(decision, sort_keys=True)
        if key not in self._index:
            self._index[key] = self._packed(decision)
        return self._index[key]

    def _packed(self, decision: Mapping[str, Any]) -> int | None:
        try:
            student = self._table.student(decision)
        except InputError:
            return None
        known = len(self.texts)
        row = [self._layer(layer) for layer in student.layers]
        size = len(json.dumps(row)) + sum(len(text) + 4 for text in self.texts[known:])
        if size > self._left:
            del self.texts[known:]
            self.left_out += 1
            return None
        self._left -= size
        self.networks.append(row)
        return len(self.networks) - 1

    def _layer(self, layer: StudentLayer) -> Any:
        if layer.status == "removed":
            return 0
        if layer.status == "kept":
            return 1
        if layer.shown not in self.texts:
            self.texts.append(layer.shown)
        return [self.texts.index(layer.shown), layer.params, layer.flops]
