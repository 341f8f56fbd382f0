"""What a student's layer lost against the teacher's, in a few words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hwn2n.network.architecture import Operation
from hwn2n.network.wording import operator_text, sizes

_WIDTHS = {"out_channels": "channels", "out_features": "outputs"}


def changes(members: Sequence[Operation], student: Mapping[str, Operation]) -> list[str]:
    """Such as `64 -> 20 channels`, `3x3 -> 1x1`, `without relu`; empty for a layer left whole.

    `members`: the teacher's operations of the layer; `student`: the student's by name. Fewer
    channels that are only read are no change of the layer's own.
    """
    found = []
    for op in members:
        left = student.get(op.name)
        if left is None:
            found.append(f"without {operator_text(op)}")
            continue
        for key, what in _WIDTHS.items():
            if left.config.get(key) != op.config.get(key):
                found.append(f"{op.config[key]} -> {left.config[key]} {what}")
        if left.config.get("kernel_size") != op.config.get("kernel_size"):
            found.append(
                f"{sizes(op.config['kernel_size'])} -> {sizes(left.config['kernel_size'])}"
            )
    return found
