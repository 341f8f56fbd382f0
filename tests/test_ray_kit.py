"""What a worker is given: a school that trains as the driver's would, and no more than it needs."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import small
import torch

from hwn2n.errors import InputError
from hwn2n.hardware.local_target import LocalTarget
from hwn2n.hardware.measurement import DURATIONS, Beside
from hwn2n.hardware.target import Target
from hwn2n.run.folder import RunFolder
from hwn2n.search.assemble import assemble
from hwn2n.search.executors import Executor, Here
from hwn2n.search.executors.kit import TRAINING, Kit, PackedTarget, check_versions
from hwn2n.search.executors.side_by_side import SideBySide, Ticket, Workers
from hwn2n.search.workshop import Outcome, Task, Workshop, train_student


class Boxed(Workers):
    """Trains with what a kit is after its journey, and finishes the last task first."""

    measures = False

    def __init__(self, workshop: Workshop) -> None:
        self.workshop = workshop
        self.school: Any = None
        self.tasks: dict[int, Task] = {}

    def begin(self) -> None:
        if self.school is None:
            kit: Kit = pickle.loads(pickle.dumps(Kit.of(self.workshop)))
            self.school = kit.school()

    def measure(self, task: Task) -> Ticket:
        raise AssertionError("measured in the driver")

    def train(self, task: Task) -> Ticket:
        number = len(self.tasks)
        self.tasks[number] = pickle.loads(pickle.dumps(task))
        return number

    def wait(self, tickets: Sequence[Ticket], *, block: bool) -> list[Ticket]:
        return [tickets[-1]]

    def result(self, ticket: Ticket) -> Outcome:
        return train_student(self.school, self.tasks[ticket], Beside({}, {}), {})  # type: ignore[index]

    def cancel(self, tickets: Sequence[Ticket]) -> None:
        return


class BoxedSite(Here):
    def executor(self, workshop: Workshop) -> Executor:
        return SideBySide(workshop, Boxed(workshop))


CASES: dict[str, dict[str, Any]] = {
    "policies": {},
    "once by their forecasts": {"refits": 0},
    "augmented, fresh weights": {"train__augment": "crop", "weights": "fresh"},
    "fewer images": {"train__max_images": 32, "validation_images": 30},
    "fresh images": {"train__fresh": True, "train__epochs": 2},
    "halving": {"train__epochs": 3, "halving_epochs": 1},
    "a run-off on all images": {"validation_images": 20, "runoff": 2, "runoff_epochs": 2},
}


@pytest.mark.parametrize("case", CASES)
def test_a_kit_trains_as_the_driver_would(tmp_path: Path, case: str) -> None:
    """All rows of a search, but for the clock."""
    found = []
    for name, site in (("here", Here()), ("boxed", BoxedSite())):
        bench = assemble(
            teacher=small.small_teacher(),
            data=small.small_data(),
            budget=small.budget(
                "{metric: params, max: 60%}", "{metric: latency, stat: p50, max: 45%}"
            ),
            target=small.CalmTarget(),
            settings=small.settings(**CASES[case]),
            folder=RunFolder.create(tmp_path / name),
            site=site,
        )
        small.search(bench, tmp_path / name)
        found.append([candidate.comparable() for candidate in bench.ledger.candidates()])
        bench.ledger.close()
    assert found[0] == found[1] and len(found[0]) >= 9
    assert sum(row["trained_accuracy"] is not None for row in found[0]) > 2


def test_a_kit_holds_no_more_images_than_are_used(tmp_path: Path) -> None:
    bench = assemble(
        teacher=small.small_teacher(),
        data=small.small_data(),
        budget=small.budget(),
        target=small.CalmTarget(),
        settings=small.settings(train__max_images=40, validation_images=20, runoff=0),
        folder=RunFolder.create(tmp_path / "run"),
    )
    kit = Kit.of(bench.evaluator.workshop)
    board = Kit.to_measure(bench.evaluator.workshop)
    bench.ledger.close()
    assert len(kit.train.images) == 40 and len(kit.validation.images) == 20
    assert len(board.train.images) == len(bench.data.validation) == 60
    assert board.logits is None and board.validation is board.train
    assert kit.logits is not None and kit.logits.shape == (40, 3)
    assert kit.threads == torch.get_num_threads() == 1
    measuring = board.workshop(small.CalmTarget())
    mine, theirs = (
        shop.school.protocol("quick", shop.limits.at_first).images
        for shop in (measuring, bench.evaluator.workshop)
    )
    assert mine is not None and theirs is not None and torch.equal(mine, theirs)


def test_precision_is_settled_by_the_driver(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hwn2n.search.executors.kit.choose_precision", lambda device: "bf16")
    bench = assemble(
        teacher=small.small_teacher(),
        data=small.small_data(),
        budget=small.budget(),
        target=small.CalmTarget(),
        settings=small.settings(train__precision="auto"),
        folder=RunFolder.create(tmp_path / "run"),
    )
    kit = Kit.of(bench.evaluator.workshop)
    bench.ledger.close()
    assert kit.settings.train.precision == "bf16"
    assert bench.settings.train.precision == "auto"


def test_a_local_target_travels_as_its_settings() -> None:
    durations = {effort: replace(d, clock=0.05) for effort, d in DURATIONS.items()}
    target = LocalTarget("cpu", name="bench", durations=durations)
    packed = pickle.loads(pickle.dumps(PackedTarget.of(target)))
    assert packed.target is None
    again = packed.unpacked()
    assert isinstance(again, LocalTarget) and again.durations == durations
    assert again is not target and again.to_json() == target.to_json() and again.name == "bench"
    calm: Target = small.CalmTarget()
    assert PackedTarget.of(calm).unpacked() is calm


def test_nodes_with_other_versions_are_refused() -> None:
    from hwn2n.run.provenance import versions

    check_versions(versions(), TRAINING, "node7")
    other = {**versions(), "torch": "1.2.3"}
    with pytest.raises(
        InputError, match=r"each node .* must have torch 1\.2\.3, as the driver has, but node7 has"
    ):
        check_versions(other, TRAINING, "node7")
