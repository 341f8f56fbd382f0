"""Before a search under a limit on time the target says of what widths are best multiples."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import small
from networks import planner_of

from hwn2n.budget.cost import Reading
from hwn2n.hardware.measurement import Beside
from hwn2n.network.decision import NOTHING, Decision
from hwn2n.run.folder import RunFolder, read_json
from hwn2n.search.alignment import Alignment, aligned, timed_column
from hwn2n.search.recipes import RECIPES

PLANNER = planner_of("resnet20", 8)
GROUPS = PLANNER.left(NOTHING.removed)[1].free
LATENCY = "{metric: latency, stat: p50, max: 60%}"

Time = Callable[[int], float]
"""Of one group of so many channels."""


def smooth(width: int) -> float:
    return width


def in_blocks_of(block: int) -> Time:
    return lambda width: math.ceil(width / block) * block


def slow_between_fours(width: int) -> float:
    return width * (1.4 if width % 4 else 1.0)


def nothing_but_overhead(width: int) -> float:
    return 1.0


def asked(
    time: Time, *, column: str = "latency_p50", room: float = 1.0, slow: tuple[float, ...] = (1.0,)
) -> Alignment:
    """Of a device with this time of a group; `room` is the headroom of all least widths.

    `slow`: by how much a student's readings are too long, in turns.
    """
    factors = itertools.cycle(slow)

    def measure(decision: Decision) -> Beside:
        mine = sum(time(decision.widths[name]) for name in GROUPS) * next(factors)
        whole = sum(time(group.width) for group in GROUPS.values())
        if column == "throughput":
            mine, whole = 1 / mine, 1 / whole
        return Beside({column: Reading(mine)}, {column: Reading(whole)})

    return Alignment(
        planner=PLANNER,
        column=column,
        floor=1,
        measure=measure,
        headroom=lambda decision, _: room if max(decision.widths.values()) > 4 else 0.0,
    )


def test_the_paper_has_no_such_step() -> None:
    assert RECIPES["fast"].align and not RECIPES["paper"].align


@pytest.mark.parametrize("column", ["latency_p50", "throughput"])
@pytest.mark.parametrize(
    ("time", "step"),
    [
        (smooth, 1),
        (in_blocks_of(2), 2),
        (in_blocks_of(4), 4),
        (in_blocks_of(8), 8),
        (in_blocks_of(16), 16),
        (slow_between_fours, 4),
        (nothing_but_overhead, 1),
    ],
)
def test_the_least_step_by_which_narrowing_saves_time(time: Time, step: int, column: str) -> None:
    assert asked(time, column=column).step() == step


@pytest.mark.parametrize("slow", [(3.0, 1.0, 1.0), (1.0, 0.3, 1.0), (0.3, 1.0, 3.0)])
def test_one_reading_of_three_does_not_decide(slow: tuple[float, ...]) -> None:
    assert asked(in_blocks_of(8), slow=slow).step() == 8
    assert asked(smooth, slow=slow).step() == 1


def test_a_finer_step_where_the_least_widths_are_far_outside() -> None:
    assert asked(in_blocks_of(8), room=-0.2).step() == 8
    assert asked(in_blocks_of(8), room=-0.3).step() == 4


def test_only_upper_limits_on_time_ask() -> None:
    def column(*rows: str) -> str | None:
        teacher = {n: Reading(1.0) for n in ("latency_p50", "latency_p99", "throughput", "params")}
        return timed_column(small.budget(*rows).resolve(teacher))

    assert column("{metric: params, max: 10}") is None
    assert column("{metric: latency, stat: p50, min: 1s}") is None
    assert column("{metric: peak_memory, max: 1MiB}") is None
    assert column("{metric: params, max: 10}", LATENCY) == "latency_p50"
    assert column("{metric: throughput, min: 120%}") == "throughput"


@pytest.mark.parametrize("align", [True, False])
def test_a_run_keeps_what_it_was_told(tmp_path: Path, align: bool) -> None:
    folder = tmp_path / "run"
    bench = small.workbench(folder, LATENCY, align=align)
    bench.ledger.close()
    path = folder / "alignment.json"
    assert path.exists() == align
    if not align:
        assert bench.settings.round_to == 1
        return
    kept = read_json(path)
    assert kept["column"] == "latency_p50" and "whole blocks" in kept["shares"]
    assert bench.settings.round_to == bench.evaluator.settings.round_to == kept["round_to"]
    path.write_text('{"round_to": 4}')
    target = small.CalmTarget()

    def again(round_to: int) -> int:
        return aligned(
            small.settings(align=True, round_to=round_to),
            planner=bench.planner,
            school=bench.school,
            target=target,
            limits=bench.limits,
            folder=RunFolder(folder),
        ).round_to

    assert again(1) == 4 and again(2) == 2
    assert not target.measured
