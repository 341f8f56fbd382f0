"""Projection onto what can be counted: the largest factor, against trying all of them."""

from fractions import Fraction

import pytest
from networks import Mixed, Plain, planner_of, seeded

from hwn2n.budget.load import load_budget
from hwn2n.budget.matrix import Constraints
from hwn2n.network.architecture import IllegalArchitectureError
from hwn2n.network.capture import capture
from hwn2n.network.counts import count
from hwn2n.network.decision import NOTHING, Decision
from hwn2n.network.planner import Planner
from hwn2n.search.fitting.projection import as_cost, counted_cost, project, topped_up, widened
from hwn2n.search.fitting.widths import Widths


def limits(*rows):
    return load_budget({"apiVersion": "hwn2n/v1", "name": "t", "constraints": list(rows)}).resolve(
        {}
    )


def at_most(column, limit):
    return {"metric": column, "max": limit}


def planner(make):
    return Planner(capture(seeded(make), (3, 8, 8)).architecture)


def params(teacher, decision):
    return count(teacher.plan(decision)).params


def every_factor(teacher, decision):
    """All projections there can be: one for each factor at which a group gains a channel."""
    _, channels = teacher.left(decision.removed)
    free = {
        name: decision.widths.get(name, group.width)
        for name, group in channels.groups.items()
        if not group.frozen
    }
    factors = {Fraction(n, w) for w in free.values() for n in range(1, w + 1)} | {Fraction(0)}
    for factor in sorted(factors, reverse=True):
        widths = {name: max(1, int(width * factor)) for name, width in free.items()}
        yield Decision(decision.removed, widths, decision.kernels)


@pytest.mark.parametrize("make", [Plain, Mixed])
@pytest.mark.parametrize(
    "decision",
    [
        NOTHING,
        Decision(widths={"fc1": 7, "conv2": 11}),
        Decision(kernels={"conv1": (3, 3)}),
    ],
)
def test_the_largest_factor_is_found(make, decision):
    if make is Mixed:
        decision = Decision(widths={"stem": 7} if decision.widths else {})
    teacher = planner(make)
    projections = list(every_factor(teacher, decision))
    smallest, largest = params(teacher, projections[-1]), params(teacher, decision)
    for limit in [*range(smallest, largest, (largest - smallest) // 25), largest - 1]:
        wanted = next(d for d in projections if params(teacher, d) <= limit)
        found = project(teacher, decision, limits(at_most("params", limit)))
        assert params(teacher, found) <= limit
        assert found == wanted


def test_several_rows_and_the_teachers_of_the_paper():
    teacher = planner_of("resnet20", 8)
    rows = limits(at_most("params", 50_000), at_most("flops", "1M"))
    found = project(teacher, NOTHING, rows)
    assert rows.satisfied(counted_cost(teacher.plan(found)))
    for factor in every_factor(teacher, NOTHING):
        if rows.satisfied(counted_cost(teacher.plan(factor))):
            assert found == factor
            break


def test_what_is_inside_stays_as_it_is():
    teacher = planner(Plain)
    decision = Decision(widths={"conv1": 2})
    assert project(teacher, decision, limits(at_most("params", "1M"))) is decision
    whole = params(teacher, NOTHING)
    assert project(teacher, NOTHING, limits(at_most("params", whole))) is NOTHING
    assert project(teacher, NOTHING, Constraints(rows=())) is NOTHING


def test_lower_limits_are_not_projected():
    teacher = planner(Plain)
    row = {"metric": "params", "min": 100_000_000}
    assert project(teacher, NOTHING, limits(row)) is NOTHING
    both = limits(row, at_most("params", 1000))
    assert params(teacher, project(teacher, NOTHING, both)) <= 1000


def test_what_no_width_can_meet_names_the_row():
    teacher = planner(Plain)
    budget = limits(at_most("flops", "1G"), at_most("params", 10))
    with pytest.raises(IllegalArchitectureError, match=r"even with one channel.*params") as caught:
        project(teacher, NOTHING, budget)
    assert "\n" not in str(caught.value)
    assert budget.rows[1].source in str(caught.value)


def test_an_illegal_decision_stays_illegal():
    with pytest.raises(IllegalArchitectureError, match="makes the logits"):
        project(
            planner(Plain),
            Decision(removed=frozenset({"fc2"})),
            limits(at_most("params", 1000)),
        )


def test_widths_grow_together_until_one_is_the_teachers():
    teacher = planner(Plain)
    _, channels = teacher.left(frozenset())
    whole = {name: g.width for name, g in channels.groups.items() if not g.frozen}
    halved = {name: max(1, width // 2) for name, width in whole.items()}
    first = min(whole)
    narrow = {**halved, first: max(1, whole[first] // 4)}
    wide = widened(teacher, Decision(widths=narrow)).widths
    shares = {name: wide[name] / whole[name] for name in whole}
    assert max(shares.values()) == 1 and shares[first] == pytest.approx(0.5, abs=1 / whole[first])
    assert widened(teacher, Decision(widths=wide)).widths == wide


def test_what_names_no_width_is_whole_and_does_not_grow():
    decision = Decision(widths={"fc1": 7}, kernels={"conv1": (3, 3)})
    assert widened(planner(Plain), decision) == decision
    assert widened(planner(Plain), NOTHING) == NOTHING


def test_grown_widths_are_allowed_ones():
    teacher = planner(Plain)
    _, channels = teacher.left(frozenset())
    narrow = {name: max(1, g.width // 3) for name, g in channels.groups.items() if not g.frozen}
    allowed = Widths(round_to=4)
    wide = widened(teacher, Decision(widths=narrow), allowed).widths
    assert all(
        allowed.at_most(channels.groups[name], width) == width for name, width in wide.items()
    )


def test_what_the_budget_leaves_free_is_used_though_proportions_give_way():
    """The largest factor of all, by trying them: widths that are whole already stay so."""
    teacher = planner(Plain)
    _, channels = teacher.left(frozenset())
    whole = {name: g.width for name, g in channels.groups.items() if not g.frozen}
    first, *others = sorted(whole)
    narrow = {first: whole[first], **{name: max(1, whole[name] // 6) for name in others}}
    decision = Decision(widths=narrow)
    budget = limits(at_most("params", params(teacher, Decision()) // 2))
    assert budget.satisfied(counted_cost(teacher.plan(decision)))
    found = topped_up(teacher, decision, budget).widths
    assert found[first] == whole[first] and all(found[name] > narrow[name] for name in others)
    limit = params(teacher, Decision()) // 2
    most = max(
        params(teacher, Decision(widths=widths))
        for k in range(1, 200)
        for n in set(narrow.values())
        if params(
            teacher,
            Decision(
                widths=(widths := {g: min(whole[g], max(w, w * k // n)) for g, w in narrow.items()})
            ),
        )
        <= limit
    )
    assert params(teacher, Decision(widths=found)) == most


def test_nothing_is_topped_up_where_all_of_it_fits_or_it_is_outside():
    teacher = planner(Plain)
    _, channels = teacher.left(frozenset())
    narrow = {name: max(1, g.width // 3) for name, g in channels.groups.items() if not g.frozen}
    decision = Decision(widths=narrow)
    loose = limits(at_most("params", params(teacher, Decision())))
    tight = limits(at_most("params", params(teacher, decision) - 1))
    for rows in (loose, tight, Constraints(rows=())):
        assert topped_up(teacher, decision, rows) == decision
    assert topped_up(teacher, NOTHING, tight) == NOTHING


def test_topped_up_widths_are_allowed_ones():
    teacher, allowed = planner(Plain), Widths(round_to=4)
    _, channels = teacher.left(frozenset())
    narrow = {
        name: allowed.least(g) if n else g.width
        for n, (name, g) in enumerate(channels.groups.items())
        if not g.frozen
    }
    budget = limits(at_most("params", params(teacher, Decision()) * 2 // 3))
    found = topped_up(teacher, Decision(widths=narrow), budget, allowed).widths
    assert found != narrow
    for name, width in found.items():
        assert allowed.at_most(channels.groups[name], width) == width


@pytest.mark.parametrize("share", [20, 35, 50, 80])
@pytest.mark.parametrize("metric", ["params", "flops"])
def test_what_rounding_to_steps_leaves_is_used(metric, share):
    teacher = planner_of("resnet20", 8)
    whole = as_cost(teacher.count(NOTHING))
    rows = limits(at_most(metric, share / 100 * whole[metric].value))
    found = project(teacher, NOTHING, rows, Widths(round_to=8))
    assert rows.satisfied(as_cost(teacher.count(found)))
    assert all(width % 8 == 0 for width in found.widths.values())
    groups, before = teacher.left(NOTHING.removed)[1].free, {}
    for factor in range(1, 65):  # the largest at which all are rounded down together
        widths = {
            n: Widths(round_to=8).at_most(g, g.width * factor // 64) for n, g in groups.items()
        }
        if rows.satisfied(as_cost(teacher.count(Decision(widths=widths)))):
            before = widths
    gained = {found.widths[name] - width for name, width in before.items()}
    assert gained <= {0, 8}
    assert as_cost(teacher.count(found))[metric].value > 0.9 * share / 100 * whole[metric].value


def test_what_is_topped_up_in_steps_uses_what_is_left_too():
    teacher = planner_of("resnet20", 8)
    decision = Decision(widths=dict.fromkeys(teacher.left(NOTHING.removed)[1].free, 8))
    limit = 0.6 * teacher.count(NOTHING).params
    rows = limits(at_most("params", limit))
    found = topped_up(teacher, decision, rows, Widths(round_to=8))
    assert 0.9 * limit < teacher.count(found).params <= limit
    assert all(width % 8 == 0 for width in found.widths.values())
