"""Comparisons on simulated machines: coverage, false calls, power, looks, throttling."""

import itertools
import json
import math
from contextlib import contextmanager

import numpy as np
import pytest
from simulated_timings import Machine

from hwn2n.errors import InputError, MeasurementError
from hwn2n.hardware.latency import compare
from hwn2n.hardware.latency.comparison import limit_verdict_of, verdict_of
from hwn2n.hardware.latency.placement import Burst, burst_for, one_round, orders
from hwn2n.hardware.latency.plan import plan_for
from hwn2n.hardware.latency.ratio import (
    effect_of,
    fewest_placements,
    interval_of,
    schedule,
)

NOISY = {"drift": 0.08, "memory": 0.8, "stumbles": 0.02}


def simulated(seed, ratio=1.0, *, placement=0.006, noise=0.03, machine=NOISY, **settings):
    """A comparison of two networks of 20 ms on a noisy machine, B slower by `ratio`."""
    world = Machine(seed, **machine)
    found = compare(
        world.network(0.02, name="a", noise=noise, placement=placement),
        world.network(0.02 * ratio, name="b", noise=noise, placement=placement),
        seed=seed,
        now=world.now,
        **settings,
    )
    return found, world


def test_equal_networks_are_not_called_different():
    verdicts = [simulated(seed)[0].verdict for seed in range(25)]
    assert verdicts.count("slower") + verdicts.count("faster") == 0


def test_equal_networks_on_a_calmer_machine_are_called_the_same():
    calmer = {"drift": 0.05, "memory": 0.8, "stumbles": 0.01}
    verdicts = [simulated(seed, noise=0.01, machine=calmer)[0].verdict for seed in range(20)]
    assert verdicts.count("same") >= 13
    assert verdicts.count("same") + verdicts.count("inconclusive") == 20


def test_equal_networks_that_lie_badly_are_not_called_different():
    # Placements that differ by 2 %: on the rounds of any one of them B is clearly another network.
    verdicts = [simulated(seed, placement=0.02)[0].verdict for seed in range(25)]
    assert verdicts.count("slower") + verdicts.count("faster") <= 1


def test_without_a_margin_the_error_is_that_of_the_confidence():
    found = [simulated(seed, margin=0.0, max_seconds=12)[0] for seed in range(40)]
    wrong = [one for one in found if not one.low <= 1 <= one.high]
    assert len(wrong) <= 5  # at most 2 expected: P(more than 5) = 1.4 %
    assert {one.verdict for one in found} <= {"inconclusive", "slower", "faster"}


def test_five_per_cent_are_told_apart():
    found = [simulated(seed, 1.05)[0] for seed in range(30)]
    assert [one.verdict for one in found].count("slower") >= 28
    assert np.median([one.ratio for one in found]) == pytest.approx(1.05, abs=0.006)
    assert sum(one.low <= 1.05 <= one.high for one in found) >= 27
    # Most end at an early look.
    assert np.median([one.seconds for one in found]) < 20


def test_faster_is_the_other_way_round():
    assert simulated(0, 1 / 1.2)[0].verdict == "faster"


def test_under_load_the_answer_is_inconclusive():
    loaded = {"drift": 0.3, "memory": 0.5, "stumbles": 0.3}
    found = [simulated(seed, machine=loaded, noise=0.3)[0] for seed in range(15)]
    assert [one.verdict for one in found].count("inconclusive") >= 14


def test_a_quiet_machine_gives_the_ratio_and_stops_at_the_first_look():
    found, machine = simulated(3, 1.1, placement=0.0, noise=0.0, machine={})
    assert found.ratio == pytest.approx(1.1, abs=1e-9)
    assert (found.low, found.high) == pytest.approx((1.1, 1.1), abs=1e-9)
    assert (found.median_a_s, found.median_b_s) == pytest.approx((0.02, 0.022))
    assert found.looks == (7,)
    assert len(found.placements) == 7
    assert found.burst == Burst(runs=1, lead=0)
    assert found.rounds == sum(len(one.b_s) for one in found.placements)
    assert machine.open == 0
    assert found.seconds < 10


def test_everything_is_built_anew_in_turns():
    _, machine = simulated(5)
    pairs = (
        list(itertools.batched(machine.built, 2))
        if hasattr(itertools, "batched")
        else [tuple(machine.built[i : i + 2]) for i in range(0, len(machine.built), 2)]
    )
    assert {tuple(sorted(pair)) for pair in pairs} == {("a", "b")}
    firsts = [first for first, _ in pairs]
    assert abs(firsts.count("a") - firsts.count("b")) <= 1
    assert len(set(zip(firsts[::2], firsts[1::2], strict=False))) == 2  # ab and ba, at random


def test_the_same_seed_gives_the_same_answer():
    first, second = simulated(8)[0], simulated(8)[0]
    assert first == second


def test_a_limit_decides_when_to_stop():
    within, _ = simulated(1, 1.0, limit=1.15)
    assert (within.limit_verdict, within.looks) == ("within", (7,))
    assert within.limit_sentence == "within the limit: B is at most 15 % slower"
    over, _ = simulated(1, 1.25, limit=1.05)
    assert (over.limit_verdict, over.looks) == ("exceeded", (7,))
    assert over.limit_sentence == "over the limit: B is more than 5 % slower"
    unknown, _ = simulated(1, 1.05, limit=1.05)
    assert unknown.limit_verdict == "inconclusive"
    assert len(unknown.looks) == 3
    assert simulated(1)[0].limit_verdict is None


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (1.011, 1.2, "slower"),
        (0.8, 0.99, "faster"),
        (0.995, 1.01, "same"),
        (1.005, 1.02, "inconclusive"),
        (0.95, 1.05, "inconclusive"),
        (0.98, 1.0, "inconclusive"),
    ],
)
def test_verdicts(low, high, verdict):
    assert verdict_of(low, high, 0.01) == verdict


def test_verdicts_without_a_margin_and_of_limits():
    assert verdict_of(1.0001, 1.1, 0.0) == "slower"
    assert verdict_of(0.9, 1.0, 0.0) == "inconclusive"
    assert limit_verdict_of(1.0, 1.05, 1.05) == "within"
    assert limit_verdict_of(1.05, 1.06, 1.05) == "inconclusive"
    assert limit_verdict_of(1.051, 1.06, 1.05) == "exceeded"


def test_sentences():
    assert simulated(3, 1.1, placement=0.0, noise=0.0, machine={})[0].sentence == (
        "B is slower than A: time +10.00 % (+10.00 % to +10.00 % at 95 % confidence)"
    )
    assert simulated(3, placement=0.0, noise=0.0, machine={})[0].sentence == (
        "B is as fast as A within 1 %: time +0.00 % to +0.00 % at 95 % confidence"
    )
    loaded = {"drift": 0.3, "memory": 0.5, "stumbles": 0.3}
    told = simulated(0, machine=loaded, noise=0.3)[0].sentence
    assert told.startswith("inconclusive for a margin of 1 %: B's time -")


def test_json_has_every_round():
    found, _ = simulated(2, 1.3)
    content = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert content["verdict"] == "slower"
    assert sum(len(one["a_s"]) for one in content["placements"]) == content["rounds"]
    effects = [effect_of(one["a_s"], one["b_s"]) for one in content["placements"]]
    assert math.exp(np.mean(effects)) == pytest.approx(content["ratio"], rel=1e-6)


def test_effect_of_by_hand():
    # Of four rounds the middle two count.
    assert effect_of([1, 1, 1, 1], [2.0, 1.1, 1.3, 0.1]) == pytest.approx(
        (math.log(1.1) + math.log(1.3)) / 2
    )


@pytest.mark.parametrize("shape", ["normal", "heavy tails", "two levels"])
@pytest.mark.parametrize("count", [7, 16, 32])
def test_intervals_cover_as_often_as_they_say(shape, count):
    random, misses = np.random.default_rng(6), 0
    for _ in range(400):
        effects = {
            "normal": lambda: random.standard_normal(count),
            "heavy tails": lambda: random.standard_t(3, count),
            "two levels": lambda: random.choice([-1.0, 1.0], count) + random.normal(0, 0.1, count),
        }[shape]()
        low, high = interval_of(0.01 * effects, 0.05)
        misses += not low <= 1 <= high
    assert misses / 400 <= 0.05 + 0.025


def test_an_interval_of_equal_effects_is_a_point():
    assert interval_of([0.0] * 7, 0.05) == (1.0, 1.0)
    low, high = interval_of([0.01, -0.01] * 8, 0.05)
    # Student's interval of 16 values of standard deviation 0.01033: 2.131 * 0.01033 / 4 = 0.0055
    assert (math.log(low), math.log(high)) == pytest.approx((-0.0055, 0.0055), abs=0.0006)


def test_looks_are_spread_from_the_fewest_placements_to_the_most():
    # 1.67 % for each of three looks: 2 * 0.5^7 = 1.56 %, 2 * 0.5^6 = 3.1 %
    assert fewest_placements(0.95) == 7
    assert fewest_placements(0.99) == 10
    assert schedule(0.95, 32) == (7, 15, 32)
    assert schedule(0.95, 7) == (7,)
    assert schedule(0.95, 6) == ()


@pytest.mark.parametrize(
    ("overhead", "one_round", "seconds", "rounds", "looks"),
    [
        (0.0, 0.02, 25.0, 13, (7, 15, 32)),  # timing lasts at least a hundredth, 0.25 s
        (0.3, 0.06, 25.0, 15, (7, 12, 20)),  # and three times the overhead: 1.2 s a placement
        (3.0, 0.06, 25.0, 10, (7,)),  # seven placements of 25 / 7 = 3.57 s
        (3.0, 1.0, 25.0, 5, (7,)),  # 56 s, which is patience
        (0.0, 0.0001, 1000.0, 200, (7, 15, 32)),
    ],
)
def test_plans(overhead, one_round, seconds, rounds, looks):
    plan = plan_for(overhead, one_round, seconds, confidence=0.95, most=32)
    assert (plan.rounds, plan.looks) == (rounds, looks)


def test_networks_too_slow_for_the_time_are_refused_at_once():
    machine = Machine(0)
    slow = machine.network(2.0)
    message = r"at 0.95 confidence needs at least 7 placements of 5 rounds, about 224 s"
    with pytest.raises(MeasurementError, match=message):
        compare(slow, slow, now=machine.now)
    assert machine.time - 1000 < 30


def test_a_machine_that_slows_down_is_not_waited_for_without_end():
    machine = Machine(0)
    builds = [machine.network(0.02, build_seconds=0.1) for _ in range(2)]
    runs = itertools.count()
    original = machine.run
    machine.run = lambda seconds: original(seconds * (100 if next(runs) > 150 else 1))
    with pytest.raises(MeasurementError, match=r"found time for \d in \d+ s, instead of the 5 s"):
        compare(*builds, max_seconds=5, now=machine.now)


def test_time_that_runs_out_ends_it_with_what_there_is():
    machine = Machine(0, **NOISY)
    builds = [machine.network(0.02, placement=0.05) for _ in range(2)]
    runs = itertools.count()
    original = machine.run
    machine.run = lambda seconds: original(seconds * (3 if next(runs) > 400 else 1))
    found = compare(*builds, now=machine.now)
    assert found.seconds <= 26
    assert 7 <= len(found.placements) < 20


def test_bursts():
    assert burst_for(0.03, 0.04) == Burst(runs=1, lead=0)
    assert burst_for(0.004, 0.004) == Burst(runs=3, lead=1)
    assert burst_for(0.001, 0.001) == Burst(runs=11, lead=1)  # odd, so that one is the median
    assert burst_for(1e-9, 1e-9) == Burst(runs=1001, lead=1)
    assert burst_for(0.001, 0.1) == Burst(runs=1, lead=0)


def test_one_round_is_the_medians_of_two_bursts():
    heard = []
    times = {"a": iter([9.0, 3.0, 1.0, 2.0]), "b": iter([9.0, 6.0, 5.0, 4.0])}

    def sampler(name):
        def sample():
            heard.append(name)
            return next(times[name]), None

        return sample

    burst = Burst(runs=3, lead=1)
    assert one_round(sampler("a"), sampler("b"), burst, b_first=True) == (2.0, 5.0)
    assert "".join(heard) == "bbbbaaaa"


def test_orders_are_balanced_in_pairs():
    taken = list(itertools.islice(orders(np.random.default_rng(0)), 200))
    assert all(first != second for first, second in zip(taken[::2], taken[1::2], strict=True))
    assert 30 < sum(taken[::2]) < 70


def test_throttled_rounds_are_taken_again():
    calls = itertools.count()
    found, _ = simulated(0, 1.3, throttled=lambda: ["too hot"] if next(calls) % 10 == 3 else [])
    assert found.discarded > 0
    assert found.throttle_reasons == ("too hot",)
    assert len({len(one.a_s) for one in found.placements}) == 1
    assert found.verdict == "slower"


def test_throttling_that_does_not_stop_is_an_error():
    with pytest.raises(MeasurementError, match="does not throttle; found too hot in"):
        simulated(0, throttled=lambda: ["too hot"])


def test_a_network_that_fails_is_one_line_and_all_is_closed():
    machine = Machine(0)
    good = machine.network(0.02)

    class Failing(type(good)):
        def __call__(self):
            if self.machine.time > 1000.5:
                raise RuntimeError("out of\nmemory")
            return super().__call__()

    class Instant(type(good)):
        @contextmanager
        def _ready(self):
            with super()._ready() as sample:
                yield lambda: (0.0 * sample()[0], None)

    bad = Failing(machine, "b", 0.02, 0.0, 0.0, 0.02)
    with pytest.raises(MeasurementError, match="to be compared; found RuntimeError: out of memory"):
        compare(good, bad, now=machine.now)
    assert machine.open == 0
    with pytest.raises(MeasurementError, match="an inference must take time; found 0 s"):
        compare(good, Instant(machine, "b", 0.02, 0.0, 0.0, 0.02), now=machine.now)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"confidence": 1.0}, "confidence must be at least 0.5 and below 1; found 1.0"),
        ({"confidence": float("nan")}, "found nan"),
        ({"margin": -0.1}, "margin must be at least 0 and below 1; found -0.1"),
        ({"limit": 0.0}, "limit of a ratio must be above 0; found 0.0"),
        ({"max_seconds": 0}, "seconds of a comparison must be above 0; found 0"),
        ({"most_placements": 6}, "needs at least 7 placements; found at most 6 allowed"),
    ],
)
def test_arguments_are_checked(wrong, message):
    network = Machine(0).network(0.01)
    with pytest.raises(InputError, match=message):
        compare(network, network, **wrong)
