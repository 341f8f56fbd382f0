"""`hwn2n profile`: what a network costs on a target, with intervals and where it was measured."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hwn2n.atomic import writing
from hwn2n.budget.columns import COLUMNS, in_order
from hwn2n.budget.cost import Cost, cost_to_json
from hwn2n.budget.matrix import Budget
from hwn2n.commands.subject import (
    LEARNED,
    Model,
    as_budget,
    check_data_root,
    confidences,
    load_subject,
    shape_of,
    target_of,
)
from hwn2n.gate.saved_profile import FORMAT, FORMAT_VERSION
from hwn2n.hardware.measurement import MeasurementProtocol
from hwn2n.hardware.target import Target
from hwn2n.network.identity import model_digest
from hwn2n.run.folder import write_json
from hwn2n.run.provenance import provenance

if TYPE_CHECKING:
    from hwn2n.distil.datasets import Data

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


@dataclass(frozen=True, kw_only=True)
class Profile:
    """The cost of one network on one target.

    `cost` holds the columns that could be had, in SI units, measured ones with their 95 %
    interval; `unavailable` the others of those asked for, with the reason. `input_shape` is
    (C, H, W) of one image, `machine` the target's fingerprint: costs compare only where it agrees.
    `samples`, `conditions` and `notes` are those of `hardware.measurement.Measurement`; `inputs`
    says what the network ran on, the name of a data set or "noise". `model_digest` identifies the
    network (`network.identity.model_digest`), `confidence` is the level of the measured columns'
    intervals. As JSON it is what `hwn2n check` reads (`gate.saved_profile`).
    """

    model: str
    input_shape: tuple[int, int, int]
    target: str
    cost: Cost
    unavailable: dict[str, str]
    machine: dict[str, Any]
    provenance: dict[str, Any]
    inputs: str = "noise"
    model_digest: str | None = None
    confidence: dict[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    conditions: dict[str, Any] = field(default_factory=dict)
    samples: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """JSON-able form, which `save` writes."""
        return {
            "format": FORMAT,
            "version": FORMAT_VERSION,
            **vars(self),
            "input_shape": list(self.input_shape),
            "notes": list(self.notes),
            "cost": cost_to_json(self.cost),
        }

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the profile as JSON, whole or not at all. Raises InputError if it cannot."""
        with writing(path):
            write_json(Path(path), self.to_json())


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
    budget: str | os.PathLike[str] | Mapping[str, Any] | Budget | None = None,
    data: str | Data | None = None,
    data_root: str | os.PathLike[str] | None = None,
) -> Profile:
    """Measure `model` on `target` (by default the CPU of this machine).

    `model`: a file as `network.files.load_teacher` reads it, or a module that maps images to
    logits. `input_shape` is (C, H, W), needed where the file does not say it. `columns` are names
    of `budget.columns.COLUMNS`, or "all" among them; by default `USUAL_COLUMNS`. `batch` images
    make one inference, on `threads` CPU threads. `budget` is what the profile is to be judged by:
    its columns are measured too, at the confidence and, unless said otherwise, on the target and
    the images that it names. `data` (see `distil.datasets.load_data`) gives
    real images to run on instead of noise, which matters to power: those that a check runs on.

    Raises InputError for what cannot be used and MeasurementError where the model cannot be
    counted or run. A column that cannot be had here is no error: the profile says why.
    """
    loaded = None if budget is None else as_budget(budget)
    names = list(USUAL_COLUMNS if columns is None else columns)
    names += [name for row in loaded.rows for name in row.columns] if loaded else []
    wanted = tuple(COLUMNS) if "all" in names else in_order(names)
    chosen = target_of(target, batch=batch, threads=threads, budget=loaded)
    check_data_root(data, data_root)
    subject = load_subject(model, arch=arch, input_shape=input_shape, unsafe_pickle=unsafe_pickle)
    shape = shape_of(subject, input_shape, loaded)
    unavailable = dict(chosen.unavailable(wanted))
    unavailable |= {name: LEARNED for name in wanted if COLUMNS[name].learned}
    labelled = None
    if data is not None:
        from hwn2n.commands.labelled import load_labelled  # torchvision takes its time

        labelled = load_labelled(data, data_root, shape, (subject,))
    asked = confidences(loaded.rows) if loaded else {}
    protocol = MeasurementProtocol(
        effort="full",
        confidence=asked,
        images=None if labelled is None else labelled.inputs(subject),
    )
    found = chosen.examine(
        subject.model,
        shape,
        [name for name in wanted if name not in unavailable],
        protocol,
    )
    measured = [name for name, reading in found.cost.items() if reading.how == "measured"]
    return Profile(
        model=subject.source,
        input_shape=shape,
        target=chosen.name,
        cost=found.cost,
        unavailable={name: unavailable[name] for name in wanted if name in unavailable},
        machine=chosen.fingerprint(),
        provenance=provenance(),
        inputs="noise" if labelled is None else labelled.data.name,
        model_digest=model_digest(subject.model, shape, subject.program),
        confidence={name: protocol.confidence_of(name) for name in measured},
        notes=found.notes,
        conditions=found.conditions,
        samples=found.samples,
    )
