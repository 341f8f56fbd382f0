"""Which operations of a teacher are sure to be in its students, however layers are removed.

A removed layer is bypassed, so what it reads stays; a removed residual branch is not, so what only
it reads, or what only several such branches read (a table of positions, say), may go with it
though it is part of no layer (`network.bypass`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hwn2n.network.architecture import Architecture, Operation
from hwn2n.network.operators import rule


@dataclass(frozen=True)
class Presence:
    """`layer_of` names the removable layer that an operation belongs to, if it does to one.

    `lasting` are the operations that no removal takes out but that of their own layer, which for
    those without one means: that every student has.
    """

    layer_of: Mapping[str, str]
    lasting: frozenset[str]

    def removable(self, name: str) -> bool:
        """Is some student without the operation's own layer?"""
        return name in self.layer_of

    def together(self, first: str, second: str) -> bool:
        """Does every student that has operation `first` have `second`, too?"""
        own = self.layer_of.get(second)
        return second in self.lasting and (own is None or own == self.layer_of.get(first))

    def stand_ins(self, op: Operation) -> tuple[str, ...]:
        """What the readers of an operation may read instead where it is removed.

        Its input, and of a sum the inputs from outside of its layer; nothing where the readers can
        only go with it.
        """
        own = self.layer_of.get(op.name)
        if own is None:
            return ()
        if len(op.inputs) == 1:
            return op.inputs if rule(op).bypassable else ()
        outside = tuple(name for name in op.inputs if self.layer_of.get(name) != own)
        return outside if op.kind == "add" else ()


def find_presence(teacher: Architecture, layer_of: Mapping[str, str]) -> Presence:
    """Walk from the logits back to the image.

    `needed` are operations whose value, or what stands for it once they are removed, every
    student needs; `lasting` those whose value every student needs that has their layer.
    """
    operations, readers = teacher.by_name(), teacher.readers()
    names = Presence(layer_of, frozenset())
    needed = lasting = frozenset([teacher.output])
    for op in reversed(teacher.operations):
        own = layer_of.get(op.name)
        for reader in (operations[name] for name in readers[op.name]):
            theirs = layer_of.get(reader.name)
            passes = theirs is None or op.name in names.stand_ins(reader)
            if passes and reader.name in needed:
                needed |= {op.name}
            if theirs in (None, own):
                if reader.name in lasting:
                    lasting |= {op.name}
            elif passes and reader.name in needed:
                lasting |= {op.name}
    return Presence(layer_of, lasting)
