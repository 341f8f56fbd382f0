"""What `hwn2n export` says when it is done."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from hwn2n.budget.units import format_quantity

if TYPE_CHECKING:
    from hwn2n.commands.export import Exported
    from hwn2n.exporting.check import Difference


def export_lines(exported: Exported) -> list[str]:
    """The files, and how far they are from the student."""
    written = [f"{file} ({_size(file)})" for file in exported.files]
    lines = [
        f"{exported.model} as {exported.format}, {exported.precision}: {' and '.join(written)}",
        _compared("random images", exported.random),
    ]
    if exported.real is not None:
        lines.append(_compared(f"images of {exported.data}", exported.real))
    return [*lines, exported.note] if exported.note else lines


def _size(file: str) -> str:
    return format_quantity(Path(file).stat().st_size, "weight_bytes")


def _compared(what: str, difference: Difference) -> str:
    return (
        f"read back and run on {difference.images} {what}: logits differ by at most "
        f"{difference.largest:.2g} (largest logit {difference.scale:.3g}), same class for "
        f"{difference.agreement:.0%}"
    )
