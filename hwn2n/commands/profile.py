"""`hwn2n profile`: what a network costs on a target, with intervals and where it was measured."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hwn2n.budget.columns import COLUMNS, in_order
from hwn2n.budget.cost import Cost, cost_to_json
from hwn2n.commands.subject import Model, load_subject, shape_of, target_of
from hwn2n.errors import InputError
from hwn2n.hardware.target import Target
from hwn2n.run.folder import write_json
from hwn2n.run.provenance import provenance

USUAL_COLUMNS = (
    "params",
    "flops",
    "weight_bytes",
    "latency_p50",
    "latency_p95",
    "power_avg",
    "energy",
)
"""What is asked for where nobody says what to measure."""

LEARNED = "it is learned: only labelled images tell, see hwn2n compress"
"""Why a profile has no accuracies."""

FORMAT_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Profile:
    """The cost of one network on one target.

    `cost` holds the columns that could be had, in SI units, measured ones with their 95 %
    interval; `unavailable` the others of those asked for, with the reason. `input_shape` is
    (C, H, W) of one image, `machine` the target's fingerprint: costs compare only where it agrees.
    """

    model: str
    input_shape: tuple[int, int, int]
    target: str
    cost: Cost
    unavailable: dict[str, str]
    machine: dict[str, Any]
    provenance: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """JSON-able form, which `save` writes."""
        return {
            "format": "hwn2n-profile",
            "version": FORMAT_VERSION,
            **vars(self),
            "input_shape": list(self.input_shape),
            "cost": cost_to_json(self.cost),
        }

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the profile as JSON, whole or not at all. Raises InputError if it cannot."""
        try:
            write_json(Path(path), self.to_json())
        except OSError as error:
            raise InputError(
                f"{os.fspath(path)}: must be writable, but: {error.strerror}"
            ) from error


def profile(
    model: Model,
    *,
    target: Target | Mapping[str, Any] | str | None = None,
    input_shape: tuple[int, int, int] | None = None,
    columns: Iterable[str] | None = None,
    arch: str | None = None,
    unsafe_pickle: bool = False,
    batch: int | None = None,
    threads: int | None = None,
) -> Profile:
    """Measure `model` on `target` (by default the CPU of this machine).

    `model`: a file as `network.files.load_teacher` reads it, or a module that maps images to
    logits. `input_shape` is (C, H, W), needed where the file does not say it. `columns` are names
    of `budget.columns.COLUMNS`, or "all" among them; by default `USUAL_COLUMNS`. `batch` images
    make one inference, on `threads` CPU threads.

    Raises InputError for what cannot be used and MeasurementError where the model cannot be
    counted or run. A column that cannot be had here is no error: the profile says why.
    """
    names = list(USUAL_COLUMNS if columns is None else columns)
    wanted = tuple(COLUMNS) if "all" in names else in_order(names)
    chosen = target_of(target, batch=batch, threads=threads)
    subject = load_subject(model, arch=arch, input_shape=input_shape, unsafe_pickle=unsafe_pickle)
    shape = shape_of(subject, input_shape)
    unavailable = dict(chosen.available(wanted))
    unavailable |= {name: LEARNED for name in wanted if COLUMNS[name].learned}
    cost = chosen.measure(subject.model, shape, [n for n in wanted if n not in unavailable])
    return Profile(
        model=subject.source,
        input_shape=shape,
        target=chosen.name,
        cost=cost,
        unavailable={name: unavailable[name] for name in wanted if name in unavailable},
        machine=chosen.fingerprint(),
        provenance=provenance(),
    )
