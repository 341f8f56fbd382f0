"""Projection: the largest uniform scaling of a decision that is inside what can be counted.

A policy that samples widths at random almost never meets a tight budget, so nearly all of its
candidates would teach it only that they are too large; and under a loose one most are far smaller
than they may be. Where the budget bounds columns that are known without training (params, FLOPs,
bytes), a decision can instead be read as *proportions*: all its widths are multiplied by the
largest common factor that meets those rows, up to the teacher's widths (`widened`, then `project`);
only the factors at which some group gains a channel matter, so it is found exactly. This
is part of the environment, not of the policy: log-probabilities are those of the actions taken.
The paper has no such step; `recipe: paper` does without it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from fractions import Fraction

from hwn2n.budget.columns import COLUMNS
from hwn2n.budget.cost import Cost, Reading
from hwn2n.budget.matrix import Constraints
from hwn2n.budget.rows import Row
from hwn2n.network.architecture import Architecture, IllegalArchitectureError
from hwn2n.network.channels import ChannelGroup
from hwn2n.network.counts import Counts, count
from hwn2n.network.decision import Decision
from hwn2n.network.planner import Planner
from hwn2n.search.fitting.widths import Widths


def counted_cost(architecture: Architecture) -> dict[str, Reading]:
    """What is known of an architecture without building it: params, flops, weight_bytes."""
    return as_cost(count(architecture))


def as_cost(counts: Counts) -> dict[str, Reading]:
    """The same of counts."""
    return {
        "params": Reading(counts.params, "exact"),
        "flops": Reading(counts.flops, "exact"),
        "weight_bytes": Reading(counts.weight_bytes, "exact"),
    }


def project(
    planner: Planner,
    decision: Decision,
    constraints: Constraints,
    allowed: Widths = Widths(),  # noqa: B008 - frozen, so one for all
    *,
    forecast: Callable[[Counts], Cost] | None = None,
) -> Decision:
    """The decision with all widths scaled by the largest factor that meets `constraints`.

    `constraints`: rows over params, flops and weight_bytes only; with `forecast`, which guesses
    further columns from counts, over those too. Lower limits among them are left to the
    evaluation: scaling down cannot meet them. Group widths that the decision does not name
    count as whole. Scaled widths are rounded down to those that are `allowed`, and never go below
    the least of them. Raises `IllegalArchitectureError` if even the least widths are too much, or
    if the decision is illegal itself; but a guess excludes nothing, and least widths are returned.
    """
    upper, cost_of = upper_rows(constraints), forecast or as_cost
    if not upper.rows:
        return decision
    groups, free = free_widths(planner, decision)

    def scaled(numerator: int, denominator: int) -> Decision:
        widths = {
            name: allowed.at_most(groups[name], width * numerator // denominator)
            for name, width in free.items()
        }
        return replace(decision, widths=widths)

    def inside(candidate: Decision) -> bool:
        return upper.satisfied(cost_of(planner.count(candidate)))

    if not free or inside(decision):
        return decision
    if not inside(scaled(0, 1)):
        if forecast is not None:
            return scaled(0, 1)
        worst = upper.binding(as_cost(planner.count(scaled(0, 1))))
        raise IllegalArchitectureError(
            f"even with {_least_widths(allowed)} it is outside the budget: {worst.source}"
        )
    factors = {(part, whole) for whole in set(free.values()) for part in range(1, whole + 1)}
    found, next_factor = _largest(factors, scaled, inside)
    return rounded_up(found or scaled(0, 1), groups, free, next_factor, allowed, inside)


def widened(planner: Planner, decision: Decision, allowed: Widths = Widths()) -> Decision:  # noqa: B008 - frozen
    """The decision with all widths scaled up together until one of them is the teacher's.

    Groups whose widths it does not name count as whole, so where there is one nothing changes.
    Raises `IllegalArchitectureError` where its removals leave no network.
    """
    _, channels = planner.left(decision.removed)
    groups = channels.free
    shares = {
        name: Fraction(decision.widths.get(name, group.width), group.width)
        for name, group in groups.items()
    }
    if max(shares.values(), default=Fraction(1)) >= 1:
        return decision
    return replace(decision, widths=filled(groups, shares, allowed))


def topped_up(
    planner: Planner,
    decision: Decision,
    constraints: Constraints,
    allowed: Widths = Widths(),  # noqa: B008 - frozen, so one for all
    *,
    forecast: Callable[[Counts], Cost] | None = None,
) -> Decision:
    """The decision with the widths that may still grow scaled up by the largest factor that meets
    `constraints`, where it is inside already; none grows beyond the teacher's.

    Where removals and small kernels leave so little that proportions cannot use the budget up, the
    proportions give way. The decision itself where all that is left would fit at whole width: then
    the limits choose nothing. As `project` otherwise.
    """
    upper, cost_of = upper_rows(constraints), forecast or as_cost
    groups, now = free_widths(planner, decision)

    def inside(candidate: Decision) -> bool:
        return upper.satisfied(cost_of(planner.count(candidate)))

    def grown(numerator: int, denominator: int) -> Decision:
        widths = {
            name: max(now[name], allowed.at_most(group, now[name] * numerator // denominator))
            for name, group in groups.items()
        }
        return replace(decision, widths=widths)

    factors = {
        (part, now[name])
        for name, g in groups.items()
        for part in range(now[name] + 1, g.width + 1)
    }
    whole = max((group.width for group in groups.values()), default=1)
    if not upper.rows or not factors or not inside(decision) or inside(grown(whole, 1)):
        return decision
    found, next_factor = _largest(factors, grown, inside)
    return rounded_up(found or decision, groups, now, next_factor, allowed, inside)


def rounded_up(
    decision: Decision,
    groups: Mapping[str, ChannelGroup],
    proportions: Mapping[str, int],
    factor: Fraction | None,
    allowed: Widths,
    inside: Callable[[Decision], bool],
) -> Decision:
    """The decision with groups a step wider, those first that rounding down cost most of a step.

    `factor` times `proportions` are the widths that were rounded down, at the least factor that is
    not `inside`; None where there is none. Where widths are multiples of eight, say, all groups of
    one width lose up to eight channels together, and much of a budget is left: so each gets its
    step back that still fits. Single channels are too little to bother.
    """
    if factor is None or allowed.round_to == 1:
        return decision
    lost: dict[str, tuple[Fraction, int]] = {}
    for name, group in groups.items():
        width = decision.widths.get(name, group.width)
        wanted, wider = proportions[name] * factor, allowed.above(group, width)
        if wider > width and wanted > width:
            lost[name] = (min(Fraction(1), (wanted - width) / (wider - width)), wider)
    for name in sorted(lost, key=lambda name: -lost[name][0]):
        grown = replace(decision, widths={**decision.widths, name: lost[name][1]})
        if inside(grown):
            decision = grown
    return decision


def filled(
    groups: Mapping[str, ChannelGroup], shares: Mapping[str, Fraction], allowed: Widths
) -> dict[str, int]:
    """The widths in these proportions of which the largest share is the teacher's whole width."""
    most = max(shares.values())
    return {
        name: allowed.nearest(group, float(shares[name] / most)) for name, group in groups.items()
    }


def _least_widths(allowed: Widths) -> str:
    if allowed == Widths():
        return "one channel in each group"
    return f"the least widths (round_to {allowed.round_to}, min_width {allowed.floor})"


def upper_rows(constraints: Constraints) -> Constraints:
    """The rows that a smaller network meets more easily: upper limits, and lower ones of what falls
    with size, such as throughput."""
    return replace(constraints, rows=tuple(row for row in constraints.rows if is_upper(row)))


def is_upper(row: Row) -> bool:
    """Whether a smaller network meets it more easily, whatever the network is."""
    return all(
        coefficient <= 0 if COLUMNS[name].falls else coefficient >= 0
        for name, coefficient in row.coefficients.items()
    )


def free_widths(
    planner: Planner, decision: Decision
) -> tuple[dict[str, ChannelGroup], dict[str, int]]:
    """The groups of what is left whose widths may change, and the widths that they have."""
    _, channels = planner.left(decision.removed)
    groups = channels.free
    return groups, {name: decision.widths.get(name, g.width) for name, g in groups.items()}


def _largest(
    factors: Collection[tuple[int, int]],
    scaled: Callable[[int, int], Decision],
    inside: Callable[[Decision], bool],
) -> tuple[Decision | None, Fraction | None]:
    """The decision of the largest of the factors (numerator, denominator) that is inside, and the
    least factor that is not; None where there is no such."""
    rising = sorted(factors, key=lambda factor: factor[0] / factor[1])
    best = _last(lambda i: inside(scaled(*rising[i])), len(rising))
    after = 0 if best is None else best + 1
    beyond = Fraction(*rising[after]) if after < len(rising) else None
    return None if best is None else scaled(*rising[best]), beyond


def _last(holds: Callable[[int], bool], count: int) -> int | None:
    """The last of `count` indices that holds, where all that hold come first; None if none does."""
    low, high = -1, count
    while high - low > 1:
        middle = (low + high) // 2
        if holds(middle):
            low = middle
        else:
            high = middle
    return None if low < 0 else low
