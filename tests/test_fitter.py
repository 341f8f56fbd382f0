"""A network just outside a measured limit is made as little narrower as that asks for."""

from __future__ import annotations

import random

import pytest
import small
from networks import planner_of, random_decision

from hwn2n.budget.cost import Cost, Reading
from hwn2n.network.decision import NOTHING, Decision
from hwn2n.search.fitting.fitter import Fitter
from hwn2n.search.recipes import build_settings

PLANNER = planner_of("resnet20", 8)
WHOLE = PLANNER.count(NOTHING)
COUNTED = ("params", "flops", "weight_bytes")
LATENCY = "{metric: latency, stat: p50, max: 35%}"
TEACHER: Cost = {"latency_p50": Reading(1.0, "measured")}


def fitter(*rows: str) -> Fitter:
    whole = {**TEACHER, "params": Reading(WHOLE.params)}
    constraints = small.budget(*rows).resolve(whole)
    countable = constraints.only(COUNTED)
    return Fitter(PLANNER, build_settings("fast"), constraints, countable, COUNTED, TEACHER)


def narrowed(decision: Decision, seconds: float, *rows: str) -> Decision:
    cost = {"latency_p50": Reading(seconds, "measured")}
    return fitter(*rows or [LATENCY]).refitted(decision, cost, TEACHER, grow=False)


def uniform(*widths: int) -> Decision:
    """The teacher with these widths in its stages of 16, 32 and 64 channels."""
    of = dict(zip((16, 32, 64), widths, strict=True))
    groups = PLANNER.left(NOTHING.removed)[1].free
    return Decision(widths={name: of[group.width] for name, group in groups.items()})


def test_a_hair_outside_does_not_cost_a_channel_in_every_group() -> None:
    before = uniform(5, 11, 22)
    after = narrowed(before, 0.355)
    gone = {before.widths[name] - width for name, width in after.widths.items()}
    assert after != before and min(gone) == 0
    whole, left = (PLANNER.count(one).params for one in (before, after))
    assert left > 0.85 * whole


@pytest.mark.parametrize("rows", [(LATENCY,), (LATENCY, "{metric: accuracy, min: 50%}")], ids=str)
@pytest.mark.parametrize("seed", range(12))
def test_no_group_grows_and_the_further_outside_the_less_is_left(
    seed: int, rows: tuple[str, ...]
) -> None:
    decision = random_decision(PLANNER, random.Random(seed))
    groups = PLANNER.left(decision.removed)[1].free
    before = {name: decision.widths.get(name, group.width) for name, group in groups.items()}
    sizes = []
    for seconds in (0.3, 0.36, 0.5, 1.0):
        after = narrowed(decision, seconds, *rows)
        assert after.removed == decision.removed
        assert all(after.widths.get(name, w) <= w for name, w in before.items())
        sizes.append(PLANNER.count(after).flops)
    assert narrowed(decision, 0.3, *rows) == decision
    assert sizes == sorted(sizes, reverse=True) and sizes[0] > sizes[-1]
