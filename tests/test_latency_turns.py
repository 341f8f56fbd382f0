"""Two networks timed in turns, on a simulated machine whose speed drifts as time passes."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from test_local_target import local, network
from torch import nn

from hwn2n.hardware.latency import LatencySample, measure_in_turns, measure_latency
from hwn2n.hardware.measurement import QUICK, Beside, MeasurementProtocol


class Machine:
    """Its clock moves only while networks run; at second t it is `slower(t)` times as slow."""

    def __init__(self, slower: Callable[[float], float], seed: int = 0) -> None:
        self.time = 0.0
        self.slower = slower
        self.random = np.random.default_rng(seed)
        self.calls: list[str] = []

    def now(self) -> float:
        return self.time

    def pause(self, seconds: float) -> None:
        self.time += seconds

    def network(self, name: str, seconds: float) -> Callable[[], tuple[float, float | None]]:
        def sample() -> tuple[float, float | None]:
            took = seconds * self.slower(self.time) * float(self.random.normal(1.0, 0.01))
            self.time += took
            if not self.calls or self.calls[-1] != name:
                self.calls.append(name)
            return took, None

        return sample


def turns(machine: Machine, a: float, b: float, **changes: int):
    return measure_in_turns(
        lambda: nullcontext(machine.network("a", a)),
        lambda: nullcontext(machine.network("b", b)),
        seconds=2.0,
        warmup_seconds=0.0,
        min_samples=10,
        now=machine.now,
        pause=machine.pause,
        **{"turns": 8, **changes},
    )


def test_who_comes_first_alternates_and_nothing_is_lost():
    machine = Machine(lambda t: 1.0)
    found = turns(machine, 0.01, 0.005, turns=4)
    assert machine.calls == ["a", "b", "a", "b", "a"]  # a b, b a, a b, b a: equal ones in a row
    [turns_a], [turns_b] = found.turns_a, found.turns_b
    assert len(turns_a) == len(turns_b) == 4
    assert len(found.a) == sum(map(len, turns_a))
    assert np.array_equal(found.b.samples_s, np.concatenate([x.samples_s for x in turns_b]))
    assert found.a.rounds is not None and (np.diff(found.a.rounds) >= 0).all()
    assert len(set(found.a.rounds)) == sum(len(set(x.rounds)) for x in turns_a)
    assert found.a.device_samples_s is None
    assert found.a.samples_s.sum() == pytest.approx(2.0, rel=0.1)


@pytest.mark.parametrize(
    "slower",
    [
        lambda t: 1.0 + 0.3 * t,
        lambda t: 1.7 if t > 2.1 else 1.0,
        lambda t: 1.4 + 0.4 * math.sin(2 * math.pi * t / 3.3),
    ],
    ids=["ever slower", "a step", "waves"],
)
def test_the_share_holds_still_while_the_machine_does_not(slower):
    machine = Machine(slower)
    found = turns(machine, 0.004, 0.002)
    low, high = found.median_share(0.95)
    assert low <= 0.5 <= high and high - low < 0.25
    low, high = found.mean_share(0.95)
    assert low <= 0.5 <= high


def test_one_after_the_other_does_not_hold_still():
    machine = Machine(lambda t: 1.7 if t > 2.0 else 1.0)
    clock = {"seconds": 2.0, "warmup_seconds": 0.0, "now": machine.now, "pause": machine.pause}
    a, b = (measure_latency(machine.network("x", s), **clock) for s in (0.004, 0.002))
    assert b.percentile(50) / a.percentile(50) == pytest.approx(0.85, rel=0.05)


def test_the_interval_of_a_share_covers_as_it_says():
    hits = 0
    for seed in range(60):
        machine = Machine(lambda t: 1.4 + 0.4 * math.sin(1.9 * t), seed)
        low, high = turns(machine, 0.004, 0.002).median_share(0.9)
        hits += low <= 0.5 <= high
    assert hits >= 48  # binomial(60, 0.9): 47 or fewer with probability 0.007


def test_a_turn_may_be_a_single_run():
    machine = Machine(lambda t: 1.0 + 0.1 * t)
    found = turns(machine, 0.5, 0.25)
    assert min(map(len, found.turns_a[0])) < 5
    low, high = found.median_share(0.95)
    assert low <= 0.5 <= high


def test_each_placement_has_its_own_build_and_counts_once():
    machine, built = Machine(lambda t: 1.0), []

    def build(name: str, speeds: list[float]):
        def make():
            built.append(name)
            return nullcontext(machine.network(name, speeds[built.count(name) - 1]))

        return make

    places = [0.0046, 0.0054, 0.0049, 0.0051, 0.0047, 0.0053, 0.0048, 0.0052]  # around a half
    found = measure_in_turns(
        build("a", [0.01] * 8),
        build("b", places),
        seconds=2.0,
        warmup_seconds=0.0,
        min_samples=10,
        turns=24,
        placements=8,
        now=machine.now,
        pause=machine.pause,
    )
    assert built == ["a", "b", "b", "a"] * 4
    assert [len(turns) for turns in found.turns_a] == [3] * 8
    low, high = found.median_share(0.95)
    spread = np.std(np.log(np.array(places) / 0.01), ddof=1) / math.sqrt(8)
    student = 2.365  # of 7 degrees of freedom
    assert low <= math.exp(math.log(0.5) - 0.9 * student * spread)
    assert high >= math.exp(math.log(0.5) + 0.9 * student * spread)


def test_merged_samples_keep_what_was_thrown_away():
    machine = Machine(lambda t: 1.0)
    told = iter([[], [], ["hot"], []] + [[]] * 400)
    found = measure_in_turns(
        lambda: nullcontext(machine.network("a", 0.01)),
        lambda: nullcontext(machine.network("b", 0.01)),
        seconds=0.4,
        warmup_seconds=0.0,
        min_samples=6,
        throttled=lambda: next(told),
        now=machine.now,
        pause=machine.pause,
        turns=3,
    )
    both = [found.a, found.b]
    assert sum(x.discarded for x in both) == 1
    assert [x.throttle_reasons for x in both].count(("hot",)) == 1
    assert isinstance(found.a, LatencySample) and found.a.steady is found.turns_a[0][0].steady


def test_a_local_target_reads_both_in_turns():
    small, large = network(), nn.Sequential(nn.Conv2d(1, 64, 3), nn.Flatten(), nn.LazyLinear(10))
    large(torch.rand(1, 1, 8, 8))
    columns = ["params", "latency_p50", "latency_p90", "throughput"]
    found = local().measure_beside(small, large, (1, 8, 8), columns, columns[:2])
    assert isinstance(found, Beside)
    assert list(found.cost) == columns and list(found.teacher) == columns[:2]
    assert found.cost["params"].value != found.teacher["params"].value
    assert set(found.shares) == {"latency_p50"}
    low, high = found.shares["latency_p50"]
    assert 0 < low < high
    both = local().measure_beside(small, large, (1, 8, 8), columns, columns)
    assert set(both.shares) == {"latency_p50", "throughput"}


def test_where_nothing_is_clocked_they_come_one_after_the_other():
    found = local().measure_beside(network(), network(), (1, 8, 8), ["params", "latency_p50"], [])
    assert found.teacher == {} and found.shares == {}
    assert list(found.cost) == ["params", "latency_p50"]


def test_a_teacher_is_made_ready_once_where_that_takes_long(monkeypatch):
    target, prepared, closed = local(), [], []
    monkeypatch.setattr(target._runner, "anew", False)  # as with an exporter or a compiler
    original = target.prepare

    def prepare(model, images):
        executable = original(model, images)
        prepared.append(sum(p.numel() for p in model.parameters()))
        close = executable.close
        executable.close = lambda: (closed.append(prepared[-1]), close())
        return executable

    monkeypatch.setattr(target, "prepare", prepare)
    teacher, student = network(), nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    whole, part = (sum(p.numel() for p in m.parameters()) for m in (teacher, student))

    def read(of: nn.Module = teacher, protocol: MeasurementProtocol = QUICK) -> None:
        columns = ["latency_p50"]
        found = target.measure_beside(student, of, (1, 8, 8), columns, columns, protocol)
        assert found.cost["latency_p50"].value > 0 < found.teacher["latency_p50"].value
        low, high = found.shares["latency_p50"]
        assert 0 < low < high

    read()
    read()
    assert prepared == [whole, part, part] and len(closed) == 2
    with torch.no_grad():
        teacher[0].weight.add_(1.0)
    read()
    assert prepared[3:] == [whole, part], "its weights are others"
    read(protocol=MeasurementProtocol(effort="quick", images=torch.rand(1, 1, 8, 8)))
    assert prepared[5:] == [whole, part], "and so are the images"
    read(of=network())
    assert prepared[7:] == [whole, part], "and another network is another"
    assert len(closed) == len(prepared) - 1, "all but the teacher that is kept"


def test_a_teacher_that_runs_in_another_program_is_made_ready_each_time(monkeypatch):
    target, prepared = local(), []
    monkeypatch.setattr(target._runner, "anew", False)
    original = target.prepare

    def prepare(model, images):
        executable = original(model, images)
        executable.live = False
        prepared.append(model)
        return executable

    monkeypatch.setattr(target, "prepare", prepare)
    teacher = network()
    for _ in range(2):
        target.measure_beside(
            network(), teacher, (1, 8, 8), ["latency_p50"], ["latency_p50"], QUICK
        )
    assert len(prepared) == 4
