"""Where each box stands: its row, and the column of the chain that it belongs to.

Rows are longest distances from the images, so that every line leads downwards. The longest path
is the trunk, in the first column; each branch that leaves it is a chain in a column beside it,
reserved from where the branch begins to where it comes back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Placed:
    """A graph with rows and columns.

    `inputs` and `readers` by node. `above`: the input that leads straight to a node, one row
    above it, or None; `below`: the reader in the next row of the same chain, or None. `reserved`
    by node at a chain's end: the last row that its column is kept free for.
    """

    inputs: tuple[tuple[int, ...], ...]
    readers: tuple[tuple[int, ...], ...]
    row: tuple[int, ...]
    column: tuple[int, ...]
    above: tuple[int | None, ...]
    below: tuple[int | None, ...]

    def heads(self, node: int) -> list[int]:
        """Readers that begin a chain of their own right below the node."""
        return [
            reader
            for reader in self.readers[node]
            if self.above[reader] == node and self.below[node] != reader
        ]

    def wired(self, node: int) -> list[int]:
        """Inputs that reach the node by a line from further away."""
        return [source for source in self.inputs[node] if self.above[node] != source]


def place(inputs: Sequence[Sequence[int]]) -> Placed:
    """Place a graph whose nodes are in topological order, the images first, the logits last."""
    readers: list[list[int]] = [[] for _ in inputs]
    for node, sources in enumerate(inputs):
        for source in sources:
            readers[source].append(node)
    row = _rows(inputs, readers)
    above: list[int | None] = []
    for node, sources in enumerate(inputs):
        near = [source for source in sources if row[source] == row[node] - 1]
        above.append(near[0] if near else None)
    below = _below(readers, above)
    return Placed(
        inputs=tuple(tuple(sources) for sources in inputs),
        readers=tuple(tuple(found) for found in readers),
        row=tuple(row),
        column=tuple(_columns(readers, row, above, below)),
        above=tuple(above),
        below=tuple(below),
    )


def _rows(inputs: Sequence[Sequence[int]], readers: Sequence[Sequence[int]]) -> list[int]:
    """Longest distances from the images; what does not depend on them stands above its reader."""
    row: dict[int, int] = {0: 0}
    for node, sources in enumerate(inputs):
        known = [row[source] for source in sources if source in row]
        if known:
            row[node] = 1 + max(known)
    for node in reversed(range(len(inputs))):
        if node not in row:
            row[node] = min((row[reader] for reader in readers[node]), default=1) - 1
    top = min(row.values())
    return [row[node] - top for node in range(len(inputs))]


def _below(readers: Sequence[Sequence[int]], above: Sequence[int | None]) -> list[int | None]:
    """For each node the reader that goes on with its chain: the one with the longest way left."""
    left = [0] * len(readers)
    for node in reversed(range(len(readers))):
        left[node] = max((1 + left[reader] for reader in readers[node]), default=0)
    below: list[int | None] = []
    for node, found in enumerate(readers):
        straight = [reader for reader in found if above[reader] == node]
        below.append(max(straight, key=lambda reader: left[reader], default=None))
    return below


def _columns(
    readers: Sequence[Sequence[int]],
    row: Sequence[int],
    above: Sequence[int | None],
    below: Sequence[int | None],
) -> list[int]:
    chains: list[list[int]] = []
    for node in range(len(row)):
        before = above[node]
        if before is not None and below[before] == node:
            continue
        chain = [node]
        while (following := below[chain[-1]]) is not None:
            chain.append(following)
        chains.append(chain)
    trunk = max(chains, key=len)
    column = [0] * len(row)
    taken: list[list[tuple[int, int]]] = []
    for chain in sorted(chains, key=lambda chain: (row[chain[0]], -len(chain))):
        if chain is trunk:
            continue
        first, last = row[chain[0]], row[chain[-1]]
        last = max([last, *(row[reader] - 1 for reader in readers[chain[-1]])])
        column[chain[0]] = free = first_free(taken, first, last)
        for node in chain:
            column[node] = free + 1
    return column


def first_free(taken: list[list[tuple[int, int]]], first: int, last: int) -> int:
    """The first track on which no interval comes near `first` to `last`; it is entered there.

    One row stays free between two intervals, where the lines of both may turn.
    """
    for index, intervals in enumerate(taken):
        if all(last + 1 < low or high + 1 < first for low, high in intervals):
            intervals.append((first, last))
            return index
    taken.append([(first, last)])
    return len(taken) - 1
